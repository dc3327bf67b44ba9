"""Instructions per message, counted by valgrind: `python tests/bench/instructions.py [--against TREE] [--features]`.

The count does not depend on other work on the machine, unlike clocks. It includes the process itself (Python, SQLite,
libc) but not the kernel. Each count is the difference of two runs with different numbers of messages, which excludes
starts and logins. With --features it measures a copy of the tree for each feature of FEATURES without that feature,
which shows its cost.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.bench import generator
from tests.bench.generator import RELAY, RELAY_ANSWER
from tests.bench.under_load import TREE, Connection, Relay, template

FEW, MANY = 4, 24
"""Messages per sender in the two runs; ten times as many for the only sender of a group."""
DIALOGS, MEMBERS = 16, 50
LISTED = 1.5
"""Seconds after which the chat list of a new dialog has been sent, and events come as they happen."""
PREFIX = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")

FEATURES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "limit of requests": (
        (
            "relay/core/service/dispatch.py",
            "wait_ms = self.limits.requests.take(subscriber.user, now, weight)\n        if wait_ms:",
            "wait_ms = 0\n        if wait_ms:",
        ),
    ),
    "full-text index": (("relay/store/log/tuning.py", "index_seconds: float = 2.0", "index_seconds: float = 1e9"),),
    "snapshot rows and lags": (
        (
            "relay/core/engine.py",
            "        self._dirty.note(entry, self._state)\n",
            "        if entry.kind > 5:\n            self._dirty.note(entry, self._state)\n",
        ),
    ),
    "entries kept for replays": (("relay/core/delivery/hub.py", "        self.recent.add(entry)\n", ""),),
    "typing that ends with a message": (
        (
            "relay/core/delivery/hub.py",
            "if self.announcements.typing.users and",
            "if 0 and",
        ),
    ),
    "a bounded outbox": (
        (
            "relay/net/websocket/outbox.py",
            "if self._draining and (self._size >= self._most or len(self._frames) >= OUTBOX_FRAMES):",
            "if False:",
        ),
    ),
    "the rulebook": (
        (
            "relay/core/rules/permissions.py",
            '    if chat.type == "dialog" and not imported and',
            "    if True or",
        ),
        ("relay/core/rules/visibility.py", "    member = state.members[entry.chat].get(user)\n", "    return True\n"),
        (
            "relay/core/rules/visibility.py",
            "return member is not None and not chat.gone and message_id",
            "return message_id",
        ),
        ("relay/core/model/counting.py", "return user != author and since < message_id and", "return user != author #"),
        ("relay/core/delivery/hub.py", "        if kind in STORED_KINDS:\n            self._end_rights(kind)\n", ""),
    ),
    "client ids": (
        (
            "relay/store/log/writer.py",
            "if not unknown and (repeated := self._idempotency_keys.among(entries)):",
            "if repeated := []:",
        ),
        ("relay/store/log/writer.py", "            self._idempotency_keys.note(entries)\n", ""),
    ),
    "receipts (marks)": (
        (
            "relay/core/service/acknowledgements.py",
            "if member is not None and member.dlvrd_upto < message_id:",
            "if False:",
        ),
    ),
}  # fmt: skip


def without(tree: Path, feature: str, at: Path) -> Path:
    """Copy a tree and remove a feature from the copy."""
    copy = at / re.sub(r"\W+", "-", feature)
    shutil.copytree(tree / "relay", copy / "relay", ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in FEATURES[feature]:
        text = (copy / name).read_text()
        if old not in text:
            raise SystemExit(f"{feature}: {name} has changed, so FEATURES must")
        (copy / name).write_text(text.replace(old, new))
    return copy


def count(tree: Path, *, group: bool, messages: int) -> tuple[int, int]:
    """Send this many messages; return the instructions of the relay's whole life, and the number of messages."""
    users = MEMBERS + 1 if group else 2 * DIALOGS
    relay = Relay(tree, users=users, members=MEMBERS if group else 0, prefix=PREFIX)
    log = relay.data / "serve.log"
    try:
        relay.start()
        if group:
            senders, receivers = [relay.login("u0")], [relay.login(f"u{n + 1}") for n in range(MEMBERS)]
            templates = [template(relay.group)]
        else:
            peers = [f"u{2 * n + 1}" for n in range(DIALOGS)]
            senders, receivers = [relay.login(f"u{2 * n}") for n in range(DIALOGS)], [relay.login(one) for one in peers]
            templates = [template(peer) for peer in peers]
        say(senders, receivers, templates, group=group, messages=1)
        time.sleep(LISTED)
        figures = say(senders, receivers, templates, group=group, messages=messages * (10 if group else 1))
        assert relay.process is not None
        relay.process.stop()
        found = re.search(r"I\s+refs:\s+([\d,]+)", log.read_text())
        if not found:
            raise SystemExit(f"valgrind counted nothing:\n{log.read_text()[-2000:]}")
        return int(found[1].replace(",", "")), figures["complete"]
    finally:
        relay.stop()


def say(
    senders: list[Connection],
    receivers: list[Connection],
    templates: list[generator.Template],
    *,
    group: bool,
    messages: int,
) -> dict[str, Any]:
    """Send this many messages, and wait for the last."""
    everybody = [*senders, *receivers]
    for one in everybody:
        one.drain(0.2)
    sending, receiving = ([one.fileno() for one in side] for side in (senders, receivers))
    return generator.run(
        sending, receiving, templates, protocol=RELAY, answers=RELAY_ANSWER, needs_answer=True, fan=group, window=8,
        seconds=600, settle=3, most=messages,
    )  # fmt: skip


def each(tree: Path, *, group: bool) -> float:
    """Instructions for one message."""
    few, some = count(tree, group=group, messages=FEW)
    many, all_of_them = count(tree, group=group, messages=MANY)
    return (many - few) / (all_of_them - some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, default=TREE)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--features", nargs="*", choices=FEATURES, metavar="FEATURE", help="all of them, or these")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trees = {"as it is": options.tree}
        if options.against:
            trees[str(options.against)] = options.against
        if options.features is not None:
            features = options.features or FEATURES
            trees |= {f"without {one}": without(options.tree, one, Path(scratch)) for one in features}
        whole: dict[bool, float] = {}
        for name, tree in trees.items():
            for group in (False, True):
                found = each(tree, group=group)
                whole.setdefault(group, found)
                what = f"group of {MEMBERS}" if group else f"{DIALOGS} dialogs"
                print(
                    f"{what:14} {name:40} {found / 1e3:9.1f} thousand instructions, {found / whole[group]:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
