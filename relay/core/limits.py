"""How much one user may ask: a token bucket each, so that nobody starves the others (protocol.md, `rate_limited`).

Pure: the time is handed in.
"""

from relay.settings import Limits


class RateLimit:
    """Token buckets by user: `requests_per_second`, `burst` of them at once, both as they are set just now."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[int, tuple[float, float]] = {}

    def take(self, user: int, now: float) -> int:
        """Take one request's token out of a user's bucket.

        Args:
            user: their key.
            now: seconds of any clock that does not jump.

        Returns:
            0, or how many milliseconds to wait where the bucket is empty. A rate of 0 means no limit.
        """
        rate, burst = self._limits.requests_per_second, self._limits.burst
        if not rate:
            return 0
        left, since = self._buckets.get(user, (float(burst), now))
        left = min(burst, left + (now - since) * rate)
        if left < 1:
            self._buckets[user] = (left, now)
            return max(1, round((1 - left) / rate * 1000))
        self._buckets[user] = (left - 1, now)
        return 0
