"""One member with every trick: its cost in the relay's memory and in other members' time.

    uv run python tests/bench/attack.py [--tree DIR] [--seconds 2] [--rounds 6] [--only NAME] [--part 1/4]

Each trick has a relay and a user of its own, on a copy of one store, so that no trick pays for the one before. Two
others send to each other all the time, and one of them reads; thirty more members of the group are connected. Quiet
windows and windows with the trick alternate, so that the machine's other load affects both. The relay has core 0.
The others and the attacker share core 1, each in a process of its own; the attacker's has a low priority, so that it
does not delay the measuring ones: its rate is what such a client can send beside them. With two cores this is the
bench's limit.

Prints a table, trick by trick: RSS at its peak above the quiet relay just before the first attack; the relay's share
of a core, quiet and under the trick; the median of the windows' p50 and p99 in quiet and under the trick, with the
quartiles of p99; and the median of the ratios in the pairs of windows, with the quartiles of p99's.

Longer than other modules: most of it is the list of tricks, one function each.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import selectors
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.bench.machine import GENERATOR_CORE
from tests.bench.under_load import MASK, TREE, Connection, Relay

TEXT = "汉" * 65_000
"""195 KB: the maximum characters of a message."""
FILE_BYTES = 8 << 20
"""A file of the attacker's."""
PACE = 0.006
"""Seconds between two messages of an honest member."""
CROWD = range(3, 33)
"""Users who are connected and send only keepalives."""
MEMBERS = 100
"""Members of the group, including the attacker."""
SETTLE = 0.5
"""Seconds after each window for the trick's effects to end: connections close, buckets fill a little."""
NAME_WIDTH = 36

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
    """One member's token, and its time limit."""

    def __init__(self, relay: "AttackedRelay", user: str, file: str, seconds: float) -> None:
        self.relay = relay
        self.user = user
        self.file = file
        """The path of their file."""
        self.group = relay.group
        self.until = time.monotonic() + seconds
        self.number = 0

    @property
    def on(self) -> bool:
        return time.monotonic() < self.until

    def connect(self, *, reading: bool = False) -> socket.socket:
        """Connect as the member, retrying if refused; somebody may receive the frames."""
        while True:
            try:
                connection = self.relay.login(self.user)
                break
            except OSError:
                if not self.on:
                    raise
                time.sleep(0.05)
        if reading:
            threading.Thread(target=_swallow, args=(connection.socket,), daemon=True).start()
        return connection.socket

    def head(self, path: str, *more: str, method: str = "GET") -> bytes:
        """An HTTP request of theirs."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.relay.tokens[self.user]}", *more]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()

    def plain(self, *, reading: bool = True) -> socket.socket:
        """Connect without sending anything."""
        line = socket.create_connection(("127.0.0.1", self.relay.port), timeout=2)
        if reading:
            threading.Thread(target=_swallow, args=(line,), daemon=True).start()
        return line

    def ask(self, data: bytes, *, connections: int, reading: bool = True) -> None:
        """Send HTTP requests all the time, over this many connections, which are renewed when they end."""
        lines: list[socket.socket] = []
        while self.on:
            try:
                while len(lines) < connections:
                    lines.append(self.plain(reading=reading))
                    lines[-1].settimeout(0.05)
            except OSError:
                time.sleep(0.01)
            for line in list(lines):
                try:
                    line.sendall(data)
                except OSError:
                    # Full, cut in the middle of a request, or closed.
                    line.close()
                    lines.remove(line)
        for line in lines:
            line.close()

    def pour(self, data: bytes, *, reading: bool = True, connections: int = 1) -> None:
        """Send the same bytes all the time."""
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
        """Send something on many connections, and neither read nor disconnect."""
        lines = []
        for _ in range(connections):
            with contextlib.suppress(OSError):
                line = self.relay.login(self.user).socket
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
            payload = f'{{"chatId":"{attack.user}","clientMessageId":"{time.time_ns()}","message":"{TEXT}"}}'
            line.sendall(request(1, "new", payload))


@trick("edits")
def edits(attack: Attack) -> None:
    change = f'"chatId":"{attack.user}","originalMessageId":1'
    attack.pour(b"".join(request(n, "edit", f'{{{change},"message":"{n}"}}') for n in range(100)))


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
            attack.relay.login(attack.user).close()


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
    """Each is sent to the whole group and applied to its remembered entries."""
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
    """As many unknown participants as fit into a frame: refused after checking each."""
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
    """Send something on one connection after another without signing in; a hundred stay open."""
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


@trick("ranges of a file, by a member")
def own_ranges(attack: Attack) -> None:
    data = b"".join(attack.head(attack.file, f"Range: bytes={n}-{n}") for n in range(50))
    attack.ask(data, connections=16)


@trick("a large file over and over")
def own_file(attack: Attack) -> None:
    attack.ask(attack.head(attack.file) * 4, connections=16)


@trick("a large file that nobody reads")
def unread_file(attack: Attack) -> None:
    attack.ask(attack.head(attack.file) * 20, connections=32, reading=False)


@trick("uploads one after the other")
def uploads(attack: Attack) -> None:
    body = b"x" * (1 << 20)
    attack.ask(attack.head("/files", f"Content-Length: {len(body)}", method="POST") + body, connections=4)


@trick("pages by a member")
def own_pages(attack: Attack) -> None:
    paths = ("/app.js", "/session", "/", "/healthz", "/nowhere")
    attack.ask(b"".join(attack.head(path) for path in paths * 10), connections=16)


@trick("HTTP connections by a member")
def own_connections(attack: Attack) -> None:
    data = attack.head("/session", "Connection: close")
    while attack.on:
        with contextlib.suppress(OSError):
            line = attack.plain(reading=False)
            line.sendall(data)
            line.close()


@trick("sign-ins with a wrong invite")
def guesses(attack: Attack) -> None:
    body = b'{"invite":"AAAA-BBBB-CCCC-DDDD"}'
    post = b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    attack.ask((post + body) * 20, connections=16)


@trick("everything at once")
def everything(attack: Attack) -> None:
    """Pings, pages, searches, messages and ranges of a file, each from a connection or several."""
    parts = (pings, pages_read, reads, messages, own_ranges, marks)
    threads = [threading.Thread(target=_quietly, args=(part, attack), daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def others(relay: Relay, pipe: Pipe) -> None:
    """Send and read like a person until told to stop; then report the times in seconds."""
    _run_at(-20)
    _run_ahead(0)
    sender, taker = relay.login("u0"), relay.login("u1")
    pipe.send("ready")
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
            arrived = False
            while not arrived:
                taker.receive()
                for one in taker.frames():
                    taker.acknowledge(one)
                    arrived |= unique in str(one)
            sends.append(time.perf_counter() - started)
            if number % 5 == 0:
                started = time.perf_counter()
                taker.wait_for("messages", {"chatId": "u0", "count": 30}, unique)
                reads_.append(time.perf_counter() - started)
            time.sleep(PACE)
        pipe.recv()
        pipe.send((sends, reads_))


def crowd(relay: Relay, pipe: Pipe) -> None:
    """Stay connected: receive events and send keepalives."""
    _run_at(-10)
    news = selectors.DefaultSelector()
    lines = [relay.login(f"u{number}").socket for number in CROWD]
    for line in lines:
        line.setblocking(False)
        news.register(line, selectors.EVENT_READ)
    pipe.send("ready")
    due = time.monotonic()
    while True:
        for key, _ in news.select(1):
            with contextlib.suppress(BlockingIOError):
                if not key.fileobj.recv(1 << 18):  # type: ignore[union-attr]
                    news.unregister(key.fileobj)
        if time.monotonic() >= due:
            due = time.monotonic() + 8
            for line in lines:
                with contextlib.suppress(OSError):
                    line.sendall(frame(b"ping"))


def attacker(relay: "AttackedRelay", user: str, file: str, pipe: Pipe) -> None:
    """Do a trick on each signal, with a lower priority than the measuring processes."""
    _run_at(0)
    pipe.send("ready")
    while True:
        name, seconds = pipe.recv()
        _quietly(TRICKS[name], Attack(relay, user, file, seconds))
        pipe.send("over")


def _run_at(niceness: int) -> None:
    """Use core 1 with this weight in a scheduler group of its own: otherwise it counts only within this terminal."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {GENERATOR_CORE})
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _run_ahead(pid: int) -> None:
    """Give a process priority on its core, if allowed: the machine's other work is noise.

    Use it only for a process that leaves its core idle now and then: otherwise the kernel stops it for the rest of each
    second.
    """
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))


