"""Decides when to disconnect a client that keeps sending bad frames (PROTOCOL.md, section 2)."""

from collections import deque

from relay.keys import Seconds

BAD_FRAMES = 20
BAD_FRAMES_SECONDS = 60.0
"""A connection is closed at `BAD_FRAMES` bad frames within `BAD_FRAMES_SECONDS`."""


class BadFrames:
    """The times of a connection's latest bad frames. Created at the first one."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=BAD_FRAMES)

    def too_many(self, now: Seconds) -> bool:
        """Note a bad frame at `now`, trio's time; return whether the connection has to end."""
        self._times.append(now)
        return len(self._times) == BAD_FRAMES and now - self._times[0] < BAD_FRAMES_SECONDS
