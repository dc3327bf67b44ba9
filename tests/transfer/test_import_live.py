"""Imports into a relay in use: its own messages, receipts and deletions stay unchanged."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import ImportMessage
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control, requests
from relay.store.command import Command
from tests.support.held_writer import held_writer

THEN = 1_700_000_000_000
CLIENT = object()


@asynccontextmanager
async def dialog(data: Path, *, signed_in: bool = True) -> AsyncIterator[Relay]:
    """A relay with a dialog of anna and ben."""
    async with open_relay(data) as relay:
        for user in ("anna", "ben"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
            if signed_in:
                await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user))
        chat = control.ChatImport(kind="dialog", participants=["anna", "ben"], at=THEN)
        await send(relay, "import.chat", chat)
        yield relay


async def send(relay: Relay, name: str, payload: Any) -> Any:
    return await relay.admin.handle(name, payload, client=CLIENT)


async def messages(relay: Relay, *batch: control.MessageImport) -> list[control.MessageImportResult]:
    found: list[control.MessageImportResult] = await send(
        relay, "import.messages", control.MessagesImport(messages=list(batch))
    )
    return found


def said(name: str, text: str = "text", *, sender: str = "anna") -> control.MessageImport:
    return control.MessageImport(
        participants=["anna", "ben"], sender=sender, client_message_id=name, text=text, at=THEN
    )


def changed(kind: Any, name: str, original: str) -> control.MessageImport:
    return control.MessageImport(
        kind=kind,
        participants=["anna", "ben"],
        sender="anna",
        client_message_id=name,
        original=control.MessageReference(sender="anna", client_message_id=original),
        at=THEN + 1,
    )


async def exported(relay: Relay) -> list[control.Record]:
    records: list[control.Record] = []

    async def take(record: Any) -> None:
        records.append(record)

    await relay.admin.handle("export", control.Export(), take)
    return [record for record in records if record.type == "message"]


def unread(relay: Relay, name: str) -> int:
    ((key, chat),) = relay.state.chats.items()
    user = relay.state.user(name)
    assert user is not None
    assert user.key in relay.state.members[key]
    return relay.state.missed(chat, user.key)


def receipts(relay: Relay, name: str) -> int:
    """The message up to which a user has read the dialog."""
    ((key, _),) = relay.state.chats.items()
    user = relay.state.user(name)
    assert user is not None
    return relay.state.members[key][user.key].read_upto


async def test_message_deleted_twice_in_one_batch_is_counted_once(tmp_path: Path) -> None:
    async with dialog(tmp_path) as relay:
        await messages(relay, said("1"), said("2"))
        first, second = await messages(relay, changed("delete", "3", "1"), changed("delete", "4", "1"))
        assert (first.added, second.added) == (True, False)
        (chat,) = relay.state.chats.values()
        assert chat.count == 1


async def test_message_imported_and_deleted_twice_in_one_batch_is_counted_once(tmp_path: Path) -> None:
    async with dialog(tmp_path) as relay:
        await messages(relay, said("1"), changed("delete", "3", "1"), changed("delete", "4", "1"))
        (chat,) = relay.state.chats.values()
        assert chat.count == 0


async def test_an_edit_after_the_deletion_in_one_batch_brings_no_text_back(tmp_path: Path) -> None:
    async with dialog(tmp_path) as relay:
        await messages(relay, said("1", "secret"))
        deletion, edit = await messages(relay, changed("delete", "2", "1"), changed("edit", "3", "1"))
        assert deletion.added
        assert "deleted" in edit.error
        (record,) = await exported(relay)
        assert (record.deleted, record.text) == (True, None)


async def test_a_deletion_after_the_edit_in_one_batch_removes_the_text(tmp_path: Path) -> None:
    async with dialog(tmp_path) as relay:
        await messages(relay, said("1", "secret"), changed("edit", "2", "1"), changed("delete", "3", "1"))
        (record,) = await exported(relay)
        assert (record.deleted, record.text) == (True, None)


@pytest.fixture
def sent_with_the_second(monkeypatch: pytest.MonkeyPatch) -> Callable[[Relay], None]:
    """Let anna send a message to ben in the same batch as the imported message "2"."""

    def prepare(relay: Relay) -> None:
        append = relay.log.append

        def append_with_another(command: Command, *answer: Any) -> bool:
            appended = append(command, *answer)
            if isinstance(command.request, ImportMessage) and command.request.client_id == "2":
                anna = relay.state.user("anna")
                assert anna is not None
                live = requests.New(chat_id="ben", client_message_id="live", message="have you read this?")
                append(Command(relay.clock(), anna.key, NO_DEVICE, live))
            return appended

        monkeypatch.setattr(relay.log, "append", append_with_another)

    return prepare


async def test_message_sent_during_an_import_stays_unread(
    tmp_path: Path, sent_with_the_second: Callable[[Relay], None]
) -> None:
    async with dialog(tmp_path) as relay:
        await messages(relay, said("1"))
        sent_with_the_second(relay)
        await messages(relay, said("2"))
        await send(relay, "import.end", control.Empty())
        assert receipts(relay, "ben") == 2
        assert unread(relay, "ben") == 1


async def test_import_pauses_while_others_send(
    tmp_path: Path, sent_with_the_second: Callable[[Relay], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    def rest_after(seconds: float) -> float:
        rests.append(seconds)
        return 0.0

    monkeypatch.setattr("relay.core.admin.importing.messages.rest_after", rest_after)
    async with dialog(tmp_path) as relay:
        sent_with_the_second(relay)
        await messages(relay, said("1"))
        assert len(rests) == 0
        await messages(relay, said("2"))
        assert len(rests) == 1


async def test_unread_message_stays_unread_for_a_user_without_devices(tmp_path: Path) -> None:
    async with dialog(tmp_path, signed_in=False) as relay:
        # An import writes its start time, and waits for the write.
        await send(relay, "import.end", control.Empty())
        say = control.Say(user_id="anna", chat_id="ben", message="have you read this?", client_message_id="own")
        await relay.admin.handle("say", say)
        await messages(relay, said("1"))
        await send(relay, "import.end", control.Empty())
        assert receipts(relay, "ben") == 0


@pytest.mark.parametrize(("length", "batches"), [(10, 1), (60_000, 8)])
async def test_long_texts_are_deleted_a_few_at_a_time(length: int, batches: int, tmp_path: Path) -> None:
    async with dialog(tmp_path) as relay:
        names = [str(number) for number in range(8)]
        await messages(relay, *(said(name, "x" * length) for name in names))
        before = relay.log.figures.batches
        await messages(relay, *(changed("delete", f"d{name}", name) for name in names))
        assert relay.log.figures.batches - before == batches
        assert all(record.deleted for record in await exported(relay))


async def test_dialog_begun_while_its_import_waits_stays_the_only_one(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        for user in ("anna", "ben"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        # An import writes its start time, and waits for the write.
        await send(relay, "import.end", control.Empty())
        say = control.Say(user_id="anna", chat_id="ben", client_message_id="1", message="the first one")
        chat = control.ChatImport(kind="dialog", participants=["anna", "ben"], at=THEN)
        async with held_writer(relay.log) as writer:
            await writer.queue(partial(relay.admin.handle, "say", say))
            imported = await writer.queue(partial(send, relay, "import.chat", chat))
        assert not isinstance(imported[0], Exception)
        assert len(relay.state.chats) == 1
        assert relay.state.chats[relay.state.dialog_keys[UserKey(1), UserKey(2)]].count == 1
