"""One member with every trick: what it costs the relay in memory, and others in time.

    uv run python tests/bench/attack.py [--tree DIR] [--seconds 3] [--rounds 3] [--only NAME]

Two others send to each other all the time, and one of them reads; quiet windows and windows with the trick alternate,
so that what else the machine does falls on both. Prints a table, trick by trick: RSS above the first quiet window at
its peak, the relay's share of a core, the median of the rounds' p50 and p99 in quiet and under the trick with the
range of p99, and the median of the ratios of p99 in the pairs.
"""

import argparse
import contextlib
import multiprocessing
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from under_load import MASK, Connection, Relay

TEXT = "汉" * 65_000
"""195 KB, and a message may have so many characters."""
PACE = 0.02
"""Seconds between two messages of those who do nothing wrong."""
NAME_WIDTH = 34

Trick = Callable[["Attack"], None]
TRICKS: dict[str, Trick] = {}


def trick(name: str) -> Callable[[Trick], Trick]:
    def keep(what: Trick) -> Trick:
        TRICKS[name] = what
        return what

    return keep


def frame(data: bytes, first: int = 0x81) -> bytes:
    size = len(data)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = bytes([0x80 | 126]) + size.to_bytes(2)
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8)
    return bytes([first]) + length + MASK + data


def request(number: int, name: str, payload: str) -> bytes:
    return frame(f'{{"type":"request","id":{number},"payloadType":"{name}","payload":{payload}}}'.encode())


class Attack:
    """One member's token, and how long they may use it."""

    def __init__(self, relay: Relay, seconds: float) -> None:
        self.relay = relay
        self.group = relay.group
        self.until = time.monotonic() + seconds
        self.number = 0

    @property
    def on(self) -> bool:
        return time.monotonic() < self.until

    def connect(self, *, reading: bool = False) -> socket.socket:
        """Connect as the member, again and again where that is refused; somebody may take what comes."""
        while True:
            try:
                connection = self.relay.login("u2")
                break
            except OSError:
                if not self.on:
                    raise
                time.sleep(0.05)
        if reading:
            threading.Thread(target=_swallow, args=(connection.socket,), daemon=True).start()
        return connection.socket

    def pour(self, data: bytes, *, reading: bool = True, connections: int = 1) -> None:
        """Send the same all the time."""
        lines: list[socket.socket] = []
        with contextlib.suppress(OSError):
            for _ in range(connections):
                lines.append(self.connect(reading=reading))
                lines[-1].settimeout(0.1)
        while self.on and lines:
            for line in list(lines):
                try:
                    line.sendall(data)
                except TimeoutError:
                    # Cut in the middle of a frame: begin again.
                    line.close()
                    lines.remove(line)
                    with contextlib.suppress(OSError):
                        lines.append(self.connect(reading=reading))
                        lines[-1].settimeout(0.1)
                except OSError:
                    lines.remove(line)
        for line in lines:
            line.close()

    def hold(self, data: bytes, connections: int) -> None:
        """Send something on many connections, and neither read nor go."""
        lines = []
        for _ in range(connections):
            with contextlib.suppress(OSError):
                line = self.relay.login("u2").socket
                line.settimeout(0.5)
                lines.append(line)
                line.sendall(data)
        while self.on:
            time.sleep(0.1)
            for line in lines:
                with contextlib.suppress(OSError):
                    line.settimeout(0.01)
                    line.sendall(frame(b"", 0x89))
        for line in lines:
            line.close()


