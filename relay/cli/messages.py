"""`relay send` and `relay tail`: send and receive messages from a terminal or a script."""

import contextlib
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from relay.cli.control_client import RequestRefused, Stopped, ask, ask_running
from relay.cli.offline import in_trio
from relay.cli.options import Data, Json, complete_user
from relay.cli.output import Failure, WrongUse, as_json, moment, say, visible
from relay.exception_groups import first_error
from relay.protocol import codec, control, events
from relay.protocol.control.table import SAY, TEMPORARY_TOKEN, WATCH
from relay.protocol.requests import Accepted
from relay.settings import data_directory
from relay.unicode.unseen import is_blank

if TYPE_CHECKING:
    from relay.client.received import Received

MAY_COME_BACK = {"unavailable", "storage_full"}
"""Refusals after which a retry may succeed."""
RECONNECT_SECONDS = 0.5
"""Seconds between two tries."""
LONGEST_WAIT_SECONDS = 60.0
"""The longest accepted Retry-After of a refused connection."""


def send(
    chat_id: Annotated[
        str, typer.Argument(metavar="CHAT", help="A user's id, or a group's id or name.", show_default=False)
    ],
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The message; - reads it from standard input.", show_default=False)
    ],
    as_: Annotated[
        str,
        typer.Option(
            "--as", metavar="USER", help="The user who sends it.", show_default=False, autocompletion=complete_user
        ),
    ],
    timeout: Annotated[float, typer.Option(help="Seconds to try for while the relay cannot save the message.")] = 30.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Send a message. Returns once it is on disk, whether a relay runs or not.

    Example: relay send --as alarm ops "door open"
    """
    message = control.Say(
        user_id=as_,
        chat_id=chat_id,
        message=sys.stdin.read().rstrip("\n") if text == "-" else text,
        client_message_id=str(uuid.uuid4()),
    )
    if is_blank(message.message):
        raise WrongUse("there is nothing to send: TEXT has nothing that can be seen")
    accepted = _say(data_directory(data), message, time.monotonic() + timeout)
    if json:
        as_json(accepted)


def _say(data: Path, message: control.Say, until: float) -> Accepted:
    """Retry until the message is saved. It has the same idempotency key each time, so it cannot arrive twice."""
    while True:
        try:
            return ask(data, SAY, message)
        except RequestRefused as refused:
            if refused.code not in MAY_COME_BACK or time.monotonic() + RECONNECT_SECONDS > until:
                raise
        time.sleep(RECONNECT_SECONDS)


def tail(
    chat: Annotated[
        str | None,
        typer.Argument(metavar="[CHAT]", help="Only this chat: a group's id or name, or anna~ben for a dialog."),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="USER",
            help="What this user receives.",
            show_default=False,
            autocompletion=complete_user,
        ),
    ] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Show the texts of messages, too.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Print what happens from now on, until interrupted. Without --as: in all chats, without texts.

    With --as this is one more device of the user: they are online meanwhile, and messages count as delivered.

    Example: relay tail --as anna
    """
    where = data_directory(data)
    with contextlib.suppress(KeyboardInterrupt):
        if as_ is not None:
            _listen(where, as_, chat, json=json)
            return

        def show(item: control.EntryInfo) -> None:
            if json:
                as_json(item)
            else:
                print(f"{moment(item.timestamp)}  {visible(describe(item))}", flush=True)

        try:
            watched = ask_running(where, WATCH, control.Watch(chat=chat, texts=texts), items=show)
        except Stopped:
            raise Failure("the relay stopped: nothing more happens") from None
        if watched is None:
            raise Failure(f"no relay runs on {where}: `relay serve` starts one")


def describe(item: control.EntryInfo) -> str:
    """Describe an entry of the log in one line."""
    where = f"[{item.chat_name or item.chat}]" if item.chat else ""
    number = f" #{item.original_message_id or item.message_id}" if item.message_id else ""
    match item.event_type:
        case "new" | "edit":
            said = item.message if item.message is not None else f"({item.characters or 0} characters)"
            files = f" (+{item.attachments} files)" if item.attachments else ""
            verb = "edited: " if item.event_type == "edit" else ""
            return f"{where}{number} {item.actor}: {verb}{said}{files}"
        case "delete":
            return f"{where}{number} deleted by {item.actor}"
        case "dlvrd" | "read":
            return f"{where}{number} {'delivered to' if item.event_type == 'dlvrd' else 'read by'} {item.actor}"
    return f"{item.actor}: {describe_change(item)}"


def describe_change(item: control.EntryInfo) -> str:
    """Describe a change of a user, device, chat or setting in one line."""
    where = f"[{item.chat_name or item.chat}] " if item.chat else ""
    details = ", ".join(f"{name} {_plain(value)}" for name, value in (item.details or {}).items())
    return f"{where}{_words(item.change or item.event_type)}: {details}".removesuffix(": ")


