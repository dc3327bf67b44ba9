"""Slack's markup in plain words: entities, links, people, channels. For imports and for hooks. Pure.

https://docs.slack.dev/messaging/formatting-message-text
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

# Possessive, so that what opens and never closes is looked at once.
_MARK = re.compile(r"<([^<>|\n]++)(?:\|([^<>\n]*+))?+>")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://|mailto:|tel:)\S+", re.IGNORECASE)
_LABELLED = re.compile(r"[^\s./]*[./]\S*")
"""An address without a scheme; only what has a label is taken for one."""
_ENTITY = re.compile(r"&(lt|gt|amp);")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&"}
_COMMAND = re.compile(r"!(?:[a-z]+|subteam\^[^|]+)")
_PERSON = re.compile(r"@[\w.-]+")
_CHANNEL = re.compile(r"#[\w.-]+")

NameOf = Callable[[str], str | None]
"""Gives the name of the person who has this id at Slack, if it is known."""


def _unknown(_id: str) -> str | None:
    return None


def plain(text: str, name_of: NameOf = _unknown) -> str:
    """Say marked-up text in plain words.

    Args:
        text: as Slack's senders write it. What only looks like markup (`a < b`, `<b>`) stays.
        name_of: gives people's names.
    """

    def said(found: re.Match[str]) -> str:
        return _said(found, name_of)

    return _ENTITY.sub(lambda found: _ENTITIES[found[1]], _MARK.sub(said, text))


def link(address: str, label: str) -> str:
    """Say a link: its label, and where it leads. A label that is the address itself comes once."""
    shown = address.removeprefix("mailto:")
    bare = shown.partition("://")[2] or shown
    if not shown or not label or label.rstrip("/") in (shown.rstrip("/"), bare.rstrip("/")):
        return shown or label
    return label if shown in label else f"{label} ({address})"


def date(timestamp: object, fallback: str) -> str:
    """Say a date: what the sender wrote for those who cannot format it, else the time in UTC."""
    if fallback:
        return fallback
    try:
        return datetime.fromtimestamp(int(str(timestamp)), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return str(timestamp)


def _said(found: re.Match[str], name_of: NameOf) -> str:
    target, label = found[1], found[2] or ""
    if _PERSON.fullmatch(target):
        return f"@{name_of(target[1:]) or label or target[1:]}"
    if _CHANNEL.fullmatch(target):
        return f"#{label or target[1:]}"
    if target.startswith("!date^"):
        return date(target.split("^")[1], label)
    if _COMMAND.fullmatch(target):
        # A group's label has its own sign.
        return f"@{(label or target[1:].partition('^')[2] or target[1:]).removeprefix('@')}"
    if _ADDRESS.fullmatch(target) or (label and _LABELLED.fullmatch(target)):
        return link(target, label)
    return found[0]