def _swallow(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while line.recv(1 << 20):
            pass


@trick("nothing")  # how noisy the machine is: the ratio should be 1
def nothing(attack: Attack) -> None:
    while attack.on:
        time.sleep(0.1)


@trick("D1 large pages, nothing read")
def pages(attack: Attack) -> None:
    ask = b"".join(request(n, "messages", f'{{"chatId":"{attack.group}"}}') for n in range(40))
    attack.hold(ask, 16)


@trick("D1 large pages, read")
def pages_read(attack: Attack) -> None:
    attack.pour(request(1, "messages", f'{{"chatId":"{attack.group}"}}'), connections=4)


@trick("D3 connections with an old cursor")
def cursors(attack: Attack) -> None:
    attack.relay.after = "?after=0"
    try:
        attack.hold(b"", 40)
    finally:
        attack.relay.after = ""


@trick("D5 200 connections")
def connections(attack: Attack) -> None:
    attack.hold(b"", 200)


@trick("D6 unfinished messages")
def pieces(attack: Attack) -> None:
    attack.hold(frame(b"{" + b" " * 260_000)[:255_000], 200)


@trick("D6 unfinished, in fragments")
def fragments(attack: Attack) -> None:
    attack.hold(frame(b"", 0x01) + frame(b"x" * 1_000, 0x00) * 250, 200)


@trick("D7 typing")
def typing(attack: Attack) -> None:
    for_each = b"".join(
        frame(f'{{"type":"event","eventType":"typing","payload":{{"chatId":"{attack.group}"{stop}}}}}'.encode())
        for stop in ("", ',"stop":true')
    )
    attack.pour(for_each * 50)


@trick("D7 online and offline")
def presence(attack: Attack) -> None:
    attack.pour((frame(b'{"type":"event","eventType":"offline"}') + frame(b"ping")) * 50)


@trick("pings as fast as they go")
def pings(attack: Attack) -> None:
    attack.pour(frame(b"") * 5_000, connections=4)


@trick("empty fragments")
def empty_fragments(attack: Attack) -> None:
    attack.pour(frame(b"", 0x01) + frame(b"", 0x00) * 4_999 + frame(b"p", 0x80))


@trick("acknowledgements of anything")
def acks(attack: Attack) -> None:
    attack.pour(frame(b'{"type":"ack","id":99}') * 500, connections=4)


@trick("messages to the group")
def messages(attack: Attack) -> None:
    def burst() -> bytes:
        attack.number += 50
        return b"".join(
            request(n, "new", f'{{"chatId":"{attack.group}","clientMessageId":"{time.time_ns()}-{n}","message":"x"}}')
            for n in range(50)
        )

    line = attack.connect(reading=True)
    line.settimeout(1)
    with contextlib.suppress(OSError):
        while attack.on:
            line.sendall(burst())


@trick("large messages")
def large(attack: Attack) -> None:
    line = attack.connect(reading=True)
    line.settimeout(2)
    with contextlib.suppress(OSError):
        while attack.on:
            payload = f'{{"chatId":"u2","clientMessageId":"{time.time_ns()}","message":"{TEXT}"}}'
            line.sendall(request(1, "new", payload))


@trick("edits")
def edits(attack: Attack) -> None:
    attack.pour(
        b"".join(request(n, "edit", f'{{"chatId":"u2","originalMessageId":1,"message":"{n}"}}') for n in range(100))
    )


@trick("answers that quote")
def quotes(attack: Attack) -> None:
    line = attack.connect(reading=True)
    line.settimeout(1)
    with contextlib.suppress(OSError):
        while attack.on:
            line.sendall(
                b"".join(
                    request(
                        n,
                        "new",
                        f'{{"chatId":"{attack.group}","clientMessageId":"q{time.time_ns()}-{n}","message":"x","replyTo":1}}',
                    )
                    for n in range(50)
                )
            )


@trick("directory, search, chats, chat")
def reads(attack: Attack) -> None:
    attack.pour(
        b"".join(
            [
                request(1, "users", '{"query":"zzzz"}'),
                request(2, "search", '{"query":"汉"}'),
                request(3, "search", '{"query":"unfindable"}'),
                request(4, "chats", "{}"),
                request(5, "chat", f'{{"chatId":"{attack.group}"}}'),
                request(6, "devices", "{}"),
            ]
        ),
        connections=4,
    )


@trick("F5 groups with everybody")
def groups(attack: Attack) -> None:
    people = ",".join(f'"u{n}"' for n in range(3, 25))
    attack.pour(
        b"".join(
            request(n, "createChat", f'{{"type":"group","name":"{n}","participants":[{people}]}}') for n in range(20)
        )
    )


@trick("renaming the group")
def renames(attack: Attack) -> None:
    attack.pour(b"".join(request(n, "updateChat", f'{{"chatId":"{attack.group}","name":"n{n}"}}') for n in range(50)))


@trick("connecting all the time")
def connecting(attack: Attack) -> None:
    while attack.on:
        with contextlib.suppress(OSError):
            attack.relay.login("u2").close()


@trick("chat lists for 30 slow devices")
def lists(attack: Attack) -> None:
    """Devices that read nothing, of version 1, while another one changes the member's chats."""
    lines = [attack.connect() for _ in range(28)]
    attack.pour(b"".join(request(n, "updateChat", f'{{"chatId":"{attack.group}","name":"l{n}"}}') for n in range(20)))
    for line in lines:
        line.close()


@trick("control pings")
def control_pings(attack: Attack) -> None:
    attack.pour(frame(b"x" * 125, 0x89) * 500, connections=4)


@trick("searches that are dropped")
def dropped_searches(attack: Attack) -> None:
    while attack.on:
        with contextlib.suppress(OSError):
            line = attack.connect()
            line.sendall(b"".join(request(n, "search", f'{{"query":"unfindable {n}"}}') for n in range(20)))
            line.close()


@trick("profile changes")
def profiles(attack: Attack) -> None:
    attack.pour(b"".join(request(n, "profile", f'{{"name":"name {n}"}}') for n in range(50)))


@trick("edits of one message")
def one_message(attack: Attack) -> None:
    """Each is told to the whole group, and brought into what is remembered of it."""
    change = f'"chatId":"{attack.group}","originalMessageId":1'
    attack.pour(b"".join(request(n, "edit", f'{{{change},"message":"{n}"}}') for n in range(100)))


@trick("marks")
def marks(attack: Attack) -> None:
    attack.pour(
        b"".join(
            request(n, ("read", "dlvrd")[n % 2], f'{{"chatId":"{attack.group}","messageId":{1 + n % 40}}}')
            for n in range(200)
        ),
        connections=4,
    )


@trick("groups with many names")
def many_names(attack: Attack) -> None:
    """As many participants as a frame holds, who are not there: refused, after a look at each."""
    people = ",".join(f'"nobody{n}"' for n in range(15_000))
    attack.pour(request(1, "createChat", f'{{"type":"group","name":"x","participants":[{people}]}}'))


@trick("request heads without end")
def heads(attack: Attack) -> None:
    _strangers(attack, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 1_000)


@trick("ranges of a file, byte by byte")
def ranges(attack: Attack) -> None:
    one = b"GET /app.js HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=%d-%d\r\n\r\n"
    _strangers(attack, b"".join(one % (n, n) for n in range(200)))


@trick("TLS greetings cut short")
def greetings(attack: Attack) -> None:
    _strangers(attack, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100)


def _strangers(attack: Attack, data: bytes) -> None:
    """Send something on one connection after the other that nobody has signed in on; hundred stay open."""
    lines: list[socket.socket] = []
    while attack.on:
        with contextlib.suppress(OSError):
            lines.append(socket.create_connection(("127.0.0.1", attack.relay.port), timeout=1))
            lines[-1].sendall(data)
        if len(lines) > 100:
            lines.pop(0).close()
    for line in lines:
        line.close()


@trick("bad frames")
def bad(attack: Attack) -> None:
    while attack.on:
        with contextlib.suppress(OSError):
            attack.pour(frame(b'{"type":1}') * 19 + frame(b"[" * 100_000))


def others(relay: Relay, pipe: Pipe) -> None:
    """Send and read as people do, until told to stop; then tell how long things took, in seconds."""
    sender, taker = relay.login("u0"), relay.login("u1")
    while True:
        pipe.recv()
        sends: list[float] = []
        reads_: list[float] = []
        number = 0
        while not pipe.poll():
            number += 1
            started = time.perf_counter()
            unique = f"{time.time_ns()}"
            sender.wait_for("new", {"chatId": "u1", "clientMessageId": unique, "message": "hello"}, unique)
            told = False
            while not told:
                taker._receive()
                for one in taker.frames():
                    taker.acknowledge(one)
                    told |= unique in str(one)
            sends.append(time.perf_counter() - started)
            if number % 5 == 0:
                started = time.perf_counter()
                taker.wait_for("messages", {"chatId": "u0", "count": 30}, unique)
                reads_.append(time.perf_counter() - started)
            time.sleep(PACE)
        pipe.recv()
        pipe.send((sends, reads_))


def rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def line_of(name: str, *columns: object) -> str:
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{column:>9}" for column in columns)


class AttackedRelay(Relay):
    """A relay that one can sign in to with an old cursor."""

    after = ""

    def login(self, user: str) -> Connection:
        return Connection(self.port, self.tokens[user], self.after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[2], help="which relay")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each window is")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of windows of each trick")
    parser.add_argument("--only", default="", help="tricks whose name has this in it")
    options = parser.parse_args()
    # The limits are what is looked at: as they come.
    relay = AttackedRelay(options.tree, users=60, members=40, environment={"RELAY_LIMITS_REQUESTS_PER_SECOND": "2000"})
    process = relay.start()
    pid = process.process.pid
    members = [relay.login(f"u{n}") for n in range(3, 33)]
    for member in members:
        threading.Thread(target=_swallow_and_ping, args=(member,), daemon=True).start()
    fill(relay)
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=others, args=(relay, theirs), daemon=True)
    prober.start()
    print(
        line_of(
            "trick", "RSS+", "core", "quiet", "send p50", "quiet", "send p99", "range", "ratio", "read p99", "ratio"
        ),
        flush=True,
    )
    worst = 0.0
    base: float | None = None
    slow: list[str] = []
    try:
        for name, what in TRICKS.items():
            if options.only not in name:
                continue
            pairs: list[tuple[Window, Window]] = []
            for _ in range(options.rounds):
                quiet = run(relay, pid, nothing, options.seconds, ours)
                base = quiet.peak if base is None else base
                pairs.append((quiet, run(relay, pid, what, options.seconds, ours)))
                time.sleep(1)
            above = max(window.peak for _, window in pairs) - (base or 0.0)
            worst = max(worst, above)
            ratio = statistics.median(window.send(0.99) / quiet.send(0.99) for quiet, window in pairs)
            if ratio > TOLERATED:
                slow.append(name)
            print(line_of(name, f"{above:.0f}", *columns(pairs, ratio)), flush=True)
    finally:
        prober.kill()
        relay.stop()
    print(f"most memory above the quiet relay: {worst:.0f} MB; p99 more than {TOLERATED:g} times: {slow or 'nobody'}")
    return 0


