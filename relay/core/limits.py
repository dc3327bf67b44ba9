"""How much one user may ask: a token bucket each, so that nobody starves the others (protocol.md, `rate_limited`).

Pure: the time is handed in.
"""


class RateLimit:
    """Token buckets by user: `rate` requests a second, `burst` of them at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: dict[int, tuple[float, float]] = {}

    def take(self, user: int, now: float) -> int:
        """Take one request's token out of a user's bucket.

        Args:
            user: their key.
            now: seconds of any clock that does not jump.

        Returns:
            0, or how many milliseconds to wait where the bucket is empty. A rate of 0 means no limit.
        """
        if not self.rate:
            return 0
        left, since = self._buckets.get(user, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.rate)
        if left < 1:
            self._buckets[user] = (left, now)
            return max(1, round((1 - left) / self.rate * 1000))
        self._buckets[user] = (left - 1, now)
        return 0
