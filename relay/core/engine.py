"""What the log's writer is handed: decide, let take effect, tell; and keep account of the stale snapshot rows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from relay.core import rules as decide
from relay.core.delivery.hub import Hub
from relay.core.maintenance.statistics import LatencySamples
from relay.core.model.snapshot import DirtyRows, Round
from relay.core.model.state import State
from relay.core.rules.commands import Command
from relay.store import kinds
from relay.store.entry import Entry, Facts


def _nobody() -> None:
    """Tell nobody."""


def _free(_batch: Sequence[Command], _seconds: float) -> None:
    """Charge nobody."""


class Engine:
    """The state, who is told of its changes, and what of it the store does not have yet."""

    def __init__(self, state: State, hub: Hub, stale: DirtyRows) -> None:
        self.on_files_released: Callable[[], None] = _nobody
        """Called when a message may have let go of its files."""
        self.on_writer_held: Callable[[Sequence[Command], float], None] = _free
        """Called with a batch that kept the writer longer than its commit took, and for how many seconds."""
        self._state = state
        self._hub = hub
        self._stale = stale
        self._round: Round | None = None
        self.lags = LatencySamples()
        self.stands_alone = partial(decide.stands_alone, state)
        """See `decide.stands_alone`."""
        self._first = 0

    def decide(self, batch: Sequence[Command], facts: Facts) -> decide.Draft:
        """See `decide.decide`."""
        return decide.decide(self._state, batch, facts)

    @staticmethod
    def weight(command: Command) -> int:
        """About how many bytes a command came in."""
        return len(msgspec.json.encode(command.request))

    def charge(self, batch: Sequence[Command], seconds: float) -> None:
        """See `log.Rules`."""
        self.on_writer_held(batch, seconds)

    def apply(self, entry: Entry) -> None:
        """Let an entry take effect, then tell whom it concerns."""
        self._state.apply(entry)
        self._stale.note(entry, self._state)
        self._hub.tell(entry)
        if entry.kind in (kinds.EDIT, kinds.DELETE):
            self.on_files_released()
        if entry.kind == kinds.NEW:
            self.lags.messages += 1
            self._first = self._first or entry.at

    def batch_done(self) -> None:
        """Send what the batch had to say."""
        self._hub.flush()
        if self._first:
            self.lags.note(max(0, self._hub.clock() - self._first))
            self._first = 0

    def snapshot(self, count: int) -> dict[str, Any]:
        """Give about so many stale rows, of the round that is under way or begins; the last have `seq` with them.

        Entries that come from now on make rows stale again.
        """
        if self._round is None:
            stale, self._stale = self._stale, DirtyRows()
            self._round = Round(self._state, stale, self._stale)
        rows = self._round.take(count)
        return {**rows, **self._round.start._asdict()} if self._round.over else rows

    def snapshot_over(self, *, written: bool) -> None:
        """The round is over; where rows could not be written they are stale still."""
        if self._round is not None and not written:
            self._stale.update(self._round.left())
        self._round = None
