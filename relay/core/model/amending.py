"""Effects of an edit or a deletion on earlier messages: entries in memory, answers made meanwhile, quotes.

The log's rows change by `store.entry.Amendment`; what is in memory must say the same (PROTOCOL.md, sections 3 and 4).
Pure.
"""

import msgspec

from relay.keys import UnixMs
from relay.protocol.objects import Message, ReplyTo
from relay.store.entry import REPLY_PREVIEW_CHARACTERS, Entry
from relay.store.kinds import DELETE, EDIT, NEW


def amend_entry(entry: Entry, change: Entry) -> bool:
    """Apply an edit or a deletion of the same chat to an entry: to the message, its earlier edits, and replies to it.

    Returns:
        Whether it concerns this entry.
    """
    target = change.target
    if target == (entry.message_id if entry.kind == NEW else entry.target if entry.kind == EDIT else 0):
        entry.message, entry.attachments = change.message, change.attachments
        if change.kind == DELETE:
            entry.deleted, entry.reply_to, entry.forwarded, entry.said_at = True, None, None, UnixMs(0)
    elif entry.reply_to is not None and entry.reply_to.message_id == target:
        entry.reply_to = _amended_quote(entry.reply_to, change)
    else:
        return False
    return True


def amended_message(message: Message, change: Entry, *, sees: bool) -> Message:
    """Show a message as it is after an edit or a deletion that came while it was read.

    Args:
        message: what was read.
        change: the edit or the deletion, of this message or of the one that it quotes.
        sees: whether the member sees the message that is changed.
    """
    replace = msgspec.structs.replace
    if message.type == "new" and message.message_id == change.target:
        if change.kind == DELETE:
            return replace(
                message,
                message=None,
                attachments=None,
                reply_to=None,
                forwarded=None,
                status="deleted",
                created_at=change.original_at,
                updated_at=None,
                deleted_at=change.at,
            )
        return replace(message, message=change.message, attachments=change.attachments, updated_at=change.at)
    quoted = message.reply_to
    if quoted is not None and quoted.message_id == change.target:
        now = _amended_quote(quoted, change)
        return replace(message, reply_to=now if sees else replace(now, message=None))
    return message


def _amended_quote(quoted: ReplyTo, change: Entry) -> ReplyTo:
    text = change.message[:REPLY_PREVIEW_CHARACTERS] if change.message else None
    at = change.original_at if change.kind == DELETE else quoted.created_at
    return msgspec.structs.replace(quoted, message=text, created_at=at)
