"""Guesses at users' passwords from networks where they have not signed in. Pure: takes the time, knows no passwords.

A guess takes a slot of the guessed user only, so guesses at one user delay no other user. A network
that finds no free slot is promised the next one and keeps it, so networks take turns, however often one asks. Networks
that have failed often share slots of their own, so that they do not take slots from the others.
"""

from collections import OrderedDict
from typing import NamedTuple

from relay.core.auth.throttle import FORGET_SECONDS, Slots, Throttle
from relay.keys import Seconds, UserKey

FIRST_TRIES = 3
"""Attempts of a network that count as typing mistakes and take the slots for those."""
FIRST_SECONDS, FIRST_AT_ONCE = 60.0, 8
"""A user's slots for typing mistakes: seconds between two, and how many at once."""
LATER_SECONDS, LATER_AT_ONCE = 180.0, 5
"""A user's slots for a network's further attempts. With the slots above and the kept ones they are at most 100 in any
hour (OWASP ASVS 4.0.3, 2.2.1)."""
PAIR_WAIT_SECONDS = 900.0
"""Maximum wait of a network after its own wrong guesses at one user's password."""
PROMISED_SECONDS = 300.0
"""How long a promised slot is reserved for its network: long enough for a person to come back."""
MAX_PROMISED = 32
"""Maximum networks with a promised slot. Further ones are told to try again, without a promise."""
MAX_NETWORKS = 64
"""Maximum networks per user whose failures are kept. The one that failed or asked least recently is dropped."""
MAX_UNKNOWN = 8_192
"""Maximum networks and unknown ids in total. The ids that were tried least recently are dropped."""


class _Queue:
    """Slots promised to networks in the order in which they asked."""

    def __init__(self, every: float, at_once: int) -> None:
        self._slots = Slots(every, at_once)
        self._promised: dict[str, float] = {}
        """The time of each network's slot, the earliest first: slots are taken in order."""

    def __len__(self) -> int:
        return len(self._promised)

    def promised(self, network: str, now: Seconds) -> float | None:
        """Return the time of the slot that a network is promised."""
        while self._promised:
            first, slot = next(iter(self._promised.items()))
            if slot + PROMISED_SECONDS >= now:
                break
            del self._promised[first]
        return self._promised.get(network)

    def ask(self, network: str, now: Seconds) -> tuple[float, bool, float]:
        """Use a slot, or reserve the next one.

        Returns:
            The seconds until the slot, 0.0 if it is used now; whether it was taken just now; and the time of the slot.
        """
        promised = self.promised(network, now)
        is_new = promised is None
        if promised is None:
            if self._slots.next(now) > now and len(self._promised) >= MAX_PROMISED:
                return self._slots.every, False, now
            promised = self._slots.take(now)
            if promised > now:
                self._promised[network] = promised
        if promised > now:
            return promised - now, is_new, promised
        self._promised.pop(network, None)
        return 0.0, is_new, promised

    def give_back(self, network: str, slot: float) -> None:
        """Promise a used slot to its network once more. Its end does not move, so slots cannot be saved up."""
        self._promised.setdefault(network, slot)
        self._promised = dict(sorted(self._promised.items(), key=lambda one: one[1]))

    def idle(self, now: Seconds) -> bool:
        """Return whether nothing is promised or used."""
        return self._slots.full(now)


class _Tries(NamedTuple):
    slots: int
    """Slots that a network took or let pass: otherwise it could keep others waiting for nothing."""
    asked_at: float


class Attempt(NamedTuple):
    """An attempt that was counted, or has to wait."""

    wait: float
    """Seconds until the password may be checked; 0.0 for now."""
    slot: float
    """The time of its slot."""
    is_first: bool
    """Whether that was a slot for typing mistakes."""


