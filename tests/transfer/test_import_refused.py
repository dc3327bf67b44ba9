"""Refusals of an import only cost the refused objects, and `--dry-run` predicts them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from relay.cli.control_client import RequestRefused
from relay.cli.importers.formats.detect import open_source
from relay.cli.importers.importing import Importing
from relay.core.relay import Relay, open_relay
from relay.keys import NO_DEVICE
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.request_type import RequestType
from tests.support.command_line import done
from tests.support.foreign_exports import T0, brought, folder, records, texts, workspace
from tests.support.picture_files import png


async def _set_picture(data: Path, user: str) -> None:
    async with open_relay(data) as relay:
        rest = [b"", png()]

        async def piece() -> bytes:
            return rest.pop()

        found = relay.state.user(user)
        assert found is not None
        file = await relay.files.receive(found.key, NO_DEVICE, "me.png", None, piece)
        await relay.admin.handle("user.change", control.ChangeUser(id=user, photo_url=file.url))


def _export(there: Path, name: str) -> Path:
    file = there.parent / name
    done("export", "--files", file, data=there)
    return file


def _talk(there: Path) -> Path:
    """An export in which anna writes to carl, who has a picture."""
    for user in ("anna", "carl"):
        done("user", "add", user, data=there)
    done("send", "--as", "anna", "carl", "hello carl", data=there)
    trio.run(_set_picture, there, "carl")
    return _export(there, "one.tar")


@pytest.mark.parametrize("removed", ["here", "there", "nowhere"])
def test_picture_of_a_removed_user_is_left_out_and_everything_else_comes(tmp_path: Path, removed: str) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for user in ("anna", "carl"):
        done("user", "add", user, data=there)
    done("send", "--as", "anna", "carl", "hello carl", data=there)
    if removed == "here":
        brought(_export(there, "one.tar"), here)
        done("user", "remove", "carl", "--yes", data=here)
    trio.run(_set_picture, there, "carl")
    done("send", "--as", "anna", "carl", "more", data=there)
    if removed == "there":
        done("user", "remove", "carl", "--yes", data=there)
    again = _export(there, "two.tar")
    came = brought(again, here)
    assert came["added"]["messages"] == (1 if removed == "here" else 2)
    assert came["added"]["files"] == (1 if removed == "nowhere" else 0)
    assert texts(here) == ["hello carl", "more"]
    pictures = [one for one in records(here, "user") if one.get("picture")]
    assert [one["id"] for one in pictures] == (["carl"] if removed == "nowhere" else [])
    assert brought(again, here)["added"] == {"users": 0, "chats": 0, "messages": 0, "files": 0}


Answer = Callable[[RequestType[Any, Any], Any], None]
"""Raises the refusals that the test wants."""


async def _import(relay: Relay, source: Path, refuse: Answer) -> Importing:
    client = object()

    async def ask(kind: RequestType[Any, Any], payload: Any, /) -> Any:
        refuse(kind, payload)
        try:
            return await relay.admin.handle(kind.name, payload, client=client)
        except RelayError as error:
            raise RequestRefused(error.error.code, error.error.message) from None

    importing = Importing(ask, open_source(source, room=2**40), T0 * 1_000)
    assert await importing.identify({}) == []
    await importing.run()
    await relay.admin.disconnected(client)
    return importing


async def test_batch_refused_for_one_message_brings_the_others(tmp_path: Path) -> None:
    source = folder(tmp_path / "slack", workspace())
    (tmp_path / "data").mkdir()

    def refuse(kind: RequestType[Any, Any], payload: Any) -> None:
        if kind.name == "import.messages" and any(one.text == "two" for one in payload.messages):
            raise RequestRefused("bad_request", "text: not like this")

    async with open_relay(tmp_path / "data") as relay:
        importing = await _import(relay, source, refuse)
        assert importing.added["messages"] == 1
        assert +importing.left == {"messages (text: not like this)": 1}
        again = await _import(relay, source, refuse)
        assert (again.added["messages"], again.here["messages"]) == (0, 1)


@pytest.mark.parametrize("kind", ["import.user", "import.chat", "import.picture", "import.file", "import.messages"])
async def test_refused_request_about_one_object_ends_no_import(tmp_path: Path, kind: str) -> None:
    source = await trio.to_thread.run_sync(_talk, tmp_path / "there")
    (tmp_path / "here").mkdir()
    asked = set()

    def refuse(asking: RequestType[Any, Any], payload: msgspec.Struct) -> None:
        asked.add(asking.name)
        if asking.name == kind and not getattr(payload, "dry", False):
            raise RequestRefused("not_found", "it is not to be")

    async with open_relay(tmp_path / "here") as relay:
        importing = await _import(relay, source, refuse)
    assert kind in asked
    assert any("it is not to be" in what for what in +importing.left)
    assert "import.end" in asked
