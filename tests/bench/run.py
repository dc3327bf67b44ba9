"""Measure the relay: `python tests/bench/run.py [WORK …] [--rounds N] [--seconds S] [--against TREE]`.

README.md describes each WORK. With --against every round measures both trees in turn, so that the machine's other load
affects both.
"""

import argparse
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.bench import generator
from tests.bench.floor import Floor
from tests.bench.generator import RELAY, RELAY_ANSWER
from tests.bench.machine import GENERATOR_CORE, Limits, pin
from tests.bench.run_lines import Figures, line_of, summary
from tests.bench.under_load import TREE, Relay, template

HERE = Path(__file__).resolve().parent


def rates(what: str, figures: Figures) -> Figures:
    """The figures of a run of the generator, per second and per message."""
    took = figures["seconds"]
    return {
        "work": what,
        "rate": round(figures["complete"] / took, 1),
        "deliveries": round(figures["delivered"] / took, 1),
        "core": round(figures["server_cpu"] / took, 3),
        "generator_core": round(figures["generator_cpu"] / took, 3),
        "cpu_us_per_message": round(figures["server_cpu"] / max(1, figures["complete"]) * 1e6, 1),
        "cpu_us_per_delivery": round(figures["server_cpu"] / max(1, figures["delivered"]) * 1e6, 2),
    }


