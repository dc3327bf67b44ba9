"""A dialog has two people and notes have one, whatever an export says."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from relay.core.maintenance.check import check
from relay.core.model import changes
from relay.core.model.entities import PEOPLE_OF_TYPE
from relay.core.relay import Relay, open_relay
from relay.core.rules import import_members
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.transfer.test_import_live import THEN, send

WRONG = [
    ("dialog", ["anna", "ben", "carol"]),
    ("dialog", ["anna"]),
    ("dialog", ["anna", "anna"]),
    ("dialog", []),
    ("favorites", ["anna", "ben"]),
    ("favorites", []),
    ("ai", ["anna"]),
]


async def add_people(relay: Relay) -> None:
    for user in ("anna", "ben", "carol"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def import_chat(relay: Relay, kind: Any, participants: list[str], **more: Any) -> control.ImportResult:
    chat = control.ChatImport(kind=kind, participants=participants, at=THEN, **more)
    result: control.ImportResult = await send(relay, "import.chat", chat)
    return result


async def faults(data: Path) -> list[str]:
    return [fault for finding in await check(data, lambda _what: None) for fault in finding.wrong]


@pytest.mark.parametrize(("kind", "participants"), WRONG)
@pytest.mark.parametrize("dry", [True, False])
async def test_chat_with_the_wrong_people_is_refused(
    tmp_path: Path, kind: str, participants: list[str], *, dry: bool
) -> None:
    async with open_relay(tmp_path) as relay:
        await add_people(relay)
        with pytest.raises(RelayError) as refused:
            await import_chat(relay, kind, participants, dry=dry)
        assert refused.value.error.code == "bad_request"
        assert relay.state.chats == {}
    async with open_relay(tmp_path) as relay:
        assert relay.state.chats == {}


@pytest.mark.parametrize(("kind", "participants"), WRONG)
async def test_chat_with_the_wrong_people_is_refused_even_if_such_chats_exist(
    tmp_path: Path, kind: str, participants: list[str]
) -> None:
    async with open_relay(tmp_path) as relay:
        await add_people(relay)
        await import_chat(relay, "dialog", ["anna", "ben"])
        await import_chat(relay, "favorites", ["anna"])
        with pytest.raises(RelayError) as refused:
            await import_chat(relay, kind, participants)
        assert refused.value.error.code == "bad_request"


async def test_dialog_is_imported_without_an_exports_name_and_admins(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await add_people(relay)
        await import_chat(relay, "dialog", ["anna", "ben"], name="Bank", admins=["ben"])
        ((key, chat),) = relay.state.chats.items()
        assert (chat.id, chat.name) == (None, "")
        assert not any(member.admin for member in relay.state.members[key].values())
    assert await faults(tmp_path) == []


async def test_check_names_a_dialog_of_three_made_by_an_older_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_members, "check_type", lambda _kind, _people: None)
    async with open_relay(tmp_path) as relay:
        await add_people(relay)
        await import_chat(relay, "dialog", ["anna", "ben", "carol"])
        ((key, _),) = relay.state.chats.items()
    assert await faults(tmp_path) == [f"chat {key} is of the type 'dialog' and has 3 people"]


def test_every_chat_type_of_the_log_can_be_imported() -> None:
    (kinds,) = (field.type for field in msgspec.structs.fields(changes.ChatMade) if field.name == "type")
    for kind in get_args(kinds):
        import_members.check_type(kind, PEOPLE_OF_TYPE.get(kind, 3))
