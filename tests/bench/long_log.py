"""What reads cost somebody to whom little was said, in a file that others have filled.

    python tests/bench/long_log.py [--messages 5000000] [--keep DIRECTORY]

Prints waits and the relay's CPU with ten thousand messages and with so many, on loopback, and their ratios.
"""

import os
import shutil
import socket
import statistics
import tempfile
import time
import uuid
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import trio
from endurance import (
    BATCH,
    TEXT,
    _ask_file,
    _taken,
    _throughput,
    _wait_for_the_index,
    count,
    frame,
    free_port,
    join,
    prepare,
    served,
)

from relay.core.commands import Command
from relay.core.relay import Relay, open_relay
from relay.protocol import codec, control, requests
from relay.protocol.base import Wire
from relay.protocol.envelopes import Request

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
            await _say(relay, "c", 0, SAID, relay.state.user_keys[other])
        for start in range(0, messages, BATCH):
            await _say(relay, "b", start, min(BATCH, messages - start), 1)
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
            # What is measured syncs, and would wait for the copy as well.
            os.sync()
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


async def _say(relay: Relay, to: str, start: int, number: int, author: int) -> None:
    done, left = trio.Event(), number

    def answer(_payload: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for one in range(start, start + number):
        text = f"word{one:07} {TEXT}"[:120]
        request = requests.New(chat_id=to, client_message_id=str(uuid.uuid4()), message=text)
        relay.log.append(Command(relay.clock(), author, 0, request), answer)
    await done.wait()


def main() -> None:
    """Measure."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--keep", type=Path, help="where the stores stay, so that the next run need not make them")
    chosen = parser.parse_args()
    size(chosen.messages, chosen.keep)


if __name__ == "__main__":
    main()
