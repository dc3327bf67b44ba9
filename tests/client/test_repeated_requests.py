"""Every request twice in a row, as from a client that lost the first answer (PROTOCOL.md, section 5, "Repeats")."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.protocol import control
from relay.protocol.requests import REQUESTS
from tests.support.sessions import Client, House, house

PASSWORD = "first horse battery"
REQUESTED: dict[str, list[dict[str, Any]]] = {
    "new": [{"chatId": "GROUP", "clientMessageId": "n", "message": "hello"}],
    "edit": [{"chatId": "GROUP", "clientMessageId": "e", "originalMessageId": 1, "message": "hi"}],
    "delete": [
        {"chatId": "GROUP", "clientMessageId": "d", "originalMessageId": 1},
        {"chatId": "GROUP", "originalMessageId": 1},
    ],
    # Without an id, the second answer says that there was nothing to mark.
    "dlvrd": [{"chatId": "GROUP", "messageId": 2}],
    "read": [{"chatId": "GROUP", "messageId": 2}],
    "messages": [{"chatId": "GROUP"}],
    "chat": [{"chatId": "GROUP"}],
    "chats": [{}],
    "users": [{}],
    "search": [{"query": "said"}],
    "createChat": [{"type": "group", "name": "Crew", "participants": ["ben"]}],
    "updateChat": [{"chatId": "GROUP", "name": "Others"}, {"chatId": "GROUP", "admins": ["ben"]}],
    "addParticipants": [{"chatId": "GROUP", "participants": ["cara"]}],
    "removeParticipants": [{"chatId": "GROUP", "participants": ["ben"]}],
    "leaveChat": [{"chatId": "GROUP"}],
    "deleteChat": [{"chatId": "GROUP"}],
    "profile": [{}, {"name": "Anna B"}],
    "password": [{"old": PASSWORD, "new": "second staple correct"}],
    "devices": [{}],
    "revokeDevice": [{"deviceId": "OTHER"}],
    "invite": [{}],
}
CASES = [(name, payload) for name, payloads in REQUESTED.items() for payload in payloads]


def test_table_of_repeats_has_every_request_of_the_protocol() -> None:
    assert set(REQUESTED) == set(REQUESTS)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, "anna", "ben", "cara") as opened:
        await opened.relay.admin.handle("user.change", control.ChangeUser(id="anna", admin=True))
        await opened.add_device("anna", "other")
        yield opened


async def prepared(opened: House, anna: Client, payload: dict[str, Any]) -> dict[str, Any]:
    """Make the objects that a payload names; return the payload with their ids."""
    group = (await anna.request("createChat", type="group", name="Crew", participants=["ben"]))["chatId"]
    await anna.request("new", chatId=group, clientMessageId="a", message="said by anna")
    async with opened.device("ben") as ben:
        await ben.request("new", chatId=group, clientMessageId="b", message="said by ben")
    await anna.request("password", new=PASSWORD)
    other = next(one for one in await anna.request("devices") if not one["current"])
    ids = {"GROUP": group, "OTHER": other["deviceId"]}
    return {field: ids.get(value, value) if isinstance(value, str) else value for field, value in payload.items()}


@pytest.mark.parametrize(("name", "payload"), CASES)
async def test_repeatable_request_gets_the_same_answer_twice(opened: House, name: str, payload: dict[str, Any]) -> None:
    async with opened.device("anna") as anna:
        payload = await prepared(opened, anna, payload)
        answers = [await anna.answer(await anna.ask(name, **payload)) for _ in range(2)]
        first, second = ({key: one.get(key) for key in ("payload", "error")} for one in answers)
        assert first["error"] is None
        assert (first == second) is REQUESTS[name].repeatable
