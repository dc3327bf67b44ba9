"""Searches that continue by time: they compare the date that is shown (PROTOCOL.md, section 5)."""

from pathlib import Path
from typing import Any

import pytest

from relay.protocol import control
from relay.store.queries import search
from tests.support.sessions import Client, House, house

THEN = 1_500_000_000_000
"""In 2017, long before the relay's own time."""
IMPORTED = 30


async def import_messages(opened: House) -> None:
    """Import a dialog of anna and ben with one message per minute."""
    people = ["anna", "ben"]
    handle = opened.relay.admin.handle
    source = object()
    await handle("import.chat", control.ChatImport(kind="dialog", participants=people, at=THEN), client=source)
    batch = [
        control.MessageImport(
            participants=people,
            sender="anna",
            client_message_id=f"then-{number}",
            text=f"needle of then {number}",
            at=THEN + number * 60_000,
        )
        for number in range(IMPORTED)
    ]
    await handle("import.messages", control.MessagesImport(messages=batch), client=source)


async def by_time(client: Client, **where: Any) -> list[str]:
    """Page through a search like a client that does not know `next`."""
    found: list[str] = []
    while True:
        page = await client.request("search", query="needle", count=7, **where)
        if not page:
            return found
        found += [one["message"] for one in page]
        where["before"] = page[-1]["createdAt"]


@pytest.mark.parametrize("chat", [{}, {"chatId": "ben"}])
@pytest.mark.parametrize("through", [False, True])
async def test_search_that_continues_by_time_finds_imported_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chat: dict[str, Any], *, through: bool
) -> None:
    if through:
        monkeypatch.setattr(
            search, "search", lambda connection, sought, *_, **__: search.search_through(connection, sought)
        )
    async with house(tmp_path, "anna", "ben") as opened, opened.device("anna") as anna:
        await anna.request("new", chatId="ben", clientMessageId="now", message="needle of now")
        await import_messages(opened)
        expected = [f"needle of then {number}" for number in reversed(range(IMPORTED))]
        assert await by_time(anna, **chat) == expected
        by_date = await anna.request("search", query="needle", before=THEN + 10 * 60_000, **chat)
        assert [one["message"] for one in by_date] == expected[-10:]
        at_once = await anna.request("search", query="needle", **chat)
        assert [one["message"] for one in at_once] == [*expected, "needle of now"], "in the order of arrival"
        assert (await anna.request("search", query="needle", before=THEN, **chat)) == []
