"""The client of the end-to-end tests: trio-websocket as bundled with the relay, and none of our code.

    chat.py say TOKEN PEER TEXT [--from ADDRESS]   one message; prints its messageId
    chat.py count TOKEN PEER                       prints how many messages that chat has
    chat.py idle TOKEN N                           N connections that do nothing, until killed
    chat.py converse TOKEN1 TOKEN2 STOP [--messages N]
                                                   User1 to User2 without a pause, and newcomers knocking
                                                   all the time, until the file STOP is there or N messages
                                                   were answered; prints what happened to connections and
                                                   messages, as JSON

Run with the relay's libraries in PYTHONPATH.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
import trio_websocket

PORT = int(os.environ.get("RELAY_PORT", "8765"))
WAIT_SECONDS = 25
PAUSE = 0.01


class Chat:
    """One device's connection."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self.socket = socket

    async def ask(self, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Make a request and wait for the answer; skip frames before it."""
        request_id = str(uuid.uuid4())
        await self.tell(
            {"type": "request", "id": request_id, "timestamp": now(), "payloadType": name, "payload": payload}
        )
        while True:
            message: dict[str, Any] = json.loads(await self.socket.get_message())
            if message.get("type") == "response" and message["id"] == request_id:
                return message

    async def tell(self, message: dict[str, Any]) -> None:
        """Send one frame."""
        await self.socket.send_message(json.dumps(message))


def now() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


async def connected(nursery: trio.Nursery, token: str, host: str = "127.0.0.1", source: str | None = None) -> Chat:
    """Open one connection.

    Raises:
        OSError: nobody listens.
        HandshakeError: the relay refused the handshake.
    """
    stream = await trio.open_tcp_stream(host, PORT, local_address=source)
    socket = await trio_websocket.wrap_client_stream(
        nursery, stream, f"{host}:{PORT}", "/ws", extra_headers=[(b"authorization", f"Bearer {token}".encode())]
    )
    return Chat(socket)


async def once(options: argparse.Namespace) -> None:
    """Do one thing on one connection."""
    source = getattr(options, "source", None)
    with trio.fail_after(WAIT_SECONDS):
        async with trio.open_nursery() as nursery:
            chat = await connected(nursery, options.token, source or "127.0.0.1", source)
            if options.what == "say":
                payload = {"chatId": options.peer, "clientMessageId": str(uuid.uuid4()), "message": options.text}
                print((await chat.ask("new", payload))["payload"]["messageId"])
            else:
                print(len((await chat.ask("messages", {"chatId": options.peer, "count": 500}))["payload"]))
            nursery.cancel_scope.cancel()


async def idle(options: argparse.Namespace) -> None:
    """Hold connections open."""
    async with trio.open_nursery() as nursery:
        chats = [await connected(nursery, options.token) for _ in range(options.number)]
        print("ready", flush=True)
        while True:
            await trio.sleep(8)
            for chat in chats:
                await chat.socket.send_message("ping")


class Conversation:
    """User1 writes, User2 reads, strangers try to sign in; all reconnect when their connection ends."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tokens = options.token1, options.token2
        self.stop = Path(options.stop)
        self.enough = options.messages
        self.answered: dict[str, int] = {}
        """The messageId of each client id."""
        self.received: dict[str, int] = {}
        self.closed: Counter[str] = Counter()
        """How accepted connections ended, by close code."""
        self.wrong: list[Any] = []
        self.waiting = ""
        """The client id of a message that has no answer yet."""
        self.refused = self.cut = self.knocks = 0
        self.slowest = 0.0

    async def stay(self, token: str, talk: Callable[[Chat], Awaitable[None]]) -> None:
        """Talk over as many connections as needed."""
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    chat = await connected(nursery, token)
                    await talk(chat)
                    nursery.cancel_scope.cancel()
                    return
            except* trio_websocket.ConnectionClosed as group:
                self.closed[self.code(group)] += 1
            except* trio_websocket.ConnectionRejected:
                self.closed["503"] += 1
            except* (trio_websocket.HandshakeError, trio.BrokenResourceError, ConnectionResetError):
                self.cut += 1
            except* OSError:
                self.refused += 1
            await trio.sleep(PAUSE)

    def over(self) -> bool:
        """Whether enough messages were sent."""
        return self.stop.exists() or 0 < self.enough <= len(self.answered)

    @staticmethod
    def code(group: BaseException) -> str:
        """The close code within a group of errors."""
        error = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, trio_websocket.ConnectionClosed)
        return str(error.reason.code) if error.reason else "none"

    async def write(self, chat: Chat) -> None:
        """One message after the other; what was not answered is sent again under the same id."""
        while not self.over():
            if not self.waiting:
                self.waiting = str(uuid.uuid4())
            began = trio.current_time()
            payload = {"chatId": "User2", "clientMessageId": self.waiting, "message": self.waiting}
            answer = await chat.ask("new", payload)
            if "error" in answer:
                if answer["error"]["code"] != "unavailable":
                    self.wrong.append(answer["error"])
                await trio.sleep(PAUSE)
                continue
            self.slowest = max(self.slowest, trio.current_time() - began)
            self.answered[self.waiting] = answer["payload"]["messageId"]
            self.waiting = ""
            await trio.sleep(PAUSE)

    async def read(self, chat: Chat) -> None:
        """Receive and acknowledge events."""
        while True:
            message = json.loads(await chat.socket.get_message())
            if message.get("eventType") == "new" and message["payload"]["chatId"] == "User1":
                self.received[message["payload"]["clientMessageId"]] = message["payload"]["messageId"]
                await chat.tell({"type": "ack", "id": message["id"]})

    async def knock(self) -> None:
        """Reconnect all the time with an invalid token, which gets a short answer."""
        while not self.over():
            began = trio.current_time()
            try:
                async with await trio.open_tcp_stream("127.0.0.1", PORT) as stream:
                    await stream.send_all(b"GET /ws HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
                    answer = b"".join([data async for data in stream])
                self.knocks += 1
                self.cut += not answer.startswith(b"HTTP/1.1 ")
            except trio.BrokenResourceError:
                self.cut += 1
            except OSError:
                self.refused += 1
            self.slowest = max(self.slowest, trio.current_time() - began)
            await trio.sleep(PAUSE / 2)

    async def run(self) -> None:
        """Converse until the stop signal and until everything has arrived; report."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.stay, self.tokens[1], self.read)
            async with trio.open_nursery() as ending:
                ending.start_soon(self.stay, self.tokens[0], self.write)
                ending.start_soon(self.knock)
            with trio.move_on_after(WAIT_SECONDS):
                while set(self.answered) - set(self.received):  # noqa: ASYNC110 - a test may look now and then
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        lost = set(self.answered) - set(self.received)
        differ = [one for one, message_id in self.answered.items() if self.received.get(one, message_id) != message_id]
        twice = len(self.answered) - len(set(self.answered.values()))
        print(
            json.dumps(
                {
                    "refused": self.refused, "cut": self.cut, "closed": dict(self.closed), "knocks": self.knocks,
                    "sent": len(self.answered), "lost": len(lost), "differ": len(differ), "twice": twice,
                    "wrong": self.wrong[:3], "slowest": round(self.slowest, 2),
                }
            )
        )  # fmt: skip


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    say = commands.add_parser("say")
    say.add_argument("token")
    say.add_argument("peer")
    say.add_argument("text")
    say.add_argument("--from", dest="source")
    count = commands.add_parser("count")
    count.add_argument("token")
    count.add_argument("peer")
    hold = commands.add_parser("idle")
    hold.add_argument("token")
    hold.add_argument("number", type=int)
    converse = commands.add_parser("converse")
    for name in ("token1", "token2", "stop"):
        converse.add_argument(name)
    converse.add_argument("--messages", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.what == "converse":
            trio.run(Conversation(options).run)
        else:
            trio.run(idle if options.what == "idle" else once, options)
    except* (OSError, trio.TooSlowError, trio_websocket.HandshakeError, trio_websocket.ConnectionClosed) as group:
        sys.exit(f"chat.py: {group.exceptions[0]!r}")


main()
