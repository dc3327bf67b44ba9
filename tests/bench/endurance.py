"""How the relay endures: the way back after a kill, a long replay, dead readers, ten minutes under load, a long log.

    python tests/bench/endurance.py restart [--messages 1000000]
    python tests/bench/endurance.py replay [--messages 100000]
    python tests/bench/endurance.py dead [--rounds 3]
    python tests/bench/endurance.py soak [--minutes 10]
    python tests/bench/endurance.py size [--messages 5000000] [--keep DIRECTORY]

Each prints what it measured, on loopback, against a relay in a process of its own.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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


async def _say(relay: Relay, to: str, start: int, count: int, author: int = 1) -> None:
    done, left = trio.Event(), count

    def answer(_payload: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in range(start, start + count):
        text = f"word{number:07} {TEXT}"[:120]
        request = requests.New(chat_id=to, client_message_id=str(uuid.uuid4()), message=text)
        relay.log.append(Command(relay.clock(), author, 0, request), answer)
    await done.wait()


@contextmanager
def served(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A relay, until the end of the block."""
    process = start(data, port)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


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


SMALL_CHATS = 11
"""Chats of somebody who has little to do with what fills the file; in each some messages wait for them."""
SAID = 3
"""Messages in each."""
FIRST_LOGINS = 5


def size(messages: int, keep: Path | None) -> None:
    """What a user waits for, and what it costs the relay, with ten thousand messages in the file and with so many."""
    found = {number: _waits(number, keep) for number in (10_000, messages)}
    few, many = found.values()
    print(f"{'ms waited, ms of CPU':28}{10_000:>18,}{messages:>18,}  ratio of waits, of CPU")
    for what in few:
        (wait, cpu), (longer, more) = few[what], many[what]
        print(
            f"{what:28}{wait:>10,.2f}{cpu:>8,.2f}{longer:>10,.2f}{more:>8,.2f}"
            f"  {longer / wait:.2f} {more / max(cpu, 0.01):.2f}"
        )


async def _fill(data: Path, messages: int) -> dict[str, str]:
    """A dialog of a and b that fills the file; before it some chats of c with others, in which all is unread."""
    others = [f"u{number}" for number in range(SMALL_CHATS)]
    tokens = await prepare(data, "a", "b", "c", *others)
    async with open_relay(data) as relay:
        for number in range(FIRST_LOGINS):
            token = await relay.admin.handle("device.add", control.AddDevice(user_id="c"))
            assert isinstance(token, control.Token)
            tokens[f"c{number}"] = token.token
        for other in others:
            await _say(relay, "c", 0, SAID, author=relay.state.user_keys[other])
        for start in range(0, messages, BATCH):
            await _say(relay, "b", start, min(BATCH, messages - start))
    return tokens


