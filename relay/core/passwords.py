"""Passwords: hashed and checked by argon2 in a thread, few at a time, so that guessing cannot stall the relay.

argon2 is loaded with the first password; most relays never have one.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from relay.protocol.errors import RelayError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

AT_ONCE = 1
"""Hashes being made at a time: each takes `MEMORY` and a core for some tens of milliseconds."""
WAITING = 32
"""How many may wait for their turn; more are told to come back."""
MEMORY = 19_456
"""KiB for one hash, with `PASSES` the least that OWASP's password storage page recommends for argon2id."""
PASSES = 2


class Passwords:
    """What makes and checks hashes."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    async def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            RelayError: `rate_limited`, too many wait already.
        """
        return await self._in_turn(lambda: _hasher().hash(password))

    async def check(self, hashed: str | None, password: str) -> bool:
        """Whether a password is the one that was hashed. It takes its time where there is no hash, too.

        Args:
            hashed: what is kept of the password; nothing where there is none.
            password: what somebody says it is.

        Raises:
            RelayError: `rate_limited`, too many wait already.
        """
        known = hashed or await self._nobodys()
        # Who has no password has the empty one neither: the hash that stands in for theirs lets nobody in.
        return await self._in_turn(lambda: _matches(known, password)) and bool(hashed)

    async def _nobodys(self) -> str:
        return await self._in_turn(_nobodys_hash)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._limiter.statistics().tasks_waiting >= WAITING:
            raise RelayError.rate_limited(1_000)
        return await trio.to_thread.run_sync(work, limiter=self._limiter)


@functools.cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=1)


@functools.cache
def _nobodys_hash() -> str:
    return _hasher().hash("")


def _matches(hashed: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
