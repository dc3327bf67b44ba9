"""The README's blocks for programs do what the README says, against a relay on a real socket."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import trio
from trio_websocket import open_websocket_url

from tests.support.http_relay import HttpRelay, http_relay

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(json|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
URL = "ws://relay.local:8765/ws"


def block(language: str) -> str:
    """Return the README's only block in a language."""
    (found,) = (text for named, text in BLOCK.findall(README.read_text("utf-8")) if named == language)
    return str(found)


def messages_to_anna(relay: HttpRelay) -> int:
    return sum(chat.last_message_id for chat in relay.relay.state.chats.values() if chat.id is None)


async def test_the_readmes_frame_is_answered_as_a_message(tmp_path: Path) -> None:
    async with http_relay(tmp_path / "data") as relay:
        await relay.user("anna")
        headers = [(b"authorization", f"Bearer {await relay.user('User1')}".encode())]
        url = f"ws://{relay.host}/ws"
        async with open_websocket_url(url, extra_headers=headers) as socket:
            await socket.send_message(block("json").strip())
            with trio.fail_after(5):
                while (frame := json.loads(await socket.get_message()))["type"] != "response":
                    pass
        assert (frame["id"], frame["payload"]["messageId"]) == ("1", 1)
        assert messages_to_anna(relay) == 1


async def test_the_readmes_python_program_sends_and_prints_events(tmp_path: Path) -> None:
    async with http_relay(tmp_path / "data") as relay:
        await relay.user("anna")
        token = await relay.user("User1")
        source = block("python")
        assert URL in source
        program = source.replace(URL, f"ws://{relay.host}/ws")
        names: dict[str, Any] = {}
        exec(f"async def main(token, print):\n{textwrap.indent(program, '    ')}", names)
        printed: list[str] = []
        with trio.fail_after(5), trio.CancelScope() as running:

            def note(name: str, _payload: object) -> None:
                printed.append(name)
                running.cancel()

            await names["main"](token, note)
        assert printed == ["chats"]
        assert messages_to_anna(relay) == 1