class Counts:
    """The counts of counted_syncs.c."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {
            "LD_PRELOAD": str(generator.build(HERE / "counted_syncs.c")),
            "BENCH_COUNTS": str(path),
        }

    def read(self) -> tuple[int, int, int]:
        return struct.unpack("3Q", self.path.read_bytes()[:24])


def loaded(relay: Relay, counts: Counts, what: str, profile: Path | None, **plan: Any) -> Figures:
    """Warm up, then measure one load and add its cost.

    Args:
        relay: a running one.
        counts: its writes and syncs.
        what: a name for the figures.
        profile: the file for py-spy's stacks, if any.
        plan: the arguments of `generator.run`, with connections in place of sockets.
    """
    process = relay.process
    assert process is not None
    seconds = plan.pop("seconds")
    senders, receivers, templates = plan.pop("senders"), plan.pop("receivers"), plan.pop("templates")
    everybody = [*senders, *receivers]
    for one in everybody:
        one.drain()
    sending, receiving = ([one.fileno() for one in side] for side in (senders, receivers))

    def go(length: float) -> Figures:
        return generator.run(
            sending, receiving, templates, protocol=RELAY, answers=RELAY_ANSWER, needs_answer=True,
            seconds=length, server=process.pid, **plan,
        )  # fmt: skip

    go(1.5)
    for one in everybody:
        one.drain()
    spy = None
    if profile is not None:
        spy = subprocess.Popen(
            ["py-spy", "record", "-t", "-F", "-r", "400", "-d", str(int(seconds)), "-f", "raw",
             "-o", str(profile), "-p", str(process.pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1)
    before, disk = counts.read(), process.written()
    figures = go(seconds)
    after = counts.read()
    if spy is not None:
        spy.wait(120)
    complete = max(1, figures["complete"])
    figures |= rates(what, figures) | {
        "messages_per_sync": round(complete / max(1, after[0] - before[0]), 2),
        "syncs": after[0] - before[0],
        "written_per_message": round((after[2] - before[2]) / complete),
        "disk_per_message": round((process.written() - disk) / complete),
        "rss_kib": process.rss_kib(),
    }
    return figures


def dialogs(
    tree: Path,
    options: argparse.Namespace,
    what: str,
    *,
    pairs: int,
    window: int,
    rate: float = 0,
    limits: Limits | None = None,
) -> Figures:
    """Dialogs, each with a sender and a receiver."""
    relay, counts = _relay(tree, users=2 * pairs)
    try:
        process = relay.start()
        if limits is not None:
            limits.hold(process.pid)
        peers = [f"u{2 * pair + 1}" for pair in range(pairs)]
        senders = [relay.login(f"u{2 * pair}") for pair in range(pairs)]
        receivers = [relay.login(peer) for peer in peers]
        for sender, peer in zip(senders, peers, strict=True):
            sender.wait_for("new", {"chatId": peer, "clientMessageId": "hello", "message": "hello"}, "hello")
        time.sleep(0.3)
        return loaded(
            relay,
            counts,
            what,
            _profile(options, what),
            senders=senders,
            receivers=receivers,
            templates=[template(peer) for peer in peers],
            window=window,
            seconds=options.seconds,
            rate=rate,
        )
    finally:
        relay.stop()


def w1(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """50 dialogs with 8 sends under way in each."""
    return [dialogs(tree, options, "w1", pairs=options.dialogs, window=8)]


def one(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """One dialog, one send under way."""
    return [dialogs(tree, options, "one", pairs=1, window=1)]


def open_loop(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """50 dialogs at a fixed rate, regardless of answers."""
    return [dialogs(tree, options, "open", pairs=options.dialogs, window=8, rate=options.rate)]


def w2(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """One group, one sender, with 1 and 8 sends under way."""
    members = options.members
    relay, counts = _relay(tree, users=members + 1, members=members)
    found = []
    try:
        relay.start()
        sender = relay.login("u0")
        receivers = [relay.login(f"u{number + 1}") for number in range(members)]
        time.sleep(0.5)
        for window in (1, 8):
            what = f"w2-{window}"
            figures = loaded(
                relay,
                counts,
                what,
                _profile(options, what),
                senders=[sender],
                receivers=receivers,
                templates=[template(relay.group)],
                fan=True,
                window=window,
                seconds=options.seconds,
            )
            found.append(figures)
            time.sleep(0.3)
    finally:
        relay.stop()
    return found


def floor(_tree: Path, options: argparse.Namespace) -> list[Figures]:
    """W1 and W2 on the cheapest relay in one CPython thread: the machine's capacity at this moment."""
    found = []
    for what, pairs, members in (
        ("floor-w1", options.dialogs, 0),
        ("floor-one", 1, 0),
        ("floor-w2-1", 0, options.members),
    ):
        with Floor() as server:
            fan = bool(members)
            senders = [server.login(f"u{2 * pair}") for pair in range(pairs or 1)]
            receivers = [server.login(f"u{2 * number + 1}") for number in range(pairs or members)]
            if fan:
                for member in receivers:
                    server.join(member, "#hall")
            names = ["#hall"] if fan else [f"u{2 * pair + 1}" for pair in range(pairs)]
            plan: dict[str, Any] = {"protocol": generator.TEXT, "fan": fan, "window": 8 if pairs > 1 else 1}
            sending, receiving = ([one.fileno() for one in side] for side in (senders, receivers))
            templates = [server.template(name) for name in names]
            generator.run(sending, receiving, templates, seconds=0.5, **plan)
            figures = generator.run(
                sending, receiving, templates, seconds=min(3, options.seconds), server=server.process.pid, **plan
            )
            found.append(figures | rates(what, figures))
    return found


