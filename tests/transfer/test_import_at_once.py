"""Imports into a running relay: one at a time, each with its own files; a killed one leaves nothing behind."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from relay.core.relay import Relay, open_relay
from relay.net import control_socket as socket
from relay.protocol import control


class Importer(trio.abc.AsyncResource):
    """A connection to the control socket, like that of `relay import`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def ask(self, name: str, payload: Any) -> Any:
        request = {"type": "request", "id": "1", "payloadType": name, "payload": msgspec.to_builtins(payload)}
        await self.stream.send_all(json.dumps(request).encode() + b"\n")
        return json.loads(await self.stream.receive_some())

    async def piece(self, sender: str, data: bytes, *, first: bool, more: bool, size: int = 8) -> Any:
        file = control.FileImport(sender=sender, name=sender, size=size, data=data, first=first, more=more, at=1)
        return await self.ask("import.file", file)


@asynccontextmanager
async def serving(data: Path) -> AsyncIterator[Relay]:
    async with open_relay(data) as relay, trio.open_nursery() as nursery:
        for user in ("anna", "ben"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        await nursery.start(socket.serve, data / "relay.sock", relay.admin, relay.clock)
        yield relay
        nursery.cancel_scope.cancel()


async def importer(data: Path) -> Importer:
    return Importer(await trio.open_unix_socket(data / "relay.sock"))


def contents(data: Path) -> list[bytes]:
    return [path.read_bytes() for path in (data / "files").rglob("*") if path.is_file()]


async def test_a_file_of_one_import_gets_no_piece_of_another(tmp_path: Path) -> None:
    async with serving(tmp_path), await importer(tmp_path) as one, await importer(tmp_path) as other:
        await one.piece("anna", b"ANNA", first=True, more=True)
        refused = await other.piece("ben", b"BENS", first=True, more=True)
        assert refused["error"]["code"] == "unavailable"
        assert "another import" in refused["error"]["message"]
        await one.piece("anna", b"anna", first=False, more=False)
        assert contents(tmp_path) == [b"ANNAanna"]
        # Requests that change nothing are allowed meanwhile.
        dry = control.FileImport(sender="ben", name="b", size=1, at=1, dry=True)
        assert "error" not in await other.ask("import.file", dry)


async def test_a_killed_import_frees_its_turn_and_its_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as relay:
        one = await importer(tmp_path)
        await one.piece("anna", b"half", first=True, more=True, size=1_000)
        await one.aclose()
        with trio.fail_after(5):
            while contents(tmp_path):
                await trio.sleep(0.01)
        assert not relay.files.quota.reserved_bytes
        async with await importer(tmp_path) as again:
            await again.piece("anna", b"whole", first=True, more=False, size=5)
        assert contents(tmp_path) == [b"whole"]


async def test_a_killed_import_leaves_the_log_at_the_present_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as relay:
        one = await importer(tmp_path)
        chat = control.ChatImport(kind="dialog", participants=["anna", "ben"], at=1)
        assert (await one.ask("import.chat", chat))["payload"]["added"]
        message = control.MessageImport(
            participants=["anna", "ben"], sender="anna", client_message_id="1", text="old", at=1_000
        )
        await one.ask("import.messages", control.MessagesImport(messages=[message]))
        before = relay.state.seq
        await one.aclose()
        with trio.fail_after(5):
            while relay.state.seq == before:
                await trio.sleep(0.01)
        (key,) = relay.state.chats
        assert not any(relay.state.missed(relay.state.chats[key], user) for user in relay.state.members[key])
