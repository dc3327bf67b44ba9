"""The relay and the servers a user would pick instead, on the same work in the same run.

Usage: python tests/bench/peers/compare.py [--rounds N] [--seconds S] [--peers A,B] [--work W,…] > results.jsonl
Then:  python tests/bench/report.py results.jsonl     (README.md describes the work)
"""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3]))

from tests.bench import generator
from tests.bench.floor import Floor
from tests.bench.machine import GENERATOR_CORE, pin
from tests.bench.peers.servers import KEEPS, MEMBERS, PORTS, Peer, there

WORK = ("w1", "one", "w2", "start", "kill", "syncs")
ALL = ("relay", *PORTS)
KILLED = 500
SYNCED = 100


def measured(
    peer: Peer, what: str, senders: list[Any], receivers: list[Any], templates: list[Any], **plan: Any
) -> dict[str, Any]:
    """One load, with the server's processor time over all its processes."""
    assert peer.process is not None
    for one in (*senders, *receivers):
        one.drain()
    api = peer.api
    # XMPP answers only on request, and NATS without JetStream never.
    silent = api.answers == generator.XMPP_ANSWER or peer.name == "nats-core"
    answers = generator.NO_ANSWER if silent else api.answers
    sending, receiving = ([one.fileno() for one in side] for side in (senders, receivers))

    def go(seconds: float) -> dict[str, Any]:
        return generator.run(
            sending, receiving, templates, protocol=api.protocol, answers=answers,
            needs_answer=bool(answers) and not plan.get("fan"),
            seconds=seconds, **plan,
        )  # fmt: skip

    seconds = plan.pop("seconds")
    go(1.0)
    for one in (*senders, *receivers):
        one.drain()
    before, begun = peer.process.cpu(), time.perf_counter()
    figures = go(seconds)
    wall = time.perf_counter() - begun
    used = peer.process.cpu() - before
    return figures | {
        "peer": peer.name,
        "work": what,
        "rate": round(figures["complete"] / figures["seconds"], 1),
        "deliveries": round(figures["delivered"] / figures["seconds"], 1),
        "core": round(used / wall, 3),
        "cpu_us_per_delivery": round(used / max(1, figures["delivered"]) * 1e6, 2),
    }


def dialogs(peer: Peer, what: str, pairs: int, window: int, seconds: float) -> dict[str, Any]:
    """W1: pairs of users, each with this many messages under way."""
    peer.fresh()
    peer.start()
    try:
        senders = [peer.api.login(f"u{2 * pair}") for pair in range(pairs)]
        receivers = [peer.api.login(f"u{2 * pair + 1}") for pair in range(pairs)]
        if peer.kind == "relay":
            for pair, sender in enumerate(senders):
                sender.wait_for("new", {"chatId": f"u{2 * pair + 1}", "clientMessageId": "a", "message": "a"}, "a")
        time.sleep(0.5)
        templates = [peer.api.template(f"u{2 * pair}", f"u{2 * pair + 1}") for pair in range(pairs)]
        return measured(peer, what, senders, receivers, templates, window=window, seconds=seconds)
    finally:
        peer.stop()


def room(peer: Peer, seconds: float) -> list[dict[str, Any]]:
    """W2: one room with 200 receivers and one sender."""
    peer.fresh()
    peer.start()
    try:
        sender = peer.api.login("u0")
        if peer.kind != "mosquitto":  # subscribers there would get their own messages
            peer.api.join(sender, "hall")
        receivers = [peer.api.login(f"u{number + 1}") for number in range(MEMBERS)]
        for member in receivers:
            peer.api.join(member, "hall")
        for member in receivers:
            member.drain(0.001)
        time.sleep(0.5)
        templates = [peer.api.group_template("u0", "hall")]
        return [
            measured(peer, f"w2-{window}", [sender], receivers, templates, fan=True, window=window, seconds=seconds)
            for window in (1, 8)
        ]
    finally:
        peer.stop()


def start(peer: Peer) -> dict[str, Any]:
    """W3: time to the first login, memory then and for each of 1,000 idle connections."""
    peer.fresh()
    ready = []
    for _ in range(3):
        peer.start()
        ready.append(round(peer.ready_ms, 1))
        peer.stop()
        time.sleep(0.2)
    process = peer.start()
    try:
        time.sleep(2)
        first = process.rss_kib()
        connections = [peer.api.login(f"u{number}") for number in range(1000)]
        time.sleep(3)
        last = process.rss_kib()
        for one in connections:
            one.close()
        return {
            "peer": peer.name, "work": "start", "ready_ms": sorted(ready)[1], "rss_mib": round(first / 1024, 1),
            "kib_per_idle": round((last - first) / 1000, 1),
        }  # fmt: skip
    finally:
        peer.stop()


