"""How a command reaches the relay: through the control socket while one runs, else on the file under its lock.

The commands above never know which.
"""

import socket
from pathlib import Path
from typing import Any

import msgspec
import trio

from relay.cli.output import Failure
from relay.core.relay import open_relay
from relay.protocol import codec
from relay.protocol.base import Wire
from relay.protocol.control import CONTROL
from relay.protocol.envelopes import Request, Response
from relay.settings import control_socket
from relay.store.lock import Locked


def ask(data: Path, name: str, payload: Wire, *, make: bool = False) -> Any:
    """Ask for one thing and give its answer, of the type that `CONTROL` names.

    Args:
        data: the data directory.
        name: the request's `payloadType`.
        payload: its payload.
        make: whether to make a data directory where there is none.

    Raises:
        Failure: it was refused, or neither a relay nor its file could be reached.
    """
    request = Request(id="1", payload_type=name, payload=msgspec.Raw(codec.encode(payload)))
    answer = _ask_running(control_socket(data), codec.encode(request))
    if answer is None:
        answer = _ask_file(data, codec.encode(request), make=make)
    response = codec.decode_server_frame(answer)
    assert isinstance(response, Response)
    if response.error is not None:
        raise Failure(response.error.message)
    return msgspec.json.decode(response.payload, type=CONTROL[name].response)


def _ask_running(path: Path, line: bytes) -> bytes | None:
    """Ask the relay that runs; None where none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError:
            raise Failure(f"you may not use {path}: run this as root or as a member of its group") from None
        connection.sendall(line + b"\n")
        with connection.makefile("rb") as answers:
            answer = answers.readline()
    if not answer:
        raise Failure("the relay stopped before it answered: try again")
    return answer


def _ask_file(data: Path, line: bytes, *, make: bool) -> bytes:
    """Ask the file itself, while no relay runs on it."""
    from relay.net import control

    if not data.is_dir():
        if not make:
            raise Failure(f"there is no relay in {data}: `relay serve` makes one, or name another with --data")
        data.mkdir(mode=0o750, parents=True)

    async def once() -> bytes:
        async with open_relay(data) as relay:
            return await control.answer(relay.admin, relay.clock, line)

    try:
        return trio.run(once)
    except Locked as error:
        raise Failure(f"{error}, but its control socket does not answer") from None
    except PermissionError as error:
        raise Failure(f"you may not use {error.filename or data}: run this as the relay's user or as root") from None
