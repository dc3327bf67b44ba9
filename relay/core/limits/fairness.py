"""Who takes how much of the event loop: each user, and each address of strangers, a share while others are there.

The loop serves one after the other. What a task does between two waits is charged to whom it works for; who has taken
more than a share waits before more is taken up for them, as long as anybody else is served. In memory only.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, TypeVar

import trio

T = TypeVar("T")

LOOP_SHARE = 0.2
"""The part of the loop's time that one asker gets while others are there."""
BURST_SECONDS = 0.015
"""Seconds of the loop's time that one asker gets at once, before that part is looked at."""
SLICE_SECONDS = 0.0005
"""Seconds of the loop's time after which one asker's next piece of work comes after everybody else's turn."""
MAX_CHARGE_SECONDS = 0.1
"""Seconds of one piece of work that are charged at most: a machine or a disk that stands still is nobody's doing."""
ALONE_SECONDS = 0.25
"""Seconds in which nobody else was served, after which nobody has to wait for others."""
MAX_THREADS = 4
"""Threads that work for one asker at a time, of the forty that there are."""
MAX_ACCOUNTS = 4_096
"""Askers that are remembered while they have no connection; the one that came least lately is forgotten."""


class Account:
    """What was done for one asker, over all their connections."""

    __slots__ = ("_fairness", "_queue", "_round", "_taken", "_threads", "paid_at", "waiting")

    def __init__(self, fairness: "Fairness") -> None:
        self._fairness = fairness
        self._queue: trio.StrictFIFOLock | None = None
        self._threads: trio.Semaphore | None = None
        self._round = 0
        self._taken = 0.0
        """Seconds in that round."""
        self.waiting = 0
        """How many pieces of work wait for their turn."""
        self.paid_at = float("-inf")
        """When all that was done is paid off at the rate of a share, by the accounts' time."""

    def charge(self, seconds: float, now: float, most: float = MAX_CHARGE_SECONDS) -> None:
        """Note that something was done for this asker.

        Args:
            seconds: how long it took.
            now: the accounts' time.
            most: seconds that are charged at most.
        """
        # With every read of a connection: compared here and not by `min` and `max`, which are calls.
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
        """Have nothing more taken up for this asker for so long, while others are there."""
        self.paid_at = max(self.paid_at, self._fairness.time() + seconds)

    def wait(self, now: float) -> float:
        """How many seconds it takes until more may be done; 0.0 where that is the next round, negative for at once."""
        if self.paid_at > now and not self._fairness.alone(self, now):
            return self.paid_at - now
        return 0.0 if self._round == self._fairness.round and self._taken >= SLICE_SECONDS else -1.0

    def begin(self) -> bool:
        """Charge what is done from here on to this asker; tells whether they may have more done at once."""
        fairness = self._fairness
        if not fairness.counts:
            return True
        now = fairness.switch(self)
        if self.paid_at > now or self._queue is not None:
            return self._queue is None and self.wait(now) < 0
        return self._taken < SLICE_SECONDS or self._round != fairness.round

    async def turn(self) -> None:
        """Wait until more may be done; of several that wait one goes on a round. Who need not wait goes on at once."""
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

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have something done in a thread, `MAX_THREADS` at a time: on a slow disk others need some, too."""
        if self._threads is None:
            self._threads = trio.Semaphore(MAX_THREADS)
        async with self._threads:
            return await trio.to_thread.run_sync(work, *arguments)


PAYER: ContextVar[Account] = ContextVar("PAYER")
"""For whom a task works; tasks that it starts work for the same."""


async def turn() -> None:
    """Let others have their turn, and wait for the next one of whom this task works for."""
    payer = PAYER.get(None)
    await trio.lowlevel.checkpoint()
    if payer is not None:
        await payer.turn()


class Fairness(trio.abc.Instrument):
    """All accounts; as an instrument of trio's it charges each step of a task to whom it works for."""

    def __init__(self, time: Callable[[], float] = perf_counter) -> None:
        """Begin with no accounts.

        Args:
            time: gives the accounts' time, in seconds that never jump.
        """
        self.time = time
        self.counts = False
        """Whether it is at work: else nobody has to wait."""
        self.round = 1
        """The number of this turn of the event loop."""
        self._accounts: OrderedDict[Hashable, Account] = OrderedDict()
        self._running: Account | None = None
        self._began = 0.0
        self.last: Account | None = None
        """Who was served last."""
        self.last_at = float("-inf")
        self.others_at = float("-inf")
        """When anybody but the last one was served."""

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
        """Give the account of a user (by key) or an address (by its text)."""
        account = self._accounts.get(asker)
        if account is None:
            account = self._accounts[asker] = Account(self)
            if len(self._accounts) > MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(asker)
        return account

    def alone(self, account: Account, now: float) -> bool:
        """Whether nobody else was served of late."""
        others_at = self.others_at if account is self.last else self.last_at
        return now - others_at > ALONE_SECONDS

    def switch(self, account: Account | None) -> float:
        """Charge what was done until now to whom it was done for, and what follows to another; gives the time."""
        now = self.time()
        if self._running is not None:
            self._running.charge(now - self._began, now)
        self._running, self._began = account, now
        return now

    def move(self, account: Account) -> None:
        """Charge the whole of this step, and all that this task does from now on, to another one than was thought."""
        self._running = account
        PAYER.set(account)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        payer = task.context.get(PAYER)
        if payer is not self._running:
            self.switch(payer)

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio hands it over
        """See `trio.abc.Instrument`."""
        self.round += 1
        if self._running is not None:
            self.switch(None)