@contextmanager
def _filled(messages: int, keep: Path | None) -> Iterator[tuple[Path, dict[str, str]]]:
    """A store with so many messages, and tokens; kept where it is asked for, and made once then."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) if keep is None else keep / str(messages)
        known = data / "tokens.json"
        if not known.exists():
            data.mkdir(parents=True, exist_ok=True)
            tokens = trio.run(_fill, data, messages)
            with served(data, free_port()):
                _wait_for_the_index(data)
            known.write_bytes(msgspec.json.encode(tokens))
        # What is measured reads and marks, so that a kept store is copied.
        with tempfile.TemporaryDirectory(dir=keep) as copy:
            shutil.copytree(data, copy, dirs_exist_ok=True)
            yield Path(copy), msgspec.json.decode(known.read_bytes(), type=dict[str, str])


class _Meter:
    """How long something takes, and how much of the relay's time."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def of(self, times: int, run: Callable[[], object]) -> tuple[float, float]:
        """The median wait and the mean CPU, in milliseconds."""
        waits, before = [], self._cpu()
        for _ in range(times):
            began = time.perf_counter()
            run()
            waits.append(1_000 * (time.perf_counter() - began))
        return statistics.median(waits), (self._cpu() - before) / times

    def _cpu(self) -> float:
        tasks = Path(f"/proc/{self._pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def _waits(messages: int, keep: Path | None) -> dict[str, tuple[float, float]]:
    """Milliseconds that each question takes: waited, and of the relay's CPU."""
    with _filled(messages, keep) as (data, tokens):
        port = free_port()
        # Just started, the relay remembers no chat's latest messages.
        with served(data, port) as process:
            meter = _Meter(process.pid)
            found: dict[str, tuple[float, float]] = {}
            seq = _ask_file(data, "SELECT max(seq) FROM log")
            asker, small = join(port, tokens["a"], after=2**60), join(port, tokens["c"], after=2**60)

            def ask(what: str, connection: socket.socket, name: str, payload: Wire) -> None:
                found[what] = meter.of(ASKED, lambda: _asked(connection, name, payload))

            ask("chats", small, "chats", requests.Nothing())
            ask("chat", small, "chat", requests.OneChat(chat_id="u1"))
            ask("messages of a small chat", small, "messages", requests.Messages(chat_id="u1", count=50))
            ask("latest page of a large one", asker, "messages", requests.Messages(chat_id="b", count=50))
            middle = messages // 2
            ask("a page far back", asker, "messages", requests.Messages(chat_id="b", start_id=middle, count=50))
            ask("search, a rare word", asker, "search", requests.Search(query=f"word{middle:07}"))
            ask("search, a phrase", asker, "search", requests.Search(query=f"{middle:07} xxxxxx"))
            ask("search, in every text", asker, "search", requests.Search(query="xxxxxx"))
            ask("search, in nobody's", asker, "search", requests.Search(query="wordwordword"))
            logins = iter(range(FIRST_LOGINS))
            found["first login"] = meter.of(
                FIRST_LOGINS, lambda: join(port, tokens[f"c{next(logins)}"], after=None).close()
            )
            found["replay of an old cursor"] = meter.of(5, lambda: _replayed(port, tokens["c"]))
            found["20 quick reconnects, chats"] = meter.of(3, lambda: _reconnected(port, tokens["c"], asker))
            chats = iter(range(SMALL_CHATS))
            found["read, the first of a chat"] = meter.of(
                SMALL_CHATS, lambda: _asked(small, "read", requests.Mark(chat_id=f"u{next(chats)}"))
            )
            found["replay of 2,000"] = meter.of(5, lambda: _taken(join(port, tokens["b"], after=seq - 2_000), seq))
            found["a hundred sends"] = meter.of(5, lambda: _throughput(port, asker, "b", 100))
            return found


def _replayed(port: int, token: str) -> None:
    """All that was ever said to somebody to whom little was said."""
    with join(port, token, after=0) as reader:
        count(reader, b'"eventType":"new"', SMALL_CHATS * SAID)


def _reconnected(port: int, token: str, other: socket.socket) -> None:
    """A phone at the edge of the Wi-Fi; meanwhile somebody else wants their chats."""
    for _ in range(20):
        join(port, token, after=0).close()
    _asked(other, "chats", requests.Nothing())


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


def _asked(asker: socket.socket, name: str, payload: Wire) -> None:
    """Ask, and take the whole answer."""
    request = frame(codec.encode(Request(id="1", payload_type=name, payload=msgspec.Raw(codec.encode(payload)))))
    asker.sendall(request)
    data = b""
    while True:
        data += asker.recv(262_144)
        if b'"type":"response"' in data and (data[-1:] == b"}" and _whole(data)):
            return


def _whole(data: bytes) -> bool:
    """Whether the last frame of what came has come to its end."""
    start = 0
    while start < len(data):
        if len(data) < start + 10 and len(data) < start + 2:
            return False
        length, header = data[start + 1], 2
        if length == 126:
            length, header = int.from_bytes(data[start + 2 : start + 4], "big"), 4
        elif length == 127:
            length, header = int.from_bytes(data[start + 2 : start + 10], "big"), 10
        start += header + length
    return start == len(data)


def resident(pid: int) -> float:
    """A process's memory, in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run what is asked for."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[..., None], option: str, kind: type, default: float) -> ArgumentParser:
        one = commands.add_parser(name, help=run.__doc__)
        one.add_argument(f"--{option}", type=kind, default=default)
        one.set_defaults(run=lambda chosen: run(getattr(chosen, option)))
        return one

    command("restart", restart, "messages", int, 1_000_000)
    command("replay", replay, "messages", int, 100_000)
    command("dead", dead, "rounds", int, 3)
    command("soak", soak, "minutes", float, 10)
    sized = command("size", size, "messages", int, 5_000_000)
    sized.add_argument("--keep", type=Path, help="where the stores stay, so that the next run need not make them")
    sized.set_defaults(run=lambda chosen: size(chosen.messages, chosen.keep))
    chosen = parser.parse_args()
    chosen.run(chosen)


if __name__ == "__main__":
    main()
