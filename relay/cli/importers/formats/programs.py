"""The text of programs' messages: an export contains them as posted, so they are read as a hook reads them."""

import re
from collections.abc import Callable

from relay.net.http.response import HttpError
from relay.net.webhooks.text import attachments_text, blocks_text
from relay.protocol.base import JsonValue

_UNFURLED = ("from_url", "original_url")
"""Fields of attachments that the server itself adds for a page that a message links to."""
_MENTION = re.compile(r"([@#])([A-Z0-9]{2,})\b")
NameOf = Callable[[str, str], str | None]
"""Returns the name of the person (after an `@`) or the channel (after a `#`) with this id, if it is known."""


NOT_UNDERSTOOD = "parts of programs' messages that are not understood"


def all_words(text: str, blocks: JsonValue, attachments: JsonValue, name_of: NameOf, *, program: bool) -> str | None:
    """Return the whole text of a message: its own, and that of its blocks and attachments; None if there is none.

    The blocks of a person's message repeat its text; the text of a program's message is mostly a summary of its blocks.

    Args:
        text: the text of the message.
        blocks: its blocks, in Slack's form.
        attachments: its attachments, in Slack's form.
        name_of: returns the names of the mentioned people and channels.
        program: whether a program sent it.
    """
    try:
        said = _named(blocks_text(blocks), name_of) if program or not text.strip() else ""
        more = _named(attachments_text(_without_pages(attachments)), name_of)
    except HttpError:
        return None
    return "\n".join(part for part in ("" if text and text in said else text, said, more) if part)


def _without_pages(attachments: JsonValue) -> JsonValue:
    """Keep only the text of linked pages: their addresses are in the message already."""
    if not isinstance(attachments, list):
        return attachments
    return [
        {"text": one.get("text") or one.get("fallback")}
        if isinstance(one, dict) and any(one.get(key) for key in _UNFURLED)
        else one
        for one in attachments
    ]


def _named(said: str, name_of: NameOf) -> str:
    def name(found: re.Match[str]) -> str:
        known = name_of(found[1], found[2])
        return found[0] if known is None else f"{found[1]}{known}"

    return _MENTION.sub(name, said)
