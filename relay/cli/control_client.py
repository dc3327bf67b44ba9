"""How a command reaches the relay: through the control socket while one runs, else by opening its file under the lock.

Commands do not know which way is used. The requests and their answers are in `protocol.control`.
"""

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar, overload

import msgspec

from relay.cli.errors import for_people
from relay.cli.offline import Busy, Damaged, Waiting, command_tuning, in_trio, opened
from relay.cli.output import Failure
from relay.net.sockets.socket_path import fitting
from relay.protocol import codec
from relay.protocol.control import LISTING_REQUESTS, READING_REQUESTS, Empty
from relay.protocol.control.table import EXPORT, STATUS_SHOW
from relay.protocol.envelopes import Event, Request, Response
from relay.protocol.errors import ErrorCode
from relay.protocol.request_type import ItemT, PayloadT, RequestType, ResponseT, StreamType
from relay.settings import control_socket
from relay.store.files import lock
from relay.store.files.directory import about_file

if TYPE_CHECKING:
    from relay.core.relay import Relay

T = TypeVar("T")

TakeItem = Callable[[ItemT], None]
"""Called with each item of a long answer as it arrives."""


class Ask(Protocol):
    """Makes a request, and returns its answer."""

    async def __call__(self, kind: RequestType[PayloadT, ResponseT], payload: PayloadT, /) -> ResponseT:
        """Make a request, like `ask`."""


class Answer(NamedTuple, Generic[ResponseT]):
    """The last line of an answer."""

    value: ResponseT


STOPPED = "the relay stopped before it answered: try again"
UNLIMITED = {
    "watch",
    "export",
    "prune",
    "import.user",
    "import.chat",
    "import.file",
    "import.picture",
    "import.messages",
} | {"import.end"}
"""Requests without a time limit. Before each of them, the client checks that the relay answers at all."""


class Stopped(Failure):
    """The relay stopped during a request."""


class RequestRefused(Failure):
    """The relay refused a request. `code` is for commands that have more to say about it."""

    def __init__(self, code: ErrorCode, message: str, quota: int | None = None) -> None:
        """Translate the message.

        Args:
            code: the error's code.
            message: the error's message as on the wire.
            quota: with `storage_full`: the bytes that the user may store, if their quota is full; None if the disk is.
        """
        super().__init__(for_people(message))
        self.code = code
        self.quota = quota
        self.exit_code = 2 if code == "bad_request" else 1


def _ignore(_item: object) -> None:
    """Drop an item."""


@overload
def ask(
    data: Path, kind: StreamType[PayloadT, ResponseT, ItemT], payload: PayloadT, *, items: Callable[[ItemT], None]
) -> ResponseT: ...
@overload
def ask(data: Path, kind: RequestType[PayloadT, ResponseT], payload: PayloadT, *, make: bool = False) -> ResponseT: ...
def ask(
    data: Path,
    kind: RequestType[PayloadT, ResponseT],
    payload: PayloadT,
    *,
    make: bool = False,
    items: TakeItem[ItemT] = _ignore,
) -> ResponseT:
    """Make a request and return its answer.

    Args:
        data: the data directory.
        kind: the request, from `control.table`.
        payload: its payload.
        make: whether to begin a store if there is none.
        items: called with each item that comes before the answer.

    Raises:
        Failure: the request was refused, or neither a relay nor its file can be reached.
    """

    def attempt() -> ResponseT:
        connection = _connect(control_socket(data))
        if connection is None:
            return _ask_file(data, kind, payload, make=make, items=items)
        with connection:
            return _converse(connection, kind, payload, items)

    waiting = Waiting()
    while True:
        try:
            return attempt()
        except Busy as busy:
            waiting.go_on(busy)


@overload
def ask_running(
    data: Path, kind: StreamType[PayloadT, ResponseT, ItemT], payload: PayloadT, *, items: Callable[[ItemT], None]
) -> ResponseT | None: ...
@overload
def ask_running(data: Path, kind: RequestType[PayloadT, ResponseT], payload: PayloadT) -> ResponseT | None: ...
def ask_running(
    data: Path, kind: RequestType[PayloadT, ResponseT], payload: PayloadT, *, items: TakeItem[ItemT] = _ignore
) -> ResponseT | None:
    """Make a request like `ask`, but only to a relay that runs or is starting.

    Args, Raises: see `ask`.

    Returns:
        The answer; None if no relay runs.
    """
    waiting = Waiting()
    while (connection := _connect(control_socket(data))) is None:
        who = lock.holder(data)
        if who is None or lock.SERVING not in who:
            return None
        waiting.go_on(Busy(data, who))
    with connection:
        return _converse(connection, kind, payload, items)


def _connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(command_tuning.get().answer_seconds)
    try:
        with fitting(path) as place:
            connection.connect(place)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except (BlockingIOError, TimeoutError):
        # The queue of the socket is full.
        connection.close()
        raise Failure(_silent("the relay")) from None
    except NotADirectoryError:
        # Opening the data directory reports the file that is there instead.
        connection.close()
        return None
    except PermissionError:
        connection.close()
        raise Failure(f"you may not use {path}: run this as root or as a member of the group relay") from None
    except OSError as error:
        connection.close()
        raise Failure(about_file(error, path)) from None
    return connection


def _request(kind: RequestType[PayloadT, ResponseT], payload: PayloadT) -> bytes:
    return codec.encode(Request(id="1", payload_type=kind.name, payload=msgspec.Raw(codec.encode(payload))))


