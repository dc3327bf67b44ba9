"""Turns Slack's markup into plain text: entities, links, people, channels. For imports and hooks. Pure.

https://docs.slack.dev/messaging/formatting-message-text
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from relay.protocol.base import JsonValue

# Possessive quantifiers: an opening bracket without a closing one is scanned once.
_MARK = re.compile(r"<([^<>|\n]++)(?:\|([^<>\n]*+))?+>")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://|mailto:|tel:)\S+", re.IGNORECASE)
_LABELLED = re.compile(r"[^\s./]*[./]\S*")
"""A link without a scheme; it counts as one only with a label."""
_ENTITY = re.compile(r"&(lt|gt|amp);")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&"}
_COMMAND = re.compile(r"!(?:[a-z]+|subteam\^[^|]+)")
_PERSON = re.compile(r"@[\w.-]+")
_CHANNEL = re.compile(r"#[\w.-]+")

NameOf = Callable[[str], str | None]
"""Returns the name of the person, or of the channel, with this Slack id, if it is known."""


def _unknown(_id: str) -> str | None:
    return None


def plain(text: str, name_of: NameOf = _unknown, channel_of: NameOf = _unknown) -> str:
    """Turn marked-up text into plain text.

    Args:
        text: text in Slack's markup. Text that only looks like markup (`a < b`, `<b>`) stays.
        name_of: returns people's names.
        channel_of: returns channels' names.
    """

    def plain_mark(found: re.Match[str]) -> str:
        return _plain_mark(found, name_of, channel_of)

    return _ENTITY.sub(lambda found: _ENTITIES[found[1]], _MARK.sub(plain_mark, text))


def link(address: str, label: str) -> str:
    """Format a link as its label and its URL; as the URL alone if the label says the same."""
    shown = address.removeprefix("mailto:")
    bare = shown.partition("://")[2] or shown
    if not shown or not label or label.rstrip("/") in (shown.rstrip("/"), bare.rstrip("/")):
        return shown or label
    return label if shown in label else f"{label} ({address})"


def date(timestamp: JsonValue, fallback: str) -> str:
    """Format a date: the sender's fallback, else the time in UTC.

    Args:
        timestamp: Unix seconds, as the sender wrote them.
        fallback: the text that the sender wants shown instead; may be empty.
    """
    if fallback:
        return fallback
    try:
        return datetime.fromtimestamp(int(str(timestamp)), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return str(timestamp)


def _plain_mark(found: re.Match[str], name_of: NameOf, channel_of: NameOf) -> str:
    target, label = found[1], found[2] or ""
    if _PERSON.fullmatch(target):
        return f"@{name_of(target[1:]) or label or target[1:]}"
    if _CHANNEL.fullmatch(target):
        return f"#{label or channel_of(target[1:]) or target[1:]}"
    if target.startswith("!date^"):
        return date(target.split("^")[1], label)
    if _COMMAND.fullmatch(target):
        # The label of a group may begin with an @ of its own.
        return f"@{(label or target[1:].partition('^')[2] or target[1:]).removeprefix('@')}"
    if _ADDRESS.fullmatch(target) or (label and _LABELLED.fullmatch(target)):
        return link(target, label)
    return found[0]
