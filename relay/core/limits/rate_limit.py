"""Token buckets by user, so that no user starves the others (PROTOCOL.md, `rate_limited`). Pure: takes the time."""

from typing import Protocol

from relay.keys import Seconds

_ROUNDING_SECONDS = 1e-6
"""Seconds of rounding error to tolerate in sums of floats."""


class Rate(Protocol):
    """The rate at which a bucket fills, and its size."""

    @property
    def requests_per_second(self) -> float:
        """Tokens added per second; 0 for no limit."""

    @property
    def burst(self) -> float:
        """Tokens of a full bucket."""


class RateLimit:
    """Token buckets by the key of a user, a chat or a hook.

    `requests_per_second` refill them, `burst` is their size; both are read at each use.

    A bucket stores only when it will be full again.
    """

    def __init__(self, limits: Rate, times: float = 1.0) -> None:
        """Begin with full buckets.

        Args:
            limits: the rate, read again with each request.
            times: tokens per request that the rate allows.
        """
        self._limits = limits
        self._times = times
        self._full_at: dict[int, Seconds] = {}

    def take(self, key: int, now: Seconds, weight: float = 1.0) -> int:
        """Take tokens out of a bucket.

        A full bucket grants any weight, even more than it holds; the rest is paid off before the next grant.

        Args:
            key: the key of the bucket.
            now: seconds of any clock that does not jump.
            weight: how many tokens.

        Returns:
            0, or the milliseconds to wait if there are too few tokens. A rate of 0 means no limit.
        """
        limits = self._limits
        rate = limits.requests_per_second * self._times
        if not rate:
            return 0
        full_at = self._full_at.get(key, now)
        if full_at <= now:
            self._full_at[key] = now + weight / rate
            return 0
        room = limits.burst * self._times / rate
        then = full_at + weight / rate
        wait = then - now - room
        if wait > _ROUNDING_SECONDS and full_at > now + _ROUNDING_SECONDS:
            return max(1, round((wait if weight / rate < room else full_at - now) * 1000))
        self._full_at[key] = then
        return 0

    def refund(self, key: int, weight: float = 1.0) -> None:
        """Give back tokens that were taken for work that was not done.

        Args:
            key: the key of the bucket.
            weight: how many tokens.
        """
        rate = self._limits.requests_per_second * self._times
        if rate and key in self._full_at:
            self._full_at[key] -= weight / rate

    def charge(self, key: int, now: Seconds, weight: float) -> float:
        """Take tokens for work that is already done, even if there are too few.

        Args:
            key: the key of the bucket.
            now: seconds of the same clock as for `take`.
            weight: how many tokens.

        Returns:
            The seconds for which nothing more would be granted.
        """
        rate = self._limits.requests_per_second * self._times
        if not rate:
            return 0.0
        full_at = self._full_at[key] = max(self._full_at.get(key, now), now) + weight / rate
        return max(0.0, full_at - now - self._limits.burst * self._times / rate)
