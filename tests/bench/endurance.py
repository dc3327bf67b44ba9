"""Endurance of the relay: restart after a kill, a long replay, dead readers, ten minutes under load, a long log.

    python tests/bench/endurance.py restart [--messages 1000000]
    python tests/bench/endurance.py replay [--messages 100000]
    python tests/bench/endurance.py dead [--rounds 3]
    python tests/bench/endurance.py soak [--minutes 10]
    python tests/bench/endurance.py size [--messages 5000000]
    python tests/bench/endurance.py stalls [--messages 2000000] [--store DIR] [--tree ../other] [--rate 40]

Each prints what it measured, on loopback, against a relay in a process of its own.
Longer than other modules: six measurements that share the code for starting and loading a relay.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import accumulate
from pathlib import Path

import msgspec
import trio

from relay.core.relay import Relay, open_relay
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import codec, control, requests
from relay.protocol.base import Wire
from relay.protocol.envelopes import Request
from relay.store.command import Command

BATCH = 2_000
TEXT = "x" * 120


def plain(number: int) -> str:
    """A text with a word of its own."""
    return f"word{number:07} {TEXT}"[:120]


async def prepare(data: Path, *users: str, messages: int = 0, text: Callable[[int], str] = plain) -> dict[str, str]:
    """Make users, and let the first send this many messages to the second."""
    tokens = {}
    async with open_relay(data) as relay:
        for user in users:
            await relay.admin.handle("user.add", control.AddUser(id=user))
            token = await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user))
            assert isinstance(token, control.Token)
            tokens[user] = token.token
        for start in range(0, messages, BATCH):
            await _say(relay, users[1], range(start, min(start + BATCH, messages)), text)
    return tokens


async def _say(relay: Relay, to: str, numbers: range, text: Callable[[int], str]) -> None:
    done, left = trio.Event(), len(numbers)

    def answer(_payload: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in numbers:
        request = requests.New(chat_id=to, client_message_id=str(uuid.uuid4()), message=text(number))
        relay.log.append(Command(relay.clock(), UserKey(1), NO_DEVICE, request), answer)
    await done.wait()


@contextmanager
def served(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a relay until the end of the block."""
    process = start(data, port)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def start(data: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a relay and wait until it accepts a connection."""
    command = [sys.executable, "-m", "relay", "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
    environment = {**os.environ, "RELAY_LIMITS_REQUESTS_PER_SECOND": "0"}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "the relay did not start"
            time.sleep(0.005)
        else:
            return process


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def join(port: int, token: str, *, after: int | None = None) -> socket.socket:
    """A bare connection after its handshake."""
    connection = socket.create_connection(("127.0.0.1", port))
    where = "/ws" if after is None else f"/ws?after={after}"
    connection.sendall(
        f"GET {where} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return connection


def frame(payload: bytes) -> bytes:
    """A masked text frame; its mask is zero, which costs the relay the same."""
    header = bytes([0x81, 0x80 | len(payload)]) if len(payload) < 126 else b"\x81\xfe" + len(payload).to_bytes(2, "big")
    return header + b"\0\0\0\0" + payload


def say(chat: str) -> bytes:
    """A `new` request."""
    payload = requests.New(chat_id=chat, client_message_id=str(uuid.uuid4()), message=TEXT)
    request = Request(id="1", payload_type="new", payload=msgspec.Raw(codec.encode(payload)))
    return frame(codec.encode(request))


def count(connection: socket.socket, what: bytes, number: int) -> float:
    """Read until a text has arrived `count` times; return the seconds."""
    began, seen, rest = time.perf_counter(), 0, b""
    while seen < number:
        data = rest + connection.recv(262_144)
        assert len(data) > len(rest), "the relay closed the connection"
        seen += data.count(what)
        end = data.rfind(what)
        rest = data[max(end + len(what), len(data) - len(what) + 1) :] if end >= 0 else data[-len(what) + 1 :]
    return time.perf_counter() - began


def restart(messages: int) -> None:
    """From SIGKILL to serving again."""
    with tempfile.TemporaryDirectory() as scratch:
        data, port = Path(scratch), free_port()
        tokens = trio.run(partial(prepare, data, "a", "b", messages=messages))
        size = sum(path.stat().st_size for path in data.iterdir())
        print(f"{messages} messages, {size / 1e6:.0f} MB")
        process = start(data, port)
        for _ in range(3):
            sender = join(port, tokens["a"], after=2**60)
            for _ in range(500):
                sender.sendall(say("b"))
            count(sender, b'"type":"response"', 500)
            process.kill()
            process.wait()
            sender.close()
            began = time.perf_counter()
            process = start(data, port)
            print(f"killed to accepting again: {1_000 * (time.perf_counter() - began):.0f} ms")
        process.terminate()
        process.wait()


def replay(messages: int) -> None:
    """A device that was away for this many messages."""
    with tempfile.TemporaryDirectory() as scratch:
        data, port = Path(scratch), free_port()
        tokens = trio.run(partial(prepare, data, "a", "b", messages=messages))
        with served(data, port):
            last = _ask_file(data, "SELECT max(seq) FROM log WHERE kind = 1")
            for _ in range(3):
                reader = join(port, tokens["b"], after=0)
                seconds = _taken(reader, last)
                print(f"{messages / seconds:,.0f} events a second ({seconds:.2f} s)")
                reader.close()


def throughput(port: int, sender: socket.socket, chat: str, messages: int) -> float:
    began = time.perf_counter()
    for _ in range(messages // 100):
        sender.sendall(b"".join(say(chat) for _ in range(100)))
        count(sender, b'"type":"response"', 100)
    return messages / (time.perf_counter() - began)


async def _group(data: Path) -> tuple[dict[str, str], str]:
    tokens = await prepare(data, "a", "b", "dead")
    async with open_relay(data) as relay:
        made = control.MakeChat(name="All", owner="a", participants=["b", "dead"])
        chat = await relay.admin.handle("chat.create", made)
    assert isinstance(chat, control.ChatInfo)
    return tokens, chat.id


def dead(rounds: int) -> None:
    """Throughput without and with a hundred connections that read nothing, in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        data, port = Path(scratch), free_port()
        tokens, chat = trio.run(_group, data)
        with served(data, port) as process:
            ratios = []
            for _ in range(rounds):
                rates = []
                for number in (0, 100):
                    silent = [join(port, tokens["dead"], after=2**60) for _ in range(number)]
                    sender = join(port, tokens["a"], after=2**60)
                    # Until their buffers are full, they are like any other recipient.
                    throughput(port, sender, chat, 3_000 if silent else 100)
                    rates.append(throughput(port, sender, chat, 5_000))
                    print(f"{number} dead readers: {rates[-1]:,.0f} messages/s, RSS {resident(process.pid):.0f} MB")
                    for connection in (*silent, sender):
                        connection.close()
                ratios.append(rates[1] / rates[0])
            print(f"ratio with/without: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def soak(minutes: float) -> None:
    """A steady load, and the relay's memory over it."""
    with tempfile.TemporaryDirectory() as scratch:
        data, port = Path(scratch), free_port()
        tokens = trio.run(prepare, data, "a", "b")
        with served(data, port) as process:
            sender, reader = join(port, tokens["a"]), join(port, tokens["b"])
            began, sent, shown = time.monotonic(), 0, 0.0
            while time.monotonic() - began < 60 * minutes:
                reader.sendall(frame(b"ping"))
                sender.sendall(b"".join(say("b") for _ in range(100)))
                count(sender, b'"type":"response"', 100)
                count(reader, b'"eventType":"new"', 100)
                sent += 100
                if time.monotonic() - shown > 15:
                    shown = time.monotonic()
                    print(
                        f"{shown - began:5.0f} s  {sent:>9,} messages  RSS {resident(process.pid):5.1f} MB", flush=True
                    )


EVENT_ID = re.compile(rb'"type":"event","id":(\d+)[,}]')
ASKED = 30
"""How often each request is made, for its median."""


def size(messages: int) -> None:
    """Waiting times of a user, with ten thousand messages in the file and with this many."""
    found = {number: _waits(number) for number in (10_000, messages)}
    few, many = found.values()
    print(f"{'':24}{10_000:>12,}{messages:>12,}  ratio")
    for what in few:
        print(f"{what:24}{few[what]:>12,.2f}{many[what]:>12,.2f}  {many[what] / few[what]:.2f}")


def _waits(messages: int) -> dict[str, float]:
    """Milliseconds that each request takes, and that a hundred answered sends take."""
    with tempfile.TemporaryDirectory() as scratch:
        data, port = Path(scratch), free_port()
        tokens = trio.run(partial(prepare, data, "a", "b", messages=messages))
        with served(data, port):
            _wait_for_the_index(data)
            seq = _ask_file(data, "SELECT max(seq) FROM log")
            asker = join(port, tokens["a"], after=2**60)
            middle = messages // 2
            waits = {
                "chat list": _median(asker, "chats", requests.Nothing()),
                "latest page": _median(asker, "messages", requests.Messages(chat_id="b", count=50)),
                "a page far back": _median(
                    asker, "messages", requests.Messages(chat_id="b", start_id=middle, count=50)
                ),
                "search, a rare word": _median(asker, "search", requests.Search(query=f"word{middle:07}")),
                "search, in every text": _median(asker, "search", requests.Search(query="xxxxxx")),
            }
            replays = []
            for _ in range(5):
                reader = join(port, tokens["b"], after=seq - 2_000)
                replays.append(1_000 * _taken(reader, seq))
                reader.close()
            waits["replay of 2,000"] = statistics.median(replays)
            sends = [100_000 / throughput(port, asker, "b", 2_000) for _ in range(5)]
            waits["a hundred sends"] = statistics.median(sends)
            return waits


def _taken(reader: socket.socket, last: int) -> float:
    """Receive and acknowledge events up to one; return the seconds."""
    began, rest, seq = time.perf_counter(), b"", 0
    while seq < last:
        data = rest + reader.recv(262_144)
        ids = [int(one) for one in EVENT_ID.findall(data)]
        rest = data[-40:]
        reader.sendall(b"".join(frame(b'{"type":"ack","id":%d}' % one) for one in ids if one > seq))
        seq = max([seq, *ids])
    return time.perf_counter() - began


def _ask_file(data: Path, sql: str) -> int:
    with closing(sqlite3.connect(data / "relay.db")) as connection:
        return int(connection.execute(sql).fetchone()[0])


def _wait_for_the_index(data: Path) -> None:
    while _ask_file(data, "SELECT (SELECT max(seq) FROM log) - seq FROM indexed"):
        time.sleep(0.5)


def _median(asker: socket.socket, name: str, payload: Wire) -> float:
    request = frame(codec.encode(Request(id="1", payload_type=name, payload=msgspec.Raw(codec.encode(payload)))))
    waits = []
    for _ in range(ASKED):
        asker.sendall(request)
        waits.append(1_000 * count(asker, b'"type":"response"', 1))
        # The rest of an answer in pieces does not belong to the next one.
        asker.settimeout(0.05)
        with suppress(TimeoutError):
            while asker.recv(262_144):
                pass
        asker.settimeout(None)
    return statistics.median(waits)


WORDS = 20_000
"""Different words of the texts: trigrams are as common as in a language."""
QUIET_SECONDS = 20.0
"""Seconds of a quiet window before a command, and of another after it."""
COMMAND_SECONDS = 180.0
"""Seconds that a command may take; building the index is observed for the same time."""


def _words() -> Callable[[int], str]:
    chance = random.Random(17)
    letters = "eeeeeeeeeeeennnnnnnnniiiiiiissssssrrrrrrraaaaaattttttdddddhhhhhuuullllcccgggmmooobbwwffkkzzpvjyxq"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(WORDS)]
    weights = list(accumulate(1 / (number + 3) for number in range(WORDS)))
    return lambda _number: " ".join(chance.choices(words, cum_weights=weights, k=18))[:120]


class Sender(threading.Thread):
    """Sends at a fixed rate regardless of answers, and notes the time of each answer since its send was due."""

    def __init__(self, port: int, token: str, chat: str, rate: float) -> None:
        super().__init__(daemon=True)
        self.waits: list[float] = []
        self._connection = join(port, token, after=2**60)
        self._chat = chat
        self._rate = rate
        self._due: deque[float] = deque()
        self._over = threading.Event()

    def run(self) -> None:
        """Send, until told to stop."""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        began, sent = time.perf_counter(), 0
        while not self._over.is_set():
            due = began + sent / self._rate
            time.sleep(max(0.0, due - time.perf_counter()))
            self._due.append(due)
            self._connection.sendall(say(self._chat))
            sent += 1
        reader.join(30)

    def _read(self) -> None:
        rest = b""
        while not (self._over.is_set() and not self._due):
            data = rest + self._connection.recv(262_144)
            now = time.perf_counter()
            for _ in range(data.count(b'"type":"response"')):
                self.waits.append(1_000 * (now - self._due.popleft()))
            end = data.rfind(b'"type":"response"')
            rest = data[max(end + 17, len(data) - 16) :] if end >= 0 else data[-16:]
            self._connection.sendall(frame(b"ping"))

    def stop(self) -> None:
        """Stop, and wait for pending answers."""
        self._over.set()
        self.join(40)


def _relay(tree: Path, *arguments: str) -> list[str]:
    script = f"import runpy, sys; sys.path.insert(0, {str(tree)!r}); runpy.run_module('relay', run_name='__main__')"
    return [sys.executable, "-c", script, *arguments]


def stalls(messages: int, store: str, tree: str, rate: float, only: str) -> None:
    """Waiting times of sends during check, backup, export, prune and index building, compared with quiet times.

    Each command runs between two quiet windows of its own relay: its own p99 is compared with theirs together.
    """
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(store) if store else Path(scratch, "data")
        where = Path(tree or Path(__file__).resolve().parents[2]).resolve()
        if not (data / "relay.db").exists():
            data.mkdir(parents=True, exist_ok=True)
            tokens = trio.run(partial(prepare, data, "a", "b", messages=messages, text=_words()))
            (data / "tokens.json").write_text(json.dumps(tokens))
            _index(where, data)
        tokens = json.loads((data / "tokens.json").read_text())
        size = int((data / "relay.db").stat().st_size)
        cases: dict[str, tuple[str, ...]] = {
            "check": ("check",),
            "backup": ("backup", f"{scratch}/backup.tar"),
            "export": ("export", f"{scratch}/export.jsonl"),
            "prune": ("prune", "--yes", "--max-bytes", str(size // 10 * 9)),
            "reindex": ("reindex",),
        }
        print(
            f"{'':8}{'sends':>7}{'p50':>8}{'p99':>8}{'max':>8}{'s':>7}{'quiet':>8}{'p99':>8}{'ratio':>7}"
            f"{'WAL MB':>8}{'RSS MB':>8}  longest, cause"
        )
        for what, command in cases.items():
            if not only or what in only.split(","):
                _case(where, data, tokens["a"], what, command, rate)


def _serve(tree: Path, data: Path, port: int) -> subprocess.Popen[bytes]:
    command = _relay(tree, "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "the relay did not start"
            time.sleep(0.05)
        else:
            return process


def _index(tree: Path, data: Path) -> None:
    process = _serve(tree, data, free_port())
    _wait_for_the_index(data)
    process.terminate()
    process.wait()


def _case(tree: Path, data: Path, token: str, what: str, command: tuple[str, ...], rate: float) -> None:
    port = free_port()
    process = _serve(tree, data, port)
    try:
        time.sleep(3)
        quiet = _quiet_waits(port, token, rate)
        sender = Sender(port, token, "b", rate)
        sender.start()
        began, wal, memory = time.perf_counter(), 0, 0.0
        asked = subprocess.Popen(_relay(tree, *command, "--data", str(data)), stdout=subprocess.DEVNULL)
        # The index is built in the background, after the command has answered.
        while asked.poll() is None or (what == "reindex" and time.perf_counter() - began < COMMAND_SECONDS):
            if time.perf_counter() - began > COMMAND_SECONDS:
                asked.kill()
            with suppress(OSError):
                wal = max(wal, (data / "relay.db-wal").stat().st_size)
            memory = max(memory, resident(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        sender.stop()
        status = subprocess.run(
            _relay(tree, "status", "--json", "--data", str(data)), capture_output=True, check=True, timeout=60
        )
        longest = json.loads(status.stdout).get("longestWait") or {}
        if what != "reindex":
            quiet += _quiet_waits(port, token, rate)
        (p50, p99), (quiet50, quiet99) = (
            [sorted(waits)[int(len(waits) * share)] for share in (0.5, 0.99)] for waits in (sender.waits, quiet)
        )
        why = f"{longest['ms']:.0f}, {longest['cause']}" if longest else ""
        ended = f" (exit {asked.returncode})" if asked.returncode else ""
        print(
            f"{what:8}{len(sender.waits):>7}{p50:>8.1f}{p99:>8.1f}{max(sender.waits):>8.1f}{seconds:>7.1f}"
            f"{quiet50:>8.1f}{quiet99:>8.1f}{p99 / quiet99:>7.1f}{wal / 1e6:>8.1f}{memory:>8.1f}  {why}{ended}",
            flush=True,
        )
    finally:
        process.terminate()
        process.wait(60)


def _quiet_waits(port: int, token: str, rate: float) -> list[float]:
    """Return the waiting times of sends in quiet times, in milliseconds."""
    sender = Sender(port, token, "b", rate)
    sender.start()
    time.sleep(QUIET_SECONDS)
    sender.stop()
    return sender.waits


def resident(pid: int) -> float:
    """A process's memory, in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run the requested measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[..., None], option: str, kind: type, default: float) -> None:
        one = commands.add_parser(name, help=run.__doc__)
        one.add_argument(f"--{option}", type=kind, default=default)
        one.set_defaults(run=lambda chosen: run(getattr(chosen, option)))

    command("restart", restart, "messages", int, 1_000_000)
    command("replay", replay, "messages", int, 100_000)
    command("dead", dead, "rounds", int, 3)
    command("soak", soak, "minutes", float, 10)
    command("size", size, "messages", int, 5_000_000)
    one = commands.add_parser("stalls", help=stalls.__doc__)
    one.add_argument("--messages", type=int, default=2_000_000)
    one.add_argument("--store", default="", help="a data directory; made there if there is none")
    one.add_argument("--tree", default="", help="the source tree whose relay is measured")
    one.add_argument("--rate", type=float, default=40.0, help="sends a second")
    one.add_argument("--only", default="", help="these cases, with commas between them")
    one.set_defaults(run=lambda chosen: stalls(chosen.messages, chosen.store, chosen.tree, chosen.rate, chosen.only))
    chosen = parser.parse_args()
    chosen.run(chosen)


if __name__ == "__main__":
    main()
