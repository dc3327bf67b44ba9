"""Token buckets by user, so that no user starves the others (PROTOCOL.md, `rate_limited`). Pure: takes the time."""

from typing import Protocol

from relay.keys import Seconds

_ROUNDING_SECONDS = 1e-6
"""Seconds by which sums of floating point numbers may miss."""


class Rate(Protocol):
    """The rate at which a bucket fills, and its size."""

    @property
    def requests_per_second(self) -> float:
        """Tokens that come each second; 0 for no limit."""

    @property
    def burst(self) -> float:
        """Tokens of a full bucket."""


class RateLimit:
    """Token buckets, each of a user, a chat or a hook by its key.

    `requests_per_second` refill them, `burst` is their size, both as they are set now.

    One number is stored for each: the time at which the bucket will be full again.
    """

    def __init__(self, limits: Rate, times: float = 1.0) -> None:
        """Begin with full buckets.

        Args:
            limits: the rate, read again with each request.
            times: tokens for each request that the rate allows.
        """
        self._limits = limits
        self._times = times
        self._full_at: dict[int, Seconds] = {}

    def take(self, key: int, now: Seconds, weight: float = 1.0) -> int:
        """Take tokens out of a bucket.

        A full bucket grants any weight, also more than it holds; the rest is paid off before anything else is granted.

        Args:
            key: whose bucket it is.
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
        """Give tokens back that were taken for what was not done.

        Args:
            key: the key of the bucket.
            weight: how many tokens.
        """
        rate = self._limits.requests_per_second * self._times
        if rate and key in self._full_at:
            self._full_at[key] -= weight / rate

    def charge(self, key: int, now: Seconds, weight: float) -> float:
        """Take tokens for what was done already, however few there are.

        Args:
            key: the key of the bucket.
            now: seconds of the clock that `take` goes by.
            weight: how many tokens.

        Returns:
            The seconds for which nothing more would be granted.
        """
        rate = self._limits.requests_per_second * self._times
        if not rate:
            return 0.0
        full_at = self._full_at[key] = max(self._full_at.get(key, now), now) + weight / rate
        return max(0.0, full_at - now - self._limits.burst * self._times / rate)
