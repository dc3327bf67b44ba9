"""`relay send` and `relay tail`: talk and listen from a terminal, as any WebSocket client does."""

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
import typer

from relay.cli.door import ask
from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, when
from relay.client import Received, SignedOut, connect
from relay.protocol import codec, control, events
from relay.protocol.errors import RelayError
from relay.settings import data_directory

As = Annotated[str, typer.Option("--as", metavar="USER", help="Who talks.", show_default=False)]


def _lent(data: Path, user_id: str) -> control.Lent:
    lent = ask(data, "lend", control.OneUser(id=user_id))
    assert isinstance(lent, control.Lent)
    return lent


def send(
    chat_id: Annotated[str, typer.Argument(metavar="CHAT", help="A user's id or a group's.", show_default=False)],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.", show_default=False)],
    as_: As = ...,  # type: ignore[assignment]
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Send a message; done once the relay has it on disk.

    Example: relay send --as alarm ops "door open"
    """
    lent = _lent(data_directory(data), as_)

    async def say() -> Any:
        with trio.fail_after(timeout):
            async with connect(lent.url, lent.token) as relay:
                return await relay.send(chat_id, text)

    try:
        accepted = trio.run(say)
    except* RelayError as errors:
        raise Failure(_first(errors).error.message) from None
    except* trio.TooSlowError:
        raise Failure(f"the relay did not answer within {timeout:g} s") from None
    except* SignedOut as errors:
        raise Failure(str(_first(errors))) from None
    if json:
        as_json(accepted)


def _first(group: BaseExceptionGroup[Any]) -> Any:
    error: Any = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def tail(
    chat_id: Annotated[str | None, typer.Argument(metavar="[CHAT]", help="Only this chat.")] = None,
    as_: As = ...,  # type: ignore[assignment]
    data: Data = None,
    json: Json = False,
) -> None:
    """Listen: print what happens from now on, until interrupted.

    Example: relay tail --as anna
    """
    lent = _lent(data_directory(data), as_)

    async def listen() -> None:
        async with connect(lent.url, lent.token) as relay:
            async for event in relay:
                if chat_id in (None, getattr(event.payload, "chat_id", None)):
                    _print(event, json=json)

    try:
        trio.run(listen)
    except* SignedOut as errors:
        raise Failure(str(_first(errors))) from None
    except* KeyboardInterrupt:
        raise typer.Exit from None


def _print(event: Received, *, json: bool) -> None:
    if json:
        payload = msgspec.Raw(codec.encode(event.payload))
        as_json({"id": event.id, "timestamp": event.timestamp, "eventType": event.name, "payload": payload})
        return
    print(f"{when(event.timestamp or time.time_ns() // 1_000_000)}  {_line(event)}", flush=True)


def _line(event: Received) -> str:
    payload = event.payload
    match payload:
        case events.New():
            said = payload.message or ", ".join(one.filename for one in payload.attachments or []) or "(deleted)"
            return f"[{payload.chat_id} #{payload.message_id}] {payload.sender}: {said}"
        case events.Edit():
            return f"[{payload.chat_id} #{payload.original_message_id}] edited: {payload.message}"
        case events.Delete():
            return f"[{payload.chat_id} #{payload.original_message_id}] deleted"
        case events.Delivered():
            return f"[{payload.chat_id} #{payload.message_id}] delivered to {payload.user_id}"
        case events.Read():
            return f"[{payload.chat_id} #{payload.message_id}] read by {payload.user_id}"
        case events.Typing():
            return f"[{payload.chat_id}] {payload.user_id} {'stopped typing' if payload.stop else 'is typing'}"
        case events.Online() | events.Offline():
            return f"{payload.user_id} is {event.name}"
        case _:
            return f"{len(payload)} chats"
