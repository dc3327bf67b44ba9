"""The relay's kinds of numbers. Depends on nothing, so that every room may use them.

Keys are types of their own: a type checker distinguishes a user's from a chat's, and at run time each is a plain `int`.
Ids, times and spans are added and compared for every message, and wrapping each result would cost a call. So they are
aliases of `int` and `float` that name the subject and the unit.
"""

from typing import NewType

UserKey = NewType("UserKey", int)
"""The relay's own number of a user, from 1 on, never reused; 0 is the machine's admin."""
ChatKey = NewType("ChatKey", int)
"""The relay's own number of a chat, from 1 on; 0 for no chat."""
DeviceKey = NewType("DeviceKey", int)
"""The relay's own number of a device or a hook, from 1 on; 0 for none. `deviceId` on the wire."""

Seq = int
"""The number of an entry of the log, and the id of its event on the wire; it only grows."""
MessageId = int
"""The number of a message, an edit or a deletion in its chat, from 1 on without gaps; 0 for none."""
UnixMs = int
"""A time of the relay's clock: milliseconds since 1970, UTC."""
Seconds = float
"""A monotonic time (`trio.current_time`) or a span: it does not follow the machine's clock."""

NO_USER = UserKey(0)
"""No user; as an actor, the admin of this machine."""
NO_CHAT = ChatKey(0)
"""No chat: the entry concerns none."""
NO_DEVICE = DeviceKey(0)
"""No device: a command on this machine, or a temporary token, which has no cursor."""
