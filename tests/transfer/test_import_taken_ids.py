"""Imports of people whose id was taken meanwhile: nobody gets another person's messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import RequestRefused
from relay.cli.importers.formats.detect import open_source
from relay.cli.importers.importing import Importing
from relay.core.relay import Relay, open_relay
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.support.command_line import done, run
from tests.support.foreign_exports import DAY, T0, folder, message, records

SLACK = {
    "users.json": [{"id": "U1", "name": "anna"}, {"id": "U2", "name": "max", "real_name": "Max of Slack"}],
    "channels.json": [{"id": "C1", "name": "boats", "created": T0 - 5, "members": ["U1"]}],
    "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
    f"D1/{DAY}": [message("U1", "to Max of Slack")],
    f"boats/{DAY}": [message("U1", "of boats")],
}


async def imported(relay: Relay, source: Path, meanwhile: tuple[str, Any], *, dry: bool = False) -> Importing:
    """Import from a source, with an action between matching people and the import."""
    client = object()

    async def ask(kind: Any, request: Any) -> Any:
        try:
            return await relay.admin.handle(kind.name, request, client=client)
        except RelayError as error:
            raise RequestRefused(error.error.code, error.error.message) from None

    importing = Importing(ask, open_source(source, room=2**40), T0, dry=dry)
    assert await importing.identify({}) == []
    await relay.admin.handle(*meanwhile, client=client)
    await importing.run()
    return importing


async def found(relay: Relay) -> list[control.Record]:
    """The whole content of the relay."""
    all_found: list[control.Record] = []

    async def take(record: control.Record) -> None:
        all_found.append(record)

    await relay.admin.handle("export", control.Export(), take)  # type: ignore[arg-type]
    return all_found


@pytest.mark.parametrize("dry", [False, True], ids=["import", "dry run"])
async def test_user_who_takes_an_id_during_an_import_gets_none_of_its_messages(dry: bool, tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        taken = ("user.add", control.AddUser(id="max", name="Max of the harbour"))
        importing = await imported(relay, folder(tmp_path / "slack", SLACK), taken, dry=dry)
        here = await found(relay)
    assert +importing.left == {
        "users (the id 'max' was taken during the import: import again)": 1,
        "chats with people who stay behind": 1,
        "messages of chats that stay behind": 1,
    }
    assert importing.added["messages"] == 1
    assert [one.origins for one in here if one.id == "max"] == [()]
    assert [one.text for one in here if one.type == "message"] == ([] if dry else ["of boats"])


async def test_group_that_takes_an_id_during_an_import_gets_none_of_its_messages(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await relay.admin.handle("user.add", control.AddUser(id="zoe", name="Zoe"))
        taken = ("import.chat", control.ChatImport(id="slack-C1", name="Boats", participants=["zoe"], at=T0))
        importing = await imported(relay, folder(tmp_path / "slack", SLACK), taken)
        here = await found(relay)
    assert importing.left["chats (the id 'slack-C1' was taken during the import: import again)"] == 1
    assert [one.text for one in here if one.type == "message"] == ["to Max of Slack"]


@pytest.mark.parametrize("kind", ["dialog", "group"])
def test_chat_with_a_refused_person_is_skipped_even_if_their_id_is_taken(kind: str, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for name in ("anna", "max"):
        done("user", "add", name, data=there)
    chat = "max"
    if kind == "group":
        chat = json.loads(done("chat", "create", "Boats", "anna", "max", "--json", data=there).out)["id"]
    done("send", "--as", "anna", chat, "to max there", data=there)
    done("export", tmp_path / "whole.jsonl", data=there)
    lines = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    flawed = [{**one, "origins": ["x"]} if one["type"] == "user" and one["id"] == "max" else one for one in lines]
    (tmp_path / "flawed.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in flawed))
    done("user", "add", "max", "--name", "Max of here", data=here)
    ran = run("import", tmp_path / "flawed.jsonl", data=here)
    assert (ran.code, records(here, "message"), records(here, "chat")) == (0, [], [])
    assert "1 chats with people who stay behind" in ran.out
    assert "1 messages of chats that stay behind" in ran.out
