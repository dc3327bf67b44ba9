"""Passwords: hashed and checked by argon2 in a thread, one at a time, so that guessing cannot stall the relay.

argon2 is loaded with the first password; most relays never have one.
"""

import functools
import logging
import re
import secrets
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from relay import threads
from relay.core.auth.throttle import Slots
from relay.core.limits.fair_lock import FairLock
from relay.core.model.entities import User
from relay.core.rules.commands import CheckedPassword
from relay.protocol.errors import RelayError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING = 256
"""Maximum hashes waiting for users and admins whom the relay knows, and the same for all others, who take turns by user
or by network. Beyond it, the newest hash of the user or network with the most is dropped."""
NOBODYS_SECONDS, NOBODYS_AT_ONCE = 1.0, 40
"""Hashes for unknown ids: seconds between two, and how many at once. Further attempts only wait as long as one
takes."""
TIMES_KEPT = 32
"""How many of the latest hashes are timed."""
MIN_LENGTH, MAX_LENGTH = 10, 1_024
"""Characters of a new password. 10 suffice since guessing is slowed down and common passwords are refused."""

MIN_NAME_PART = 3
"""Length of the shortest word of a name that is searched for: shorter ones occur in any password."""
MIN_LETTERS_BESIDE_NAME = 4
"""Letters that a password must have besides the user's own name: guessers append digits and signs to each name."""


def check_new(password: str, *about: str) -> None:
    """Check that a new password is good enough.

    Args:
        password: the new one.
        about: the person's id and name.

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
    """Return whether a folded password is little more than the person's names or their words, in any order.

    Args:
        plain: the password.
        core: the password without the digits and signs around it.
        about: the person's id and name.
    """
    called = {_plain(one) for one in about}
    words = {word for one in called for word in (one, *re.split(r"[\W_]+", one)) if len(word) >= MIN_NAME_PART}
    rest = plain
    for word in sorted(words, key=lambda word: (-len(word), word)):
        rest = rest.replace(word, "")
    said = sum(character.isalpha() for character in rest)
    return (rest != plain and said < MIN_LETTERS_BESIDE_NAME) or (bool(core) and any(core in one for one in called))


def _is_run(text: str) -> bool:
    """Return whether each character follows the one before it, upwards or downwards: abcdefghij, 9876543210."""
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


class Hasher(Protocol):
    """Makes and checks hashes. Called in a thread, one call at a time."""

    def hash(self, password: str) -> str:
        """Hash a password."""

    def matches(self, hashed: str, password: str) -> bool:
        """Return whether a password matches a hash."""


class Argon2:
    """argon2id, loaded with the first password."""

    def __init__(self, memory_kib: int, passes: int) -> None:
        """Store the cost without loading argon2.

        Args:
            memory_kib: KiB for one hash.
            passes: passes over that memory.
        """
        self._memory_kib = memory_kib
        self._passes = passes

    @functools.cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher

        return PasswordHasher(time_cost=self._passes, memory_cost=self._memory_kib, parallelism=1)

    def hash(self, password: str) -> str:
        """Hash a password."""
        return self._hasher.hash(password)

    def matches(self, hashed: str, password: str) -> bool:
        """Return whether a password matches a hash; nothing matches an invalid hash."""
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False


class Passwords:
    """Makes and checks hashes, one at a time."""

    def __init__(
        self, hasher: Hasher, *, most_waiting: int = MAX_WAITING, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        """Begin without hashes.

        Args:
            hasher: makes and checks one hash.
            most_waiting: hashes that may wait for users whom the relay knows, and as many for all others.
            timer: measures in seconds how long a hash takes.
        """
        self.hasher = hasher
        self.lock = FairLock(most_waiting)
        """Held while a hash is computed; owners take turns."""
        self._timer = timer
        self._limiter = trio.CapacityLimiter(1)
        self._nobodys = Slots(NOBODYS_SECONDS, NOBODYS_AT_ONCE)
        self._times: deque[float] = deque(maxlen=TIMES_KEPT)
        """Seconds that each of the latest password checks took."""

    async def hash(self, password: str, owner: Hashable) -> str:
        """Hash a new password.

        Args:
            password: the new one.
            owner: the signed-in user or the admin it is for; owners take turns.

        Raises:
            RelayError: `rate_limited`, too many wait already.
        """
        return await self._in_turn(lambda: self.hasher.hash(_as_typed(password)), owner, trusted=True)

    async def check(
        self, hashed: str | None, password: str, owner: Hashable, *, known: bool = True, trusted: bool = False
    ) -> bool:
        """Return whether a password matches a hash. It takes as long if there is no hash.

        Args:
            hashed: the hash; None if there is none.
            password: what was typed.
            owner: the user or network it is for; owners take turns.
            known: whether the user exists. Unknown ids are unlimited in number, so not every attempt at one is hashed:
                they must not take the processor from real users.
            trusted: whether the relay knows the owner: a user from their own device. Guessers do not delay known
                owners.

        Raises:
            RelayError: `rate_limited`, too many wait already.
        """
        if not known and self._times:
            now = trio.current_time()
            if self._nobodys.next(now) > now:
                await trio.sleep(sum(secrets.choice(self._times) for _ in _forms(password)))
                return False
            self._nobodys.take(now)
        # A user without a password must not get in with the empty one, whose hash stands in for theirs.
        right = await self._in_turn(
            lambda: self._matches(hashed or self._nobodys_hash, password), owner, trusted=trusted
        )
        return right and bool(hashed)

    async def prove(
        self, user: User | None, password: str, owner: Hashable, *, trusted: bool = False
    ) -> CheckedPassword | None:
        """Check a user's password, and return the proof that a command needs; None if it is wrong.

        Args:
            user: the user they claim to be; None for an unknown id.
            password: what was typed.
            owner: as for `check`.
            trusted: as for `check`.

        Raises:
            RelayError: as `check`.
        """
        # Read it before the wait: the password may change during it.
        hashed = "" if user is None else user.password
        right = await self.check(hashed, password, owner, known=user is not None, trusted=trusted)
        return CheckedPassword(user.key, hashed) if right and user is not None else None

    @staticmethod
    def nothing_to_prove(user: User) -> CheckedPassword:
        """Return the proof for a user without a password; it holds as long as they have none."""
        assert not user.password
        return CheckedPassword(user.key, "")

    @functools.cached_property
    def _nobodys_hash(self) -> str:
        """Stands in for the hash of a user who has none, so that checking takes as long."""
        return self.hasher.hash("")

    def _matches(self, stored: str, password: str) -> bool:
        for form in _forms(password):
            began = self._timer()
            matches = self.hasher.matches(stored, form)
            self._times.append(self._timer() - began)
            if matches:
                return True
        return False

    async def _in_turn(self, work: Callable[[], T], owner: Hashable, *, trusted: bool = False) -> T:
        async with self.lock.turn(owner, trusted=trusted):
            try:
                return await threads.run(work, limiter=self._limiter)
            except threads.NoThreads as error:
                logger.error("a password cannot be checked: %s", error.strerror)
                raise RelayError("unavailable", "the relay cannot check a password just now: try again later") from None


def _forms(password: str) -> list[str]:
    """Return the forms in which a password may have been hashed: older relays did not normalize it."""
    typed = _as_typed(password)
    return [typed] if typed == password else [typed, password]