class _GuessedUser:
    """The guesses at one user, or at an unknown id."""

    __slots__ = ("_asked_at", "_failures", "_first", "_later", "_tries")

    def __init__(self) -> None:
        self._failures = Throttle(PAIR_WAIT_SECONDS, kept=MAX_NETWORKS)
        self._first = _Queue(FIRST_SECONDS, FIRST_AT_ONCE)
        self._later = _Queue(LATER_SECONDS, LATER_AT_ONCE)
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        """Networks that took slots. Failures of a network that keeps asking are not forgiven, however rarely it gets a
        slot."""
        self._asked_at = 0.0

    def __len__(self) -> int:
        return 1 + len(self._failures) + len(self._tries) + len(self._first) + len(self._later)

    def attempt(self, network: str, now: Seconds) -> Attempt:
        self._asked_at = slot = now
        is_first = False
        tries = self._tries.pop(network, None)
        slots = tries.slots if tries is not None and now - tries.asked_at <= FORGET_SECONDS else 0
        wait = self._failures.wait(network, now)
        if wait == 0:
            is_first = slots < FIRST_TRIES or self._first.promised(network, now) is not None
            wait, is_new, slot = (self._first if is_first else self._later).ask(network, now)
            slots += is_new
        if wait == 0:
            self._failures.failed(network, now)
        if slots:
            self._tries[network] = _Tries(slots, now)
            if len(self._tries) > MAX_NETWORKS:
                self._tries.popitem(last=False)
        return Attempt(wait, slot, is_first)

    def give_back(self, network: str, attempt: Attempt) -> None:
        self._failures.forgive(network)
        (self._first if attempt.is_first else self._later).give_back(network, attempt.slot)

    def succeeded(self, network: str) -> None:
        self._failures.succeeded(network)
        self._tries.pop(network, None)

    def idle(self, now: Seconds) -> bool:
        return now - self._asked_at > FORGET_SECONDS and self._first.idle(now) and self._later.idle(now)


class Guesses:
    """All guesses, by user. Guesses at unknown ids have a table of their own, which takes no room from users."""

    def __init__(self) -> None:
        self._users: OrderedDict[UserKey, _GuessedUser] = OrderedDict()
        self._unknown: OrderedDict[str, _GuessedUser] = OrderedDict()
        self._unknown_size = 0

    def __len__(self) -> int:
        return sum(map(len, self._users.values())) + self._unknown_size

    def attempt(self, who: UserKey | str, network: str, now: Seconds) -> Attempt:
        """Count an attempt as a failure, or return how long it has to wait.

        Args:
            who: the user's key; an unknown id as text.
            network: the network it comes from (`rate_limit_key`).
            now: seconds of any clock that does not jump.
        """
        if isinstance(who, str):
            return self._unknown_attempt(who, network, now)
        while self._users and next(iter(self._users.values())).idle(now):
            self._users.popitem(last=False)
        guessed = self._users.setdefault(who, _GuessedUser())
        self._users.move_to_end(who)
        return guessed.attempt(network, now)

    def _unknown_attempt(self, user_id: str, network: str, now: Seconds) -> Attempt:
        guessed = self._unknown.pop(user_id, None)
        before = 0 if guessed is None else len(guessed)
        guessed = self._unknown[user_id] = guessed or _GuessedUser()
        attempt = guessed.attempt(network, now)
        self._unknown_size += len(guessed) - before
        self._forget_unknown()
        return attempt

    def _forget_unknown(self) -> None:
        while self._unknown_size > MAX_UNKNOWN:
            self._unknown_size -= len(self._unknown.popitem(last=False)[1])

    def give_back(self, who: UserKey | str, network: str, attempt: Attempt) -> None:
        """Take back a counted attempt whose password was never checked.

        Its network keeps the slot for another attempt, like a promised slot.

        Args:
            who: the user's key, or the unknown id.
            network: where the attempt came from, as `rate_limit_key` names it.
            attempt: what counting it returned.
        """
        guessed = self._unknown.get(who) if isinstance(who, str) else self._users.get(who)
        if guessed is None:
            return
        before = len(guessed)
        guessed.give_back(network, attempt)
        if isinstance(who, str):
            self._unknown_size += len(guessed) - before
            self._forget_unknown()

    def succeeded(self, user: UserKey, network: str) -> None:
        """Forget a network's failures at a user. The slot stays used, so a success makes no room for guesses."""
        guessed = self._users.get(user)
        if guessed is not None:
            guessed.succeeded(network)
