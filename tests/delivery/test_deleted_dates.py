"""A deletion erases the date of an imported message, wherever it is told: memory, log, history, and answers to it."""

from pathlib import Path
from typing import Any

import pytest

from relay.protocol import control
from relay.store.queries import history
from tests.support.sessions import T0, Client, House, house

THEN = T0 - 10**10
PEOPLE = ["anna", "ben"]


def said(number: int, answers: int | None = None) -> control.MessageImport:
    reply = None if answers is None else control.MessageReference(sender="anna", client_message_id=f"then-{answers}")
    return control.MessageImport(
        participants=PEOPLE,
        sender="anna",
        client_message_id=f"then-{number}",
        text=f"said {number}",
        at=THEN + number,
        reply_to=reply,
    )


async def import_messages(opened: House, *messages: control.MessageImport) -> None:
    handle, source = opened.relay.admin.handle, object()
    await handle("import.chat", control.ChatImport(kind="dialog", participants=PEOPLE, at=THEN), client=source)
    await handle("import.messages", control.MessagesImport(messages=list(messages)), client=source)


async def told(opened: House, after: int) -> list[tuple[Any, ...]]:
    """Give what the events of messages after an event say of dates and of what is left."""
    async with opened.open_from("ben", after) as ben:
        events = [one for one in await ben.rest() if one["type"] == "event" and one["eventType"] == "new"]
    payloads = [one["payload"] for one in events]
    return [
        (
            one["messageId"],
            one.get("message"),
            one["timestamp"],
            (one.get("replyTo") or {}).get("message"),
            (one.get("replyTo") or {}).get("createdAt"),
        )
        for one in payloads
    ]


def dates(page: list[dict[str, Any]]) -> list[tuple[int, int, int | None]]:
    return [(one["messageId"], one["createdAt"], (one.get("replyTo") or {}).get("createdAt")) for one in page]


async def delete(client: Client, *ids: int) -> None:
    for message_id in ids:
        await client.request("delete", chatId="ben", originalMessageId=message_id)


async def test_a_deleted_imported_message_is_told_from_memory_as_from_the_log(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "ben") as opened, opened.device("anna") as anna:
        await anna.request("new", chatId="ben", clientMessageId="now", message="of now")
        before = opened.relay.state.seq
        # Message 4 answers 3, and 5 answers 2: of one the answer is deleted, of the other what it answers.
        await import_messages(opened, *(said(number) for number in (2, 3)), said(4, 3), said(5, 2), said(6))
        await anna.request("new", chatId="ben", clientMessageId="answer", message="an answer", replyTo=6)
        await delete(anna, 4, 2, 6)
        from_memory = await told(opened, before)
        page = await anna.request("messages", chatId="ben")
        opened.relay.hub.recent.entries.clear()
        assert from_memory == await told(opened, before)
        logged = {message_id: at for message_id, _, at, _, _ in from_memory}
        assert logged[3] == THEN + 3
        assert all(logged[gone] >= T0 for gone in (2, 4, 6))
        assert {message_id: quoted for message_id, _, _, _, quoted in from_memory if quoted} == {
            5: logged[2],
            7: logged[6],
        }
        assert dates(page)[1:7] == [(i, logged[i], {5: logged[2], 7: logged[6]}.get(i)) for i in range(2, 8)]


async def test_a_message_that_is_deleted_while_its_page_is_read_has_the_date_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = history.messages
    async with house(tmp_path, "anna", "ben") as opened, opened.device("anna") as anna, opened.device("ben") as ben:
        await anna.request("new", chatId="ben", clientMessageId="now", message="of now")
        await import_messages(opened, said(2), said(3, 2))

        async def read_and_deleted(*arguments: Any, **options: Any) -> Any:
            found = await read(*arguments, **options)
            monkeypatch.setattr(history, "messages", read)
            await delete(anna, 2)
            return found

        monkeypatch.setattr(history, "messages", read_and_deleted)
        meanwhile = await ben.request("messages", chatId="anna")
        # The deletion itself came after what was read.
        assert meanwhile == (await ben.request("messages", chatId="anna"))[:3]
        assert meanwhile[1]["status"] == "deleted"
        assert meanwhile[1]["createdAt"] >= T0


async def test_an_answer_that_is_imported_with_the_deletion_of_its_message_has_the_date_of_the_log(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, "anna", "ben") as opened, opened.device("anna") as anna:
        await anna.request("new", chatId="ben", clientMessageId="now", message="of now")
        before = opened.relay.state.seq
        reference = control.MessageReference(sender="anna", client_message_id="then-2")
        deletion = control.MessageImport(
            kind="delete", participants=PEOPLE, sender="anna", client_message_id="gone", original=reference, at=THEN
        )
        await import_messages(opened, said(2), deletion, said(3, 2))
        from_memory = await told(opened, before)
        opened.relay.hub.recent.entries.clear()
        assert from_memory == await told(opened, before)