def start(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """Time to the first login, memory at start and for each idle connection."""
    relay, _ = _relay(tree, users=options.idle, counted=False)
    try:
        ready = []
        for _ in range(5):
            relay.start().stop()
            ready.append(round(relay.ready_ms, 1))
        process = relay.start()
        time.sleep(1)
        at_start = process.rss_kib()
        begun = time.perf_counter()
        connections = [relay.login(f"u{number}") for number in range(options.idle)]
        logins = time.perf_counter() - begun
        for connection in connections:
            connection.drain()
        time.sleep(1)
        with_idle, cpu = process.rss_kib(), process.cpu()
        time.sleep(3)
        return [
            {
                "work": "start",
                "ready_ms": statistics.median(ready),
                "ready_ms_all": ready,
                "rss_mib": round(at_start / 1024, 1),
                "idle_connections": options.idle,
                "rss_idle_mib": round(with_idle / 1024, 1),
                "kib_per_idle": round((with_idle - at_start) / options.idle, 2),
                "logins_per_s": round(options.idle / logins),
                "idle_core": round((process.cpu() - cpu) / 3, 4),
            }
        ]
    finally:
        relay.stop()


def scale(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """W1 with more and more dialogs, W2 with more and more members: the cost of a delivery should stay constant."""
    found = [
        dialogs(tree, options, f"w1 at {pairs}", pairs=pairs, window=window)
        for pairs, window in ((10, 8), (50, 8), (250, 8), (1_000, 2))
    ]
    for members in (50, 200, 1_000):
        for row in w2(tree, argparse.Namespace(**{**vars(options), "members": members})):
            found.append(row | {"work": f"{row['work']} at {members}"})
    return found


CARD_BYTES = 10e12
"""The assumed endurance of a cheap 32 GB card: some 300 times its size."""
A_DAY = 100
"""Messages per day of a person in an office."""


def wear(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """Bytes that reach the disk per message at a fixed rate, and how long a card would last."""
    found = []
    for rate in (1, 10, 100, 1_000):
        row = dialogs(tree, options, f"wear {rate}/s", pairs=50, window=1, rate=rate)
        each = max(1, row["disk_per_message"])
        years = {
            f"card_years_office_{people}": round(CARD_BYTES / (each * people * A_DAY * 365), 1) for people in (20, 200)
        }
        found.append(row | years)
    return found


PI = {"Pi 5": 0.45, "Pi 4": 0.2, "Pi 3": 0.1, "Pi Zero 2 W": 0.08}
"""One of their cores relative to one of this machine, by public single-core figures: assumed, not measured."""


def pi(tree: Path, options: argparse.Namespace) -> list[Figures]:
    """W1 with a quarter and a half of a core and 512 MiB, and the estimated capacity of a Raspberry Pi."""
    found = []
    for part in (0.25, 0.5):
        limits = Limits(part, 512)
        try:
            row = dialogs(tree, options, f"w1 on {part} of a core", pairs=options.dialogs, window=8, limits=limits)
        finally:
            limits.remove()
        found.append(row | {name: round(row["rate"] * speed / part) for name, speed in PI.items()})
    return found


WORK: dict[str, Callable[[Path, argparse.Namespace], list[Figures]]] = {
    "w1": w1,
    "one": one,
    "w2": w2,
    "open": open_loop,
    "start": start,
    "floor": floor,
    "scale": scale,
    "wear": wear,
    "pi": pi,
}
USUAL = ("floor", "one", "w1", "w2", "open", "start")


def _relay(tree: Path, *, users: int, members: int = 0, counted: bool = True) -> tuple[Relay, Counts]:
    relay = Relay(tree, users=users, members=members)
    counts = Counts(relay.data / "counts")
    if counted:
        relay.environment |= counts.environment
    return relay, counts


def _profile(options: argparse.Namespace, what: str) -> Path | None:
    return options.profile / f"{what}.txt" if options.profile else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[[], *WORK], default=list(USUAL))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--dialogs", type=int, default=50)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--idle", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--tree", type=Path, default=TREE, help="the source tree to measure")
    parser.add_argument("--against", type=Path, help="a second one, measured in turn")
    parser.add_argument("--profile", type=Path, help="a directory for py-spy's raw stacks")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.getpid() != os.getsid(0) and os.getpid() != os.getpgrp():
        os.setsid()
    pin(GENERATOR_CORE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, hard), hard))
    rows: list[Figures] = []
    trees = [options.tree.resolve(), *([options.against.resolve()] if options.against else [])]
    for number in range(options.rounds):
        for what in options.work:
            for tree in trees if number % 2 == 0 else reversed(trees):
                for row in WORK[what](tree, options):
                    row |= {"tree": tree.name, "load": round(os.getloadavg()[0], 2)}
                    rows.append(row)
                    print(f"{tree.name}: {line_of(row)}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(rows))
    else:
        print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
