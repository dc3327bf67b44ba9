"""Guesses at users' passwords from networks where they have not signed in. Pure: takes the time, knows no passwords.

A guess costs a slot of the user whom it is for, and no other's: guesses at one user hold up no other one. A network
that finds no free slot is promised the next one and keeps it, so networks come in turn, however often one asks.
Networks that have failed often share slots of their own, so that they do not take those of the others.
"""

from collections import OrderedDict
from typing import NamedTuple

from relay.core.auth.throttle import FORGET_SECONDS, Slots, Throttle
from relay.keys import Seconds, UserKey

FIRST_TRIES = 3
"""Slots that a network takes as those of a user who may have mistyped."""
FIRST_SECONDS, FIRST_AT_ONCE = 60.0, 8
"""A user's slots for such tries: seconds between two, and how many at once."""
LATER_SECONDS, LATER_AT_ONCE = 180.0, 5
"""A user's slots for further tries of a network. With the former and those kept they are at most 100 in any hour (OWASP
ASVS 4.0.3, 2.2.1)."""
PAIR_WAIT_SECONDS = 900.0
"""The longest that a network has to wait after its own failures to guess one user's password."""
PROMISED_SECONDS = 300.0
"""How long a promised slot is kept for its network: a person has to come back in time."""
MAX_PROMISED = 32
"""Networks that are promised a slot at a time. Further ones are asked to come again and are promised nothing."""
MAX_NETWORKS = 64
"""Networks of one user whose failures are kept. The one that failed or asked least recently is dropped."""
MAX_UNKNOWN = 8_192
"""Networks and ids that no user has, in all. The ids that were tried least recently are dropped."""


class _Queue:
    """Slots that are promised to networks in the order in which they asked."""

    def __init__(self, every: float, at_once: int) -> None:
        self._slots = Slots(every, at_once)
        self._promised: dict[str, float] = {}
        """When each network's slot is: the earliest first, as slots are taken in order."""

    def __len__(self) -> int:
        return len(self._promised)

    def promised(self, network: str, now: Seconds) -> float | None:
        """Give the time of the slot that a network is promised."""
        while self._promised:
            first, slot = next(iter(self._promised.items()))
            if slot + PROMISED_SECONDS >= now:
                break
            del self._promised[first]
        return self._promised.get(network)

    def ask(self, network: str, now: Seconds) -> tuple[float, bool, float]:
        """Use a slot, or be promised one.

        Returns:
            The seconds until it, 0.0 for one that is used now; whether it was taken just now; and the time of the slot.
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
        """Promise a used slot to its network once more. It ends no later for that, so slots cannot be saved up."""
        self._promised.setdefault(network, slot)
        self._promised = dict(sorted(self._promised.items(), key=lambda one: one[1]))

    def idle(self, now: Seconds) -> bool:
        """Tell whether it is as it was in the beginning."""
        return self._slots.full(now)


class _Tries(NamedTuple):
    slots: int
    """Slots that a network took, also if it let one pass: otherwise it could keep others waiting for nothing."""
    asked_at: float


class Attempt(NamedTuple):
    """An attempt that was counted, or has to wait."""

    wait: float
    """0.0 where the password may be checked now, else the seconds after which it may be."""
    slot: float
    """When its slot was."""
    is_first: bool
    """Whether that was one of the slots for a user who may have mistyped."""


class _GuessedUser:
    """What was guessed at one user, or at an id that no user has."""

    __slots__ = ("_asked_at", "_failures", "_first", "_later", "_tries")

    def __init__(self) -> None:
        self._failures = Throttle(PAIR_WAIT_SECONDS, kept=MAX_NETWORKS)
        self._first = _Queue(FIRST_SECONDS, FIRST_AT_ONCE)
        self._later = _Queue(LATER_SECONDS, LATER_AT_ONCE)
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        """Networks that took slots. While one goes on asking nothing is forgiven, however rarely it gets one."""
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
    """All guesses, by user. Ids that no user has are treated alike, in a table that takes no room from users."""

    def __init__(self) -> None:
        self._users: OrderedDict[UserKey, _GuessedUser] = OrderedDict()
        self._unknown: OrderedDict[str, _GuessedUser] = OrderedDict()
        self._unknown_size = 0

    def __len__(self) -> int:
        return sum(map(len, self._users.values())) + self._unknown_size

    def attempt(self, who: UserKey | str, network: str, now: Seconds) -> Attempt:
        """Count an attempt as a failure, or tell how long it has to wait.

        Args:
            who: the user's key; an id that no user has as text.
            network: where it comes from (`rate_limit_key`).
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
        """Take a counted attempt back whose password was never checked.

        Its network keeps the slot for another attempt, as it keeps one that it was promised: no other gets it.

        Args:
            who: the user's key, or the id that no user has.
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
        """Forget a network's failures at a user. The slot stays used, so that a success makes no room for guesses."""
        guessed = self._users.get(user)
        if guessed is not None:
            guessed.succeeded(network)
