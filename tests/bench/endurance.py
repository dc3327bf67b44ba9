"""How the relay endures: the way back after a kill, a long replay, dead readers, ten minutes under load, a long log.

    python tests/bench/endurance.py restart [--messages 1000000]
    python tests/bench/endurance.py replay [--messages 100000]
    python tests/bench/endurance.py dead [--rounds 3]
    python tests/bench/endurance.py soak [--minutes 10]
    python tests/bench/endurance.py size [--messages 5000000]

Each prints what it measured, on loopback, against a relay in a process of its own.
"""

import argparse
import os
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from relay.core.commands import Command
from relay.core.relay import Relay, open_relay
from relay.protocol import codec, control, requests
from relay.protocol.base import Wire
from relay.protocol.envelopes import Request

BATCH = 2_000
TEXT = "x" * 120


async def prepare(data: Path, *users: str, messages: int = 0) -> dict[str, str]:
    """Make users, and let the first say so many messages to the second."""
    tokens = {}
    async with open_relay(data) as relay:
        for user in users:
            await relay.admin.handle("user.add", control.AddUser(id=user))
            token = await relay.admin.handle("device.add", control.AddDevice(user_id=user))
            assert isinstance(token, control.Token)
            tokens[user] = token.token
        for start in range(0, messages, BATCH):
            await _say(relay, users[1], start, min(BATCH, messages - start))
    return tokens


async def _say(relay: Relay, to: str, start: int, count: int) -> None:
    done, left = trio.Event(), count

    def answer(_payload: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in range(start, start + count):
        text = f"word{number:07} {TEXT}"[:120]
        request = requests.New(chat_id=to, client_message_id=str(uuid.uuid4()), message=text)
        relay.log.append(Command(relay.clock(), 1, 0, request), answer)
    await done.wait()


@contextmanager
def served(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A relay, until the end of the block."""
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
    """Read until something has come so many times; gives the seconds."""
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
    """A device that was away for so many messages."""
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


def _throughput(port: int, sender: socket.socket, chat: str, messages: int) -> float:
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
                    # Until their buffers are full they are like anybody else who gets the messages.
                    _throughput(port, sender, chat, 3_000 if silent else 100)
                    rates.append(_throughput(port, sender, chat, 5_000))
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
"""How often each question is asked of a store, for its median."""


def size(messages: int) -> None:
    """What a user waits for, with ten thousand messages in the file and with so many."""
    found = {number: _waits(number) for number in (10_000, messages)}
    few, many = found.values()
    print(f"{'':24}{10_000:>12,}{messages:>12,}  ratio")
    for what in few:
        print(f"{what:24}{few[what]:>12,.2f}{many[what]:>12,.2f}  {many[what] / few[what]:.2f}")


def _waits(messages: int) -> dict[str, float]:
    """Milliseconds that each question takes, and what a hundred sends take, each answered."""
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
            sends = [100_000 / _throughput(port, asker, "b", 2_000) for _ in range(5)]
            waits["a hundred sends"] = statistics.median(sends)
            return waits


def _taken(reader: socket.socket, last: int) -> float:
    """Take events and acknowledge them as they come, up to one; gives the seconds."""
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
        # The rest of an answer that came in pieces is not the next one's.
        asker.settimeout(0.05)
        with suppress(TimeoutError):
            while asker.recv(262_144):
                pass
        asker.settimeout(None)
    return statistics.median(waits)


def resident(pid: int) -> float:
    """A process's memory, in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run what is asked for."""
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
    chosen = parser.parse_args()
    chosen.run(chosen)


if __name__ == "__main__":
    main()