def _quietly(what: Trick, attack: Attack) -> None:
    with contextlib.suppress(OSError):
        what(attack)


def rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class AttackedRelay(Relay):
    """A relay that accepts a sign-in with an old cursor."""

    after = ""

    def login(self, user: str) -> Connection:
        return Connection(self.port, self.tokens[user], self.after)


@dataclass
class Window:
    """The measurements of some seconds, quiet or under attack."""

    peak: float
    """MB."""
    core: float
    """The relay's share of a core."""
    sends: list[float]
    reads: list[float]

    def send(self, share: float) -> float:
        return quantile(self.sends, share)

    def read(self, share: float) -> float:
        return quantile(self.reads, share)


def quantile(times: list[float], share: float) -> float:
    """Return a quantile in milliseconds; two minutes if nothing came through."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] * 1_000 if times else 120_000.0


def middle(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """The quartiles."""
    if len(values) < 2:
        return "-"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.1f}-{high:.1f}"


Pairs = list[tuple[Window, Window]]
COLUMNS = (
    ("RSS+", 5),
    ("core", 5),
    ("core!", 6),
    ("p50", 6),
    ("p50!", 6),
    ("ratio", 6),
    ("p99", 6),
    ("quartiles", 11),
    ("p99!", 6),
    ("quartiles", 11),
    ("ratio", 6),
    ("quartiles", 10),
    ("read", 6),
    ("read!", 6),
    ("ratio", 6),
)
"""A `!` marks values under the trick."""


def columns(above: float, pairs: Pairs) -> list[str]:
    """The content of a line of the table."""

    def both(of: Callable[[Window], float]) -> tuple[list[float], list[float], list[float]]:
        calm, attacked = [of(one) for one, _ in pairs], [of(one) for _, one in pairs]
        return calm, attacked, [b / a for a, b in zip(calm, attacked, strict=True)]

    core, core_attacked, _ = both(lambda one: max(one.core, 0.001))
    half, half_attacked, half_ratio = both(lambda one: one.send(0.5))
    tail, tail_attacked, tail_ratio = both(lambda one: one.send(0.99))
    read, read_attacked, read_ratio = both(lambda one: one.read(0.99))
    return [
        f"{above:.0f}",
        f"{middle(core):.2f}",
        f"{middle(core_attacked):.2f}",
        f"{middle(half):.2f}",
        f"{middle(half_attacked):.2f}",
        f"{middle(half_ratio):.1f}",
        f"{middle(tail):.1f}",
        spread(tail),
        f"{middle(tail_attacked):.1f}",
        spread(tail_attacked),
        f"{middle(tail_ratio):.1f}",
        spread(tail_ratio),
        f"{middle(read):.1f}",
        f"{middle(read_attacked):.1f}",
        f"{middle(read_ratio):.1f}",
    ]


def line_of(name: str, cells: list[str]) -> str:
    return f"{name:<{NAME_WIDTH}}" + "".join(
        f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    )


TOLERATED, MEMORY = 2.0, 64.0
"""Maximum ratio of the others' p99, and maximum growth of the relay in MB."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=TREE, help="which relay")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each window is")
    parser.add_argument("--rounds", type=int, default=6, help="pairs of windows of each trick")
    parser.add_argument("--only", default="", help="tricks whose name has one of these in it, apart by |")
    parser.add_argument("--part", default="1/1", help="which part of the tricks: 2/4 is the second quarter")
    parser.add_argument("--ahead", action="store_true", help="run the relay before all else on its core (takes root)")
    options = parser.parse_args()
    part, parts = (int(one) for one in options.part.split("/"))
    names = [name for name in TRICKS if any(one in name for one in options.only.split("|"))]
    names = names[(part - 1) * len(names) // parts : part * len(names) // parts]
    store = Store(options.tree, ahead=options.ahead)
    worst = 0.0
    slow: list[str] = []
    print(line_of("trick", [name for name, _ in COLUMNS]), flush=True)
    try:
        for name in names:
            above, pairs = store.attack(name, options.seconds, options.rounds)
            worst = max(worst, above)
            if middle([attacked.send(0.99) / calm.send(0.99) for calm, attacked in pairs]) > TOLERATED:
                slow.append(name)
            print(line_of(name, columns(above, pairs)), flush=True)
    finally:
        store.remove()
    print(f"most memory above the quiet relay: {worst:.0f} MB; p99 more than {TOLERATED:g} times: {slow or 'nobody'}")
    return 1 if slow or worst > MEMORY else 0


class Store:
    """One store that is filled once; each trick gets a copy."""

    def __init__(self, tree: Path, *, ahead: bool = False) -> None:
        self._ahead = ahead
        self._work = Path(tempfile.mkdtemp(prefix="relay-attack-"))
        (self._work / "whole").mkdir()
        # The limits are under test, so use the defaults.
        self._relay = AttackedRelay(
            tree,
            users=MEMBERS,
            members=MEMBERS - 1,
            environment={"RELAY_LIMITS_REQUESTS_PER_SECOND": "2000"},
            data=self._work / "whole",
        )
        process = self._relay.start()
        fill(self._relay)
        process.stop()
        self.user = "u40"

    def attack(self, name: str, seconds: float, rounds: int) -> tuple[float, Pairs]:
        """Return the maximum MB that a trick took, and the others' measurements, in pairs of windows."""
        relay = self._relay
        data, relay.data = relay.data, self._work / "attacked"
        shutil.copytree(data, relay.data)
        process = relay.start()
        if self._ahead:
            _run_ahead(process.pid)
        try:
            with people(relay, self.user) as (prober, attacks):
                run(process.pid, prober, SETTLE)
                base = rss(process.pid)
                pairs: Pairs = []
                for _ in range(rounds):
                    calm = run(process.pid, prober, seconds)
                    if not pairs:
                        base = max(base, calm.peak)
                    attacks.send((name, seconds))
                    attacked = run(process.pid, prober, seconds)
                    attacks.recv()
                    pairs.append((calm, attacked))
                    time.sleep(SETTLE)
            return max(window.peak for _, window in pairs) - base, pairs
        finally:
            process.stop()
            shutil.rmtree(relay.data)
            relay.data = data

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._work, ignore_errors=True)


