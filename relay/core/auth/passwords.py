"""Passwords: hashed and checked by argon2 in a thread, one at a time, so that guessing cannot stall the relay.

argon2 is loaded with the first password; most relays never have one.
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import trio

from relay import threads
from relay.protocol.errors import RelayError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_CONCURRENT = 1
"""Hashes being made at a time: each takes `MEMORY_KIB` and a core for some tens of milliseconds."""
MAX_WAITING = 32
"""Hashes that may wait for that; more are refused as `rate_limited`."""
MEMORY_KIB = 19_456
"""KiB for one hash: with `PASSES` the minimum of OWASP's Password Storage Cheat Sheet for argon2id."""
PASSES = 2


MIN_LENGTH, MAX_LENGTH = 10, 1_024
"""Characters of a new password. 10 suffice since guessing is slowed down and common passwords are refused."""

MIN_NAME_PART = 3
"""Characters of the shortest word of a name that is looked for: shorter ones are in any password."""
MIN_LETTERS_BESIDE_NAME = 4
"""Letters that a password must have beside the own name: digits and signs are tried with each name."""


def check_new(password: str, *about: str) -> None:
    """Check that a new password is good enough.

    Args:
        password: the new one.
        about: what the person is called: their id and name.

    Raises:
        RelayError: `bad_request`, saying what is wrong with it.
    """
    password = _as_typed(password)
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise RelayError.bad_field("password", f"a password needs {MIN_LENGTH} to {MAX_LENGTH} characters")
    if "\0" in password:
        raise RelayError.bad_field("password", "a password may not contain a NUL character")
    plain = _plain(password)
    core = plain.strip("0123456789!?.,;:_-+*#$%&@=/ ")
    if len(set(plain)) < 4 or _is_run(plain):
        raise RelayError.bad_field("password", "this password is a sequence of characters: use several words instead")
    if plain in _common() or core in _common():
        raise RelayError.bad_field("password", "this is one of the first passwords that attackers try: choose another")
    if _is_own_name(plain, core, about):
        raise RelayError.bad_field("password", "a password must be more than your own name")


def _as_typed(password: str) -> str:
    """Normalize a password: keyboards and systems write the same ä in two ways (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _plain(text: str) -> str:
    return _as_typed(text).casefold()


def _is_own_name(plain: str, core: str, about: Iterable[str]) -> bool:
    """Tell whether a folded password is little more than the person's names or words of them, in any order.

    Args:
        plain: the password.
        core: what is left of it without digits and signs around it.
        about: what the person is called.
    """
    called = {_plain(one) for one in about}
    words = {word for one in called for word in (one, *re.split(r"[\W_]+", one)) if len(word) >= MIN_NAME_PART}
    rest = plain
    for word in sorted(words, key=lambda word: (-len(word), word)):
        rest = rest.replace(word, "")
    said = sum(character.isalpha() for character in rest)
    return (rest != plain and said < MIN_LETTERS_BESIDE_NAME) or (bool(core) and any(core in one for one in called))


def _is_run(text: str) -> bool:
    """Tell whether each character follows the one before it, upwards or downwards: abcdefghij, 9876543210."""
    steps = {
        (ord(after) - ord(before)) % 10 if before.isdigit() and after.isdigit() else ord(after) - ord(before)
        for before, after in pairwise(text)
    }
    return steps in ({1}, {-1}, {9})


@functools.cache
def _common() -> frozenset[str]:
    """Load the passwords that are tried first, and the words within them."""
    lines = (files("relay.core.auth") / "common_passwords.txt").read_text("utf-8").splitlines()
    return frozenset(_plain(line) for line in lines if line and not line.startswith("#"))


class Passwords:
    """Makes and checks hashes, one at a time."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT)

    async def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            RelayError: `rate_limited`, too many wait already.
        """
        return await self._in_turn(lambda: _hasher().hash(_as_typed(password)))

    async def check(self, hashed: str | None, password: str) -> bool:
        """Tell whether a password is the one that was hashed. It takes as long if there is no hash.

        Args:
            hashed: the hash of the password; None if there is none.
            password: what was typed.

        Raises:
            RelayError: `rate_limited`, too many wait already.
        """
        known = hashed or await self._nobodys()
        # A user without a password must not get in by the empty one, whose hash stands in for theirs.
        return await self._in_turn(lambda: _matches(known, password)) and bool(hashed)

    async def _nobodys(self) -> str:
        return await self._in_turn(_nobodys_hash)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._limiter.statistics().tasks_waiting >= MAX_WAITING:
            raise RelayError.rate_limited(1_000)
        try:
            return await threads.run(work, limiter=self._limiter)
        except threads.NoThreads as error:
            logger.error("a password cannot be checked: %s", error.strerror)
            raise RelayError.unavailable() from None


@functools.cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)


@functools.cache
def _nobodys_hash() -> str:
    return _hasher().hash("")


def _matches(hashed: str, password: str) -> bool:
    typed = _as_typed(password)
    # Older relays hashed a password as it came.
    return _verified(hashed, typed) or (typed != password and _verified(hashed, password))


def _verified(hashed: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
