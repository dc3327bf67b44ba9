"""The kinds of numbers that the relay counts by, so that a type checker tells a user's from a chat's.

At run time each is a plain `int` or `float`. Depends on nothing, so that every room may name them.
"""

from typing import NewType

UserKey = NewType("UserKey", int)
"""The relay's own number of a user, from 1 on, never given again; 0 is the machine's admin."""
ChatKey = NewType("ChatKey", int)
"""The relay's own number of a chat, from 1 on; 0 where an entry is about no chat."""
DeviceKey = NewType("DeviceKey", int)
"""The relay's own number of a device or a hook, from 1 on; 0 where there is none. `deviceId` on the wire."""
Seq = NewType("Seq", int)
"""The number of an entry of the log, and the id of its event on the wire; it only grows."""
MessageId = NewType("MessageId", int)
"""The number of a message, an edit or a deletion within its chat, from 1 on without gaps; 0 for none."""
UnixMs = NewType("UnixMs", int)
"""A time of the relay's clock: milliseconds since 1970, UTC."""
Seconds = NewType("Seconds", float)
"""A monotonic time or a span of it (`trio.current_time`): it does not follow the machine's clock."""