@contextlib.contextmanager
def people(relay: AttackedRelay, user: str) -> Iterator[tuple[Pipe, Pipe]]:
    """Start everybody; return the pipes of the measuring processes and of the attacker."""
    file = upload(relay, user)
    processes, pipes = [], []
    for what in (crowd, others, attacker):
        ours, theirs = multiprocessing.Pipe()
        arguments = (relay, user, file, theirs) if what is attacker else (relay, theirs)
        processes.append(multiprocessing.Process(target=what, args=arguments, daemon=True))
        processes[-1].start()
        pipes.append(ours)
        ours.recv()
    try:
        yield pipes[1], pipes[2]
    finally:
        for process in processes:
            process.kill()
            process.join()


def upload(relay: AttackedRelay, user: str) -> str:
    """Give the attacker a file, and its path."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as line:
        head = f"POST /files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {relay.tokens[user]}\r\n"
        line.sendall(f"{head}Connection: close\r\nContent-Length: {FILE_BYTES}\r\n\r\n".encode())
        line.sendall(os.urandom(FILE_BYTES))
        answer = b""
        while data := line.recv(65_536):
            answer += data
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["url"])


def run(pid: int, prober: Pipe, seconds: float) -> Window:
    """Let the honest members measure for this long."""
    peak = rss(pid)
    began, cpu = time.monotonic(), processor(pid)
    prober.send("go")
    while time.monotonic() < began + seconds:
        peak = max(peak, rss(pid))
        time.sleep(0.02)
    core = (processor(pid) - cpu) / (time.monotonic() - began)
    prober.send("stop")
    sends, reads_ = prober.recv() if prober.poll(120) else ([], [])
    return Window(peak, core, sends, reads_)


def fill(relay: AttackedRelay) -> None:
    """Let the members write the messages that the tricks need: large messages in the group, one in the attacker's
    notes."""
    one = relay.login("u2")
    for number in range(40):
        _write(one, relay.group, f"fill{number}")
    one.close()
    one = relay.login("u40")
    _write(one, relay.group, "fill-own")
    _write(one, "u40", "fill-notes")
    one.close()


def _write(connection: Connection, place: str, number: str) -> None:
    payload: dict[str, Any] = {"chatId": place, "clientMessageId": number, "message": TEXT}
    while "error" in _ask(connection, payload, number):
        time.sleep(0.2)


def _ask(connection: Connection, payload: dict[str, Any], number: str) -> dict[str, object]:
    text = str(payload["message"])
    body = (
        f'{{"type":"request","id":"{number}","payloadType":"new","payload":{{"chatId":"{payload["chatId"]}",'
        f'"clientMessageId":"{payload["clientMessageId"]}","message":"{text}"}}}}'
    )
    connection.socket.sendall(frame(body.encode()))
    while True:
        connection.receive()
        for one in connection.frames():
            if one.get("type") == "response" and one.get("id") == number:
                return one


if __name__ == "__main__":
    sys.exit(main())