def _plain(value: control.Value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _words(change: str) -> str:
    """Split a name such as `userAdded` into words."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in change)


def _listen(data: Path, user_id: str, chat: str | None, *, json: bool) -> None:
    """Listen as a user, like any WebSocket client; wait for a relay that stops or is full."""
    request = control.TemporaryTokenRequest(id=user_id, chat=chat)
    token = ask_running(data, TEMPORARY_TOKEN, request)
    if token is None:
        raise Failure(f"no relay runs on {data}: `relay serve` starts one")
    chat_id: str | None = token.chat_id
    last: int | None = None
    said = ""

    def show(event: "Received") -> None:
        nonlocal last
        last = event.id or last
        if chat_id in (None, getattr(event.payload, "chat_id", None)):
            _print(event, json=json)

    while True:
        failed = hear(token, last, show)
        if failed is None:
            said = ""
        else:
            if failed.reason != said:
                say(f"relay: cannot connect yet: {failed.reason}", error=True)
            said = failed.reason
            time.sleep(failed.wait_seconds)
        token = _wait(data, request)


class _NotConnected(NamedTuple):
    """Why there is no connection at present."""

    reason: str
    wait_seconds: float


def hear(token: control.TemporaryToken, after: int | None, show: Callable[["Received"], None]) -> _NotConnected | None:
    """Show events until the connection is lost.

    Args:
        token: a temporary token, and where the relay is.
        after: the last event that was shown; None for from now on.
        show: shows an event.

    Returns:
        Why there was no connection, or why it broke; None if the relay closed it.

    Raises:
        Failure: the user may not sign in any more.
    """
    import trio

    from relay.client import CONNECTION_ERRORS, CannotConnect, SignedOut, connect

    async def listen() -> None:
        async with connect(token.url, token.token, after=after, reconnect=False) as relay:
            async for event in relay:
                show(event)

    try:
        in_trio(trio.run, listen)
    except (SignedOut, CannotConnect) as error:
        raise Failure(str(error)) from None
    except CONNECTION_ERRORS as error:
        return _not_connected(token.url, error)
    return None


def _not_connected(url: str, error: BaseException) -> _NotConnected:
    """Say why there is no connection: the relay's answer to the handshake, or the system's error."""
    from trio import TooSlowError
    from trio_websocket import ConnectionRejected

    if not isinstance(error, ConnectionRejected):
        why = "no answer in time" if isinstance(error, TooSlowError) else _first_cause(error)
        return _NotConnected(f"{url} cannot be reached: {why}", 0.0)
    try:
        reason = str(msgspec.json.decode(error.body or b"")["error"]["message"])
    except (msgspec.DecodeError, TypeError, LookupError):
        reason = f"HTTP {error.status_code}"
    header = next((value for name, value in error.headers if name.lower() == b"retry-after"), b"")
    return _NotConnected(reason, min(float(header), LONGEST_WAIT_SECONDS) if header.isdigit() else 0.0)


def _first_cause(error: BaseException) -> str:
    """Name the cause of an error. An address is tried in several ways, of which trio raises a group."""
    cause = first_error(error.__cause__ or error)
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__


def _wait(data: Path, request: control.TemporaryTokenRequest) -> control.TemporaryToken:
    """Wait until a relay runs, and say so; return a new token, because a stopped relay forgets the old one."""
    said = False
    while True:
        time.sleep(RECONNECT_SECONDS)
        with contextlib.suppress(Stopped):
            token = ask_running(data, TEMPORARY_TOKEN, request)
            if token is not None:
                return token
        if not said:
            say("relay: the relay stopped: waiting for it", error=True)
            said = True


def _print(event: "Received", *, json: bool) -> None:
    if json:
        payload = msgspec.Raw(codec.encode(event.payload))
        as_json({"id": event.id, "timestamp": event.timestamp, "eventType": event.name, "payload": payload})
        return
    print(f"{moment(event.timestamp)}  {visible(_line(event))}", flush=True)


def _line(event: "Received") -> str:
    payload = event.payload
    match payload:
        case events.NewEvent():
            said = payload.message or ", ".join(one.filename for one in payload.attachments or []) or "(deleted)"
            return f"[{payload.chat_id} #{payload.message_id}] {payload.sender}: {said}"
        case events.EditEvent():
            return f"[{payload.chat_id} #{payload.original_message_id}] edited: {payload.message}"
        case events.DeleteEvent():
            return f"[{payload.chat_id} #{payload.original_message_id}] deleted"
        case events.Delivered():
            return f"[{payload.chat_id} #{payload.message_id}] delivered to {payload.user_id}"
        case events.Read():
            return f"[{payload.chat_id} #{payload.message_id}] read by {payload.user_id}"
        case events.Typing():
            return f"[{payload.chat_id}] {payload.user_id} {'stopped typing' if payload.stop else 'is typing'}"
        case events.Online() | events.Offline():
            return f"{payload.user_id} is {event.name}"
        case list():
            return "1 chat" if len(payload) == 1 else f"{len(payload)} chats"
        case _:
            return event.name