TOLERATED = 2.0
"""How many times as long others' p99 may be."""


@dataclass
class Window:
    """What was seen in some seconds, quiet or under attack."""

    peak: float
    """MB."""
    core: float
    """Share of a core that the relay took."""
    sends: list[float]
    reads: list[float]

    def send(self, share: float) -> float:
        return quantile(self.sends, share)

    def read(self, share: float) -> float:
        return quantile(self.reads, share)


def quantile(times: list[float], share: float) -> float:
    """Give a quantile in milliseconds; where nothing came through, as if it had taken two minutes."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1_000 if times else 120_000.0


def columns(pairs: list[tuple[Window, Window]], ratio: float) -> list[str]:
    """What a line of the table says after the memory."""

    def middle(of: Callable[[Window], float], which: int) -> float:
        return statistics.median(of(pair[which]) for pair in pairs)

    tails = [window.send(0.99) for _, window in pairs]
    reads = statistics.median(window.read(0.99) / quiet.read(0.99) for quiet, window in pairs)
    return [
        f"{middle(lambda one: one.core, 1):.2f}",
        f"{middle(lambda one: one.send(0.5), 0):.1f}",
        f"{middle(lambda one: one.send(0.5), 1):.1f}",
        f"{middle(lambda one: one.send(0.99), 0):.1f}",
        f"{middle(lambda one: one.send(0.99), 1):.1f}",
        f"{min(tails):.0f}-{max(tails):.0f}",
        f"{ratio:.1f}",
        f"{middle(lambda one: one.read(0.99), 1):.1f}",
        f"{reads:.1f}",
    ]


def run(relay: AttackedRelay, pid: int, what: Trick, seconds: float, pipe: Pipe) -> Window:
    """Run one trick beside those who do nothing wrong."""
    peak = rss(pid)
    began, cpu = time.monotonic(), processor(pid)
    pipe.send("go")
    attacker = threading.Thread(target=_quietly, args=(what, Attack(relay, seconds)), daemon=True)
    attacker.start()
    while time.monotonic() < began + seconds:
        peak = max(peak, rss(pid))
        time.sleep(0.02)
    core = (processor(pid) - cpu) / (time.monotonic() - began)
    pipe.send("stop")
    sends, reads_ = pipe.recv() if pipe.poll(120) else ([], [])
    attacker.join(5)
    return Window(peak, core, sends, reads_)


def processor(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _quietly(what: Trick, attack: Attack) -> None:
    with contextlib.suppress(OSError):
        what(attack)


def _swallow_and_ping(connection: Connection) -> None:
    threading.Thread(target=_swallow, args=(connection.socket,), daemon=True).start()
    with contextlib.suppress(OSError):
        while True:
            connection.socket.sendall(frame(b"ping"))
            time.sleep(8)


def fill(relay: Relay) -> None:
    """Let the member write what their tricks need: large messages in the group and in their notes."""
    one = relay.login("u2")
    for place, count in ((relay.group, 40), ("u2", 10)):
        for number in range(count):
            payload: dict[str, Any] = {"chatId": place, "clientMessageId": f"fill{place}{number}", "message": TEXT}
            while "error" in _ask(one, payload, f"{place}{number}"):
                time.sleep(0.2)
    one.close()


def _ask(connection: Connection, payload: dict[str, Any], number: str) -> dict[str, object]:
    text = str(payload["message"])
    body = (
        f'{{"type":"request","id":"{number}","payloadType":"new","payload":{{"chatId":"{payload["chatId"]}",'
        f'"clientMessageId":"{payload["clientMessageId"]}","message":"{text}"}}}}'
    )
    connection.socket.sendall(frame(body.encode()))
    while True:
        connection._receive()
        for one in connection.frames():
            if one.get("type") == "response" and one.get("id") == number:
                return one


if __name__ == "__main__":
    sys.exit(main())
