"""The kinds of entries, as numbers.

They are in every row and compared for every message, so an enumeration would be too slow:
In Python 3.11 reading a member of an enumeration takes four times as long, and sqlite3 has to adapt each one.
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
"""For the admin only, never sent to clients: history was removed, a backup was restored."""
SIGN_IN: Final = 10
"""Invites and passwords."""
FILE: Final = 11
"""A file was uploaded, or files that no message uses were deleted."""
CLOCK: Final = 12
"""The relay's time went ahead: earlier stamps were wrong."""

KIND_NAMES: Final = {
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
    CLOCK: "clock",
}
"""Names for people."""
