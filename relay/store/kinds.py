"""What an entry records, as numbers: written to every row and looked at for every message, so no enumeration.

(With Python 3.11 a look at a member of one costs four times as much, and SQLite's module stops at each to adapt it.)
"""

from typing import Final

NEW: Final = 1
EDIT: Final = 2
DELETE: Final = 3
LAST_MESSAGE: Final = DELETE
"""Kinds up to this one are messages of a chat, and have a dense `message_id`."""
DLVRD: Final = 4
READ: Final = 5
LAST_RECEIPT: Final = READ
"""Kinds up to this one belong to a chat, and retention removes them."""
CHATS: Final = 6
FIRST_CHANGE: Final = CHATS
"""Kinds from this one on are changes to chats, users, devices and files, and stay."""
USER: Final = 7
DEVICE: Final = 8
NOTE: Final = 9
"""Something the log remembers for its admin and tells no client: history was removed, a backup restored."""
SIGN_IN: Final = 10
"""Invites and passwords."""
FILE: Final = 11
"""A file was uploaded, or files went that nothing holds any more."""

NAMES: Final = {
    NEW: "new",
    EDIT: "edit",
    DELETE: "delete",
    DLVRD: "dlvrd",
    READ: "read",
    CHATS: "chats",
    USER: "user",
    DEVICE: "device",
    NOTE: "note",
    SIGN_IN: "sign_in",
    FILE: "file",
}
"""What each is called where people read it."""
