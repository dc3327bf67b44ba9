"""How much one user may ask: a token bucket each, so that nobody starves the others (PROTOCOL.md, `rate_limited`).

Pure: the time is handed in.
"""

from relay.settings import Limits

_ROUNDING = 1e-6
"""Seconds: sums of floating point numbers miss by less."""


class RateLimit:
    """Token buckets by user: `requests_per_second`, `burst` of them at once, both as they are set just now.

    Of a bucket only the time is kept at which it will be full again.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._full_at: dict[int, float] = {}

    def take(self, user: int, now: float) -> int:
        """Take one request's token out of a user's bucket.

        Args:
            user: their key.
            now: seconds of any clock that does not jump.

        Returns:
            0, or how many milliseconds to wait where the bucket is empty. A rate of 0 means no limit.
        """
        rate = self._limits.requests_per_second
        if not rate:
            return 0
        full_at = max(self._full_at.get(user, now), now) + 1 / rate
        wait = full_at - now - self._limits.burst / rate
        if wait > _ROUNDING:
            return max(1, round(wait * 1000))
        self._full_at[user] = full_at
        return 0