def _converse(
    connection: socket.socket, kind: RequestType[PayloadT, ResponseT], payload: PayloadT, items: TakeItem[ItemT]
) -> ResponseT:
    if kind.name in UNLIMITED:
        exchange(connection, STATUS_SHOW, Empty(), _ignore)
    return exchange(connection, kind, payload, items)


def exchange(
    connection: socket.socket,
    kind: RequestType[PayloadT, ResponseT],
    payload: PayloadT,
    items: TakeItem[ItemT],
    seconds: float | None = None,
) -> ResponseT:
    """Send one request and read its answer. The time limit is for the first line alone.

    Args:
        connection: the connection to the control socket.
        kind: the request.
        payload: its payload.
        items: called with each item that comes before the answer.
        seconds: how long the relay may take for the first line; None for `CommandTuning.answer_seconds`.

    Raises:
        Stopped: the relay stopped meanwhile.
        Failure: it does not answer.
    """
    connection.settimeout(None if kind.name in UNLIMITED else seconds or command_tuning.get().answer_seconds)
    try:
        with connection.makefile("rb") as lines:
            first = _first_word(connection, lines, kind, payload)
            connection.settimeout(None)
            for line in chain([first], lines):
                if line in (b"", b"\n"):
                    continue
                answer = _take(kind, line, items)
                if answer is not None:
                    return answer.value
    except ConnectionResetError:
        pass
    raise Stopped(STOPPED)


def _first_word(
    connection: socket.socket, lines: IO[bytes], kind: RequestType[PayloadT, ResponseT], payload: PayloadT
) -> bytes:
    try:
        with contextlib.suppress(BrokenPipeError):
            # A relay that refuses the connection answers before the request.
            connection.sendall(_request(kind, payload) + b"\n")
        return lines.readline()
    except TimeoutError:
        changes = kind.name == "say" or kind.name not in READING_REQUESTS
        end = "; the change may still be made once it does" if changes else ""
        raise Failure(_silent(_process(connection)) + end) from None


def _silent(who: str) -> str:
    return f"{who} does not answer: `systemctl restart relay`, or end it and start it again"


def _process(connection: socket.socket) -> str:
    """Name the relay with its process id, if the kernel knows it."""
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"the relay (process {pid})" if pid else "the relay"


def _take(kind: RequestType[PayloadT, ResponseT], line: bytes, items: TakeItem[ItemT]) -> Answer[ResponseT] | None:
    """Decode one line of an answer, and pass it on if it is an item.

    Returns:
        The answer, if it is the last line.

    Raises:
        RequestRefused: it is a refusal.
    """
    frame = codec.decode_server_frame(line)
    if isinstance(frame, Event):
        assert isinstance(kind, StreamType), f"{kind.name} is sent no items"
        items(msgspec.json.decode(frame.payload, type=kind.item))
        return None
    if frame.error is not None:
        raise RequestRefused(frame.error.code, frame.error.message, frame.error.quota)
    assert isinstance(frame, Response)
    return Answer(msgspec.json.decode(frame.payload, type=kind.response))


def _ask_file(
    data: Path, kind: RequestType[PayloadT, ResponseT], payload: PayloadT, *, make: bool, items: TakeItem[ItemT]
) -> ResponseT:
    """Make a request by opening the file, while no relay runs on it."""
    import trio

    async def once() -> ResponseT:
        begun = False

        def take(item: ItemT) -> None:
            nonlocal begun
            begun = True
            items(item)

        try:
            async with opened(data, make=make, reads=kind.name in LISTING_REQUESTS) as relay:
                return await _ask_relay(relay, kind, payload, take)
        except Damaged:
            if kind.name != EXPORT.name or begun:
                raise
        async with opened(data, make=False, reads=True, damaged=True) as relay:
            return await _ask_relay(relay, kind, payload, items)

    return in_trio(trio.run, once)


async def _ask_relay(
    relay: "Relay", kind: RequestType[PayloadT, ResponseT], payload: PayloadT, items: TakeItem[ItemT]
) -> ResponseT:
    """Make a request to a relay that this process has opened."""
    from relay.net import control_socket as control

    async def send(line: bytes) -> None:
        if line:
            _take(kind, line, items)

    answer = _take(kind, await control.answer(relay.admin, relay.clock, _request(kind, payload), send), items)
    assert answer is not None
    return answer.value


@asynccontextmanager
async def conversation(data: Path, *, make: bool = False, reads: bool = False) -> AsyncIterator[Ask]:
    """Make many requests over one connection, or on the file opened once. For code that runs in trio.

    Args:
        data: the data directory.
        make: whether to begin a store if there is none.
        reads: whether all of them only read.

    Raises:
        Failure: as `ask`.
    """
    async with AsyncExitStack() as stack:
        waiting = Waiting()
        while True:
            try:
                ask_one = await _reach(stack, data, make=make, reads=reads)
                break
            except Busy as busy:
                waiting.go_on(busy)
        yield ask_one


async def _reach(stack: AsyncExitStack, data: Path, *, make: bool, reads: bool) -> Ask:
    """Connect to the relay, or open its file, until the stack is closed."""
    import trio

    connection = _connect(control_socket(data))
    if connection is None:
        relay = await stack.enter_async_context(opened(data, make=make, reads=reads))

        async def ask_here(kind: RequestType[PayloadT, ResponseT], payload: PayloadT, /) -> ResponseT:
            return await _ask_relay(relay, kind, payload, _ignore)

        return ask_here

    stack.enter_context(connection)

    async def ask_there(kind: RequestType[PayloadT, ResponseT], payload: PayloadT, /) -> ResponseT:
        return await trio.to_thread.run_sync(_converse, connection, kind, payload, _ignore)

    return ask_there