def kill(peer: Peer) -> dict[str, Any]:
    """W4: the answered messages that survive SIGKILL."""
    peer.fresh()
    process = peer.start()
    tag = f"t{os.getpid()}"
    try:
        begun = time.perf_counter()
        answered = peer.api.send_acked("u0", "u1", KILLED, tag)
        process.kill()
        took = time.perf_counter() - begun
        peer.start("u9")
        kept, _ = peer.api.archive("u1", tag)
        return {
            "peer": peer.name, "work": "kill", "answered": answered, "left": kept,
            "answer_ms": round(took / KILLED * 1e3, 3),
        }  # fmt: skip
    finally:
        peer.stop()


def syncs(peer: Peer) -> dict[str, Any]:
    """Sync calls for each of 100 messages that were answered one after the other."""
    peer.fresh()
    process = peer.start()
    traced = Path(tempfile.mkdtemp(prefix="syncs-"))
    calls = "trace=fsync,fdatasync,msync,sync_file_range"
    try:
        watchers = [
            subprocess.Popen(
                ["strace", "-f", "-e", calls, "-o", str(traced / str(pid)), "-p", str(pid)], stderr=subprocess.DEVNULL
            )
            for pid in process.tree()
        ]
        time.sleep(1)
        answered = peer.api.send_acked("u0", "u1", SYNCED, f"f{os.getpid()}")
        time.sleep(0.5)
        for watcher in watchers:
            watcher.send_signal(signal.SIGINT)
            watcher.wait()
        pattern = re.compile(r"(?:fsync|fdatasync|msync|sync_file_range)\(")
        count = sum(len(pattern.findall(file.read_text())) for file in traced.iterdir())
        return {"peer": peer.name, "work": "syncs", "messages": answered, "syncs": count}
    finally:
        peer.stop()
        shutil.rmtree(traced)


def floor(seconds: float) -> list[dict[str, Any]]:
    """The same on the cheapest relay in one CPython thread."""
    found = []
    for what, pairs, window in (("w1", 50, 8), ("one", 1, 1), ("w2-1", 0, 1), ("w2-8", 0, 8)):
        with Floor() as server:
            senders = [server.login(f"u{2 * pair}") for pair in range(pairs or 1)]
            receivers = [server.login(f"u{2 * number + 1}") for number in range(pairs or MEMBERS)]
            if not pairs:
                for member in receivers:
                    server.join(member, "#hall")
            templates = [server.template(f"u{2 * pair + 1}") for pair in range(pairs)] or [server.template("#hall")]
            sending, receiving = ([one.fileno() for one in side] for side in (senders, receivers))
            plan: dict[str, Any] = {"protocol": generator.TEXT, "fan": not pairs, "window": window}
            generator.run(sending, receiving, templates, seconds=0.5, **plan)
            figures: dict[str, Any] = generator.run(
                sending, receiving, templates, seconds=seconds, server=server.process.pid, **plan
            )
            found.append(
                figures
                | {
                    "peer": "floor",
                    "work": what,
                    "rate": round(figures["complete"] / figures["seconds"], 1),
                    "deliveries": round(figures["delivered"] / figures["seconds"], 1),
                    "core": round(figures["server_cpu"] / figures["seconds"], 3),
                    "cpu_us_per_delivery": round(figures["server_cpu"] / max(1, figures["delivered"]) * 1e6, 2),
                }
            )
    return found


def one_round(name: str, root: Path, work: list[str], seconds: float, *, first: bool) -> list[dict[str, Any]]:
    """All work on one peer."""
    if name == "floor":
        return floor(seconds)
    peer = Peer(name, root)
    rows: list[dict[str, Any]] = []
    try:
        if "w1" in work:
            rows.append(dialogs(peer, "w1", 50, 8, seconds))
        if "one" in work:
            rows.append(dialogs(peer, "one", 1, 1, seconds))
        if "w2" in work:
            rows += room(peer, seconds)
        if "start" in work and first:
            rows.append(start(peer))
        if "kill" in work and name in KEEPS:
            rows.append(kill(peer))
        if "syncs" in work and first and name in KEEPS and shutil.which("strace"):
            rows.append(syncs(peer))
    except (RuntimeError, OSError, generator.LoadError, AssertionError) as error:
        print(f"{name}: {error}", file=sys.stderr)
    finally:
        peer.remove()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--peers", default=",".join(("floor", *ALL)))
    parser.add_argument("--work", default=",".join(WORK))
    options = parser.parse_args()
    if os.getpid() != os.getsid(0) and os.getpid() != os.getpgrp():
        os.setsid()
    pin(GENERATOR_CORE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16_384, hard), hard))
    root = Path(tempfile.mkdtemp(prefix="peers-"))
    root.chmod(0o755)
    try:
        for number in range(options.rounds):
            for name in options.peers.split(","):
                if name != "floor" and not there(name):
                    print(f"{name} is not installed", file=sys.stderr)
                    continue
                for row in one_round(name, root, options.work.split(","), options.seconds, first=not number):
                    row |= {"round": number, "load": round(os.getloadavg()[0], 2)}
                    print(json.dumps(row), flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
