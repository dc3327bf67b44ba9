"""Fair shares of the event loop: for each user, and for each address from which no user has signed in.

The time of each step of a task is charged to the account that the task works for. An account that took more than its
share waits, as long as anybody else is served. In memory only.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import TypeVar, TypeVarTuple

import trio

from relay import threads
from relay.keys import Seconds

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

LOOP_SHARE = 0.2
"""The share of the loop's time that one account gets while others are served."""
BURST_SECONDS = 0.015
"""Seconds of the loop's time that one account gets at once, beyond its share."""
SLICE_SECONDS = 0.0005
"""After this many seconds of the loop's time in one turn, an account's next piece of work comes after everybody
else's."""
MAX_CHARGE_SECONDS = 0.1
"""Maximum seconds charged for one piece of work: nobody pays for a machine that stood still."""
MAX_THREADS = 4
"""Maximum threads that work for one account at a time, of trio's forty."""
MAX_ACCOUNTS = 4_096
"""Maximum accounts kept; the least recently used one is dropped."""


class Account:
    """The work done for one user or address, over all their connections."""

    __slots__ = ("_fairness", "_queue", "_round", "_taken", "_threads", "paid_at", "waiting")

    def __init__(self, fairness: "Fairness") -> None:
        self._fairness = fairness
        self._queue: trio.StrictFIFOLock | None = None
        self._threads: trio.Semaphore | None = None
        self._round = 0
        self._taken = 0.0
        """Seconds charged in that round."""
        self.waiting = 0
        """How many pieces of work are waiting."""
        self.paid_at = float("-inf")
        """When everything charged is paid off at the rate of a share, by the accounts' time."""

    def charge(self, seconds: float, now: Seconds, most: float = MAX_CHARGE_SECONDS) -> None:
        """Charge work that was done for this account.

        Args:
            seconds: how long it took.
            now: the accounts' time.
            most: seconds that are charged at most.
        """
        # This runs with every read of a connection, so it compares here: `min` and `max` are calls.
        fairness = self._fairness
        if seconds > most:  # noqa: PLR1730
            seconds = most
        if self._round != fairness.round:
            self._round, self._taken = fairness.round, seconds
        else:
            self._taken += seconds
        paid_at, earliest = self.paid_at, now - BURST_SECONDS / LOOP_SHARE
        self.paid_at = (paid_at if paid_at > earliest else earliest) + seconds / LOOP_SHARE  # noqa: FURB136
        if self is not fairness.last:
            fairness.others_at, fairness.last = fairness.last_at, self
        fairness.last_at = now

    def rest(self, seconds: float) -> None:
        """Let this account wait for so many seconds, while others are served."""
        self.paid_at = max(self.paid_at, self._fairness.time() + seconds)

    def wait(self, now: Seconds) -> float:
        """Return the seconds until more may be done; 0.0 means in the next round, a negative number at once."""
        if self.paid_at > now and not self._fairness.alone(self, now):
            return self.paid_at - now
        return 0.0 if self._round == self._fairness.round and self._taken >= SLICE_SECONDS else -1.0

    def begin(self) -> bool:
        """Charge the work from here on to this account; return whether more may be done for it at once."""
        fairness = self._fairness
        if not fairness.counts:
            return True
        # Like `switch`, but without a call for each read of a connection.
        now = fairness.time()
        if fairness.running is not None:
            fairness.running.charge(now - fairness.began, now)
        fairness.running, fairness.began = self, now
        if self.paid_at > now or self._queue is not None:
            return self._queue is None and self.wait(now) < 0
        return self._taken < SLICE_SECONDS or self._round != fairness.round

    async def wait_for_turn(self) -> None:
        """Wait until more may be done: each round lets one waiter proceed. Returns at once if no wait is needed."""
        if self.begin():
            return
        if self._queue is None:
            self._queue = trio.StrictFIFOLock()
        queue = self._queue
        self.waiting += 1
        try:
            async with queue:
                while (seconds := self.wait(self._fairness.time())) >= 0:
                    await trio.sleep(seconds)
                    self._taken = 0.0
        finally:
            self.waiting -= 1
            if not queue.locked():
                self._queue = None
        self._fairness.switch(self)

    async def in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run a function in a thread, at most `MAX_THREADS` at a time: on a slow disk others need threads too."""
        if self._threads is None:
            self._threads = trio.Semaphore(MAX_THREADS)
        async with self._threads:
            return await threads.run(work, *arguments)


PAYER: ContextVar[Account] = ContextVar("PAYER")
"""The account that a task works for; tasks that it starts inherit it."""


async def wait_for_turn() -> None:
    """Let other tasks run, and wait until more may be done for this task's account."""
    payer = PAYER.get(None)
    await trio.lowlevel.checkpoint()
    if payer is not None:
        await payer.wait_for_turn()


class Fairness(trio.abc.Instrument):
    """All accounts. As a trio instrument it charges each step of a task to the account that the task works for."""

    def __init__(self, time: Callable[[], float] = perf_counter) -> None:
        """Begin with no accounts.

        Args:
            time: the accounts' time, monotonic seconds.
        """
        self.time = time
        self.alone_seconds = 0.25
        """An account need not wait if nobody else was served for this many seconds."""
        self.counts = False
        """Whether time is being counted; otherwise no account has to wait."""
        self.round = 1
        """The number of this turn of the event loop."""
        self._accounts: OrderedDict[Hashable, Account] = OrderedDict()
        self.running: Account | None = None
        """The account that pays for the current work."""
        self.began = 0.0
        """Since when it pays, by the accounts' time."""
        self.last: Account | None = None
        """The last account that was served."""
        self.last_at = float("-inf")
        self.others_at = float("-inf")
        """When an account other than the last one was served."""

    def __len__(self) -> int:
        return len(self._accounts)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count within this block."""
        trio.lowlevel.add_instrument(self)
        self.counts = True
        try:
            yield
        finally:
            self.counts = False
            trio.lowlevel.remove_instrument(self)

    def of(self, asker: Hashable) -> Account:
        """Return the account of a user (by key) or of an address (by `rate_limit_key`)."""
        account = self._accounts.get(asker)
        if account is None:
            account = self._accounts[asker] = Account(self)
            if len(self._accounts) > MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(asker)
        return account

    def alone(self, account: Account, now: Seconds) -> bool:
        """Return whether no other account was served recently."""
        others_at = self.others_at if account is self.last else self.last_at
        return now - others_at > self.alone_seconds

    def switch(self, account: Account | None) -> float:
        """Charge the time until now to the running account, and the following time to another; return the time."""
        now = self.time()
        if self.running is not None:
            self.running.charge(now - self.began, now)
        self.running, self.began = account, now
        return now

    def move(self, account: Account) -> None:
        """Charge this whole step, and all later work of this task, to another account."""
        self.running = account
        PAYER.set(account)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        payer = task.context.get(PAYER)
        if payer is not self.running:
            self.switch(payer)

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio hands it over
        """See `trio.abc.Instrument`."""
        self.round += 1
        if self.running is not None:
            self.switch(None)
