"""The interface between the writer and the rules: deciding batches, applying entries that are on disk. Types only."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from relay.store.command import Command
from relay.store.entry import Amendment, Entry, Fact, Facts
from relay.store.queries.snapshots import SnapshotRows


class Decided(Protocol):
    """The outcome of one command."""

    @property
    def entries(self) -> list[Entry]:
        """The entries to write."""

    @property
    def answer(self) -> object:
        """The answer once they are on disk: a payload, or a `RelayError`."""


class Drafted(Protocol):
    """The outcome of a batch, before it is on disk."""

    @property
    def decisions(self) -> Sequence[Decided]:
        """One for each command, in the same order."""

    @property
    def amendments(self) -> list[Amendment]:
        """Changes to messages that are already in the log."""

    @property
    def unknown(self) -> list[Fact]:
        """Facts to look up before the batch is decided again."""


class DecisionEngine(Protocol):
    """Decides commands, and applies the resulting entries."""

    @property
    def needs_own_batch(self) -> Callable[[Command], bool]:
        """Returns whether a command needs a batch of its own."""

    def decide(self, batch: Sequence[Command], facts: Facts) -> Drafted:
        """Decide a batch. Changes nothing."""

    def weight(self, command: Command) -> int:
        """Estimate the bytes of a command as it came. Called only when much is waiting."""

    def charge(self, batch: Sequence[Command], seconds: float) -> None:
        """Charge these commands' senders for writer time that they did not share with others."""

    def apply(self, entry: Entry) -> Iterator[None] | None:
        """Apply an entry that is on disk to the state, and publish it.

        Returns:
            The remaining steps of publishing it, between which other tasks may run; None if there are none.
        """

    def batch_done(self) -> None:
        """Send the frames that this batch published."""

    def snapshot(self, count: int) -> SnapshotRows:
        """See `background.SnapshotSource`."""

    def snapshot_over(self, *, written: bool) -> None:
        """See `background.SnapshotSource`."""
