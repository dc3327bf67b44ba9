"""The cost of the rulebook per message: `python tests/bench/rulebook_cost.py`, in CPU time, by turns in one run.

Decides, applies and publishes messages and their receipts in memory, once with the real code and once with permissions,
visibility and counting replaced by constants. The other costs of a message (frames, JSON in, the store) are left out,
so the share of the whole is smaller: `instructions.py --features "the rulebook"` counts that, on a quiet machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Last in the path, also on import: `relay` comes from the measured tree.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from relay.keys import NO_DEVICE
from tests.bench import instructions
from tests.bench.under_load import TREE

ROUNDS, TURNS = 40, 15
"""Rounds of messages in a run, and runs of each."""
DIALOGS, MEMBERS = 50, 50


def work(*, group: bool) -> float:
    """Send a message in each dialog, or one from each member in a group, repeatedly; all are published and
    acknowledged.

    Returns:
        Microseconds of CPU a message.
    """
    from relay.core import rules
    from relay.core.delivery.hub import Hub
    from relay.core.delivery.subscriber import Subscriber
    from relay.core.model.state import State
    from relay.core.rules import commands
    from relay.keys import UserKey
    from relay.outcomes import Decidable
    from relay.protocol import control, requests
    from relay.store.command import Command

    class End:
        """The other end of a connection: takes everything, and keeps the last frame."""

        full, waiting = False, (0, 0.0)

        def put(self, frame: bytes) -> None:
            self.last = frame

        def offer(self, frame: bytes) -> bool:
            self.last = frame
            return True

        def flush(self) -> None:
            """Do nothing: everything is out already."""

        def start_catch_up(self) -> None:
            raise AssertionError

        def close(self, code: int, reason: str) -> None:
            raise AssertionError

    state, now = State(), 1_767_225_600_000
    hub = Hub(state, lambda: now, bytes, lambda: 0.0)

    def commit(batch: list[Command]) -> None:
        draft = rules.decide(state, batch, {})
        assert not draft.unknown
        for decision in draft.decisions:
            for entry in decision.entries:
                state.apply(entry)
                hub.publish(entry)
        hub.flush()

    def asks(user: UserKey, request: Decidable, generated_id: str = "") -> Command:
        return Command(now, user, NO_DEVICE, request, generated_id=generated_id)

    users = [UserKey(number) for number in range(1, 1 + (MEMBERS if group else 2 * DIALOGS))]
    for user in users:
        commit([asks(commands.ADMIN, control.AddUser(id=f"u{user}"))])
    if group:
        people = [f"u{user}" for user in users]
        commit([asks(users[0], requests.CreateChat(type="group", name="Crew", participants=people), "g-1")])
        places = dict.fromkeys(users, "g-1")
    else:
        places = {user: f"u{user + 1}" for user in users if user % 2}
        for user, place in places.items():
            commit([asks(user, requests.New(chat_id=place, client_message_id="0", message="first"))])
    for user in users:
        end = End()
        there = Subscriber(hub.next_number(), user, NO_DEVICE, end, end, state.seq)
        hub.connect(there)
        hub.rejoin(there)
    began = time.process_time()
    for number in range(ROUNDS):
        said = [
            asks(user, requests.New(chat_id=place, client_message_id=f"{user} {number}", message="x" * 80))
            for user, place in places.items()
        ]
        commit(said)
        commit(
            [
                asks(UserKey(user), commands.MarkDelivered(chat, None))
                for chat, members in state.members.items()
                for user in members
                if group or user not in places
            ]
        )
    return (time.process_time() - began) / ROUNDS / len(places) * 1e6


def measured(tree: Path, *, group: bool) -> float:
    """Let a tree's code do `work`."""
    ran = subprocess.run(
        [sys.executable, __file__, "--work", *(["--group"] if group else [])],
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ran.stdout)


def main() -> None:
    """Measure, or run the measured part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", action="store_true")
    parser.add_argument("--group", action="store_true")
    options = parser.parse_args()
    if options.work:
        print(work(group=options.group))
        return
    with tempfile.TemporaryDirectory() as scratch:
        without = instructions.without(TREE, "the rulebook", Path(scratch))
        for group in (False, True):
            pairs = [(measured(TREE, group=group), measured(without, group=group)) for _ in range(TURNS)]
            here, there = (min(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            what = f"group of {MEMBERS}" if group else f"{DIALOGS} dialogs"
            print(
                f"{what:14} {here:6.1f} us a message, {there:6.1f} without the rulebook (the least of each);"
                f" median ratio {ratio:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
