"""The engine that the log's writer calls: it decides batches, applies and publishes entries, and tracks dirty rows."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from relay.core import rules as decide
from relay.core.delivery.hub import Hub
from relay.core.maintenance.statistics import LatencySamples
from relay.core.model.snapshot import DirtyRows, Round
from relay.core.model.state import State
from relay.keys import UserKey
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import DevicesInUse, DeviceUses, Entry, Facts
from relay.store.queries.snapshots import SnapshotRows


class Engine:
    """The state, the hub that publishes its changes, and the rows that the snapshot lacks."""

    def __init__(
        self,
        state: State,
        hub: Hub,
        dirty: DirtyRows,
        on_writer_held: Callable[[Sequence[Command], float], None],
        on_files_released: Callable[[], None],
        device_uses: Callable[[UserKey], DeviceUses],
    ) -> None:
        """Connect a state to a hub.

        Args:
            state: the state as the log has it.
            hub: gets every entry once the state has it.
            dirty: the rows that the snapshot lacks.
            on_writer_held: called with a batch that held the writer longer than its commit took, and the seconds.
            on_files_released: called when a message may have released its files.
            device_uses: answers the fact `DevicesInUse`.
        """
        self._on_writer_held = on_writer_held
        self._on_files_released = on_files_released
        self._device_uses = device_uses
        self._state = state
        self._hub = hub
        self._dirty = dirty
        self._round: Round | None = None
        self.lags = LatencySamples()
        self.needs_own_batch = partial(decide.needs_own_batch, state)
        """See `decide.needs_own_batch`."""
        self._first = 0

    def decide(self, batch: Sequence[Command], facts: Facts) -> decide.Draft:
        """See `decide.decide`. Facts that hold for this turn only are answered here and not cached."""
        draft = decide.decide(self._state, batch, facts)
        if not draft.unknown:
            return draft
        facts = dict(facts)
        while asked := [fact for fact in draft.unknown if type(fact) is DevicesInUse]:
            facts.update((fact, self._device_uses(fact.user)) for fact in asked)
            draft = decide.decide(self._state, batch, facts)
        return draft

    @staticmethod
    def weight(command: Command) -> int:
        """Estimate the bytes that a command takes."""
        return len(msgspec.json.encode(command.request))

    def charge(self, batch: Sequence[Command], seconds: float) -> None:
        """See `store.log.decision_engine.DecisionEngine`."""
        self._on_writer_held(batch, seconds)

    def apply(self, entry: Entry) -> Iterator[None] | None:
        """Apply an entry to the state, then publish it; the rest of publishing is returned as `Hub.publish` does."""
        self._state.apply(entry)
        self._dirty.note(entry, self._state)
        rest = self._hub.publish(entry)
        if entry.kind in (kinds.EDIT, kinds.DELETE):
            self._on_files_released()
        if entry.kind == kinds.NEW:
            self.lags.messages += 1
            self._first = self._first or entry.at
        return rest

    def batch_done(self) -> None:
        """Flush what the batch published."""
        self._hub.flush()
        if self._first:
            self.lags.note(max(0, self._hub.clock() - self._first))
            self._first = 0

    def snapshot(self, count: int) -> SnapshotRows:
        """Take about `count` dirty rows of the current round, or start one; the last rows come with the round's `seq`.

        Later entries mark rows as dirty again.
        """
        if self._round is None:
            dirty, self._dirty = self._dirty, DirtyRows()
            self._round = Round(self._state, dirty, self._dirty)
        rows = self._round.take(count)
        if self._round.over:
            rows["seq"], rows["at"], rows["pruned"] = self._round.start
        return rows

    def snapshot_over(self, *, written: bool) -> None:
        """End the round; rows that could not be written stay dirty."""
        if self._round is not None and not written:
            self._dirty.update(self._round.left())
        self._round = None
