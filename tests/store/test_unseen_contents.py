"""Texts, attachments, pictures and file names that nobody may see any more leave the files of the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import DeleteChat
from relay.core.tuning import Tuning
from relay.keys import NO_DEVICE
from relay.protocol import control, requests
from relay.protocol.objects import Attachment
from relay.store.log.tuning import LogTuning
from relay.store.sqlite.wal import WalTuning
from tests.support.disk import answers, command, people, until

SECRET = "what nobody may see any more"


@asynccontextmanager
async def running(data: Path, *, new: bool = True) -> AsyncIterator[Relay]:
    """Run a relay that erases soon, with User1 and User2."""
    tuning = Tuning(wal=WalTuning(erase_seconds=0.2, erase_quiet_seconds=0.1), log=LogTuning(index_seconds=0.05))
    async with open_relay(data, tuning=tuning) as relay, trio.open_nursery() as nursery:
        if new:
            await people(relay, "User1", "User2")
        nursery.start_soon(relay.retention.run)
        nursery.start_soon(relay.files.run)
        yield relay
        nursery.cancel_scope.cancel()


def where(data: Path) -> list[str]:
    """Name the files under a data directory that have the secret."""
    return [path.name for path in sorted(data.rglob("*")) if path.is_file() and SECRET.encode() in path.read_bytes()]


async def upload(relay: Relay, content: str, name: str = "a.txt") -> Attachment:
    """Upload a file of User1's."""
    pieces = [content.encode(), b""]

    async def take() -> bytes:
        return pieces.pop(0)

    return await relay.files.receive(relay.state.user_keys["User1"], NO_DEVICE, name, None, take)


async def send(relay: Relay, chat: str, text: str, file: Attachment) -> None:
    """Send a message of User1's with a file."""
    request = requests.New(chat_id=chat, client_message_id="c", message=text, attachments=[file])
    await answers(relay, command(relay, "User1", request))


@pytest.mark.parametrize("how", ["both clear it", "notes are cleared", "notes of a removed user", "one is removed"])
async def test_contents_that_nobody_may_see_any_more_leave_the_files(tmp_path: Path, how: str) -> None:
    async with running(tmp_path) as relay:
        other = "User1" if "notes" in how else "User2"
        await send(relay, other, SECRET, await upload(relay, SECRET))
        if how != "notes of a removed user":
            await answers(relay, command(relay, "User1", DeleteChat(other)))
        if other == "User2":
            await trio.sleep(0.5)
            assert where(tmp_path), "one of them sees it"
        if how == "both clear it":
            await answers(relay, command(relay, "User2", DeleteChat("User1")))
        elif how != "notes are cleared":
            await relay.admin.handle("user.change", control.ChangeUser(id=other, removed=True))
        await until(lambda: not where(tmp_path))
    assert not [one for one in await check(tmp_path, lambda _what: None) if one.wrong]


async def test_the_name_of_a_file_leaves_the_store_with_its_message(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        await send(relay, "User2", "", await upload(relay, "content", SECRET))
        assert where(tmp_path)
        await answers(relay, command(relay, "User1", requests.Delete(chat_id="User2", original_message_id=1)))
        await until(lambda: not where(tmp_path))


@pytest.mark.parametrize("how", ["replaced", "removed user"])
async def test_a_picture_that_nobody_shows_any_more_leaves_the_disk_at_once(tmp_path: Path, how: str) -> None:
    async with running(tmp_path) as relay:
        picture = await upload(relay, SECRET)
        await answers(relay, command(relay, "User1", requests.ProfileRequest(photo_url=picture.url)))
        await trio.sleep(0.3)
        assert where(tmp_path)
        gone = control.ChangeUser(id="User1", removed=True)
        if how == "replaced":
            await answers(relay, command(relay, "User1", requests.ProfileRequest(photo_url="")))
        else:
            await relay.admin.handle("user.change", gone)
        await until(lambda: not where(tmp_path))


@pytest.mark.parametrize("how", ["replaced", "replaced twice", "removed user", "deleted group"])
async def test_a_picture_that_was_replaced_before_a_stop_leaves_the_disk_after_the_start(
    tmp_path: Path, how: str
) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        picture = await upload(relay, SECRET)
        if how == "deleted group":
            made = requests.CreateChat(type="group", name="Group", participants=["User2"], photo_url=picture.url)
            await answers(relay, command(relay, "User1", made))
        else:
            await answers(relay, command(relay, "User1", requests.ProfileRequest(photo_url=picture.url)))
        # Even a kill leaves what is on disk by now: no search for unused files has seen the picture.
        if how == "deleted group":
            await answers(relay, command(relay, "User1", DeleteChat(*relay.state.group_keys)))
        elif how == "removed user":
            await relay.admin.handle("user.change", control.ChangeUser(id="User1", removed=True))
        else:
            for content in ("second", "third")[: 1 if how == "replaced" else 2]:
                url = (await upload(relay, content)).url
                await answers(relay, command(relay, "User1", requests.ProfileRequest(photo_url=url)))
    assert where(tmp_path)
    async with running(tmp_path, new=False):
        await until(lambda: not where(tmp_path))


async def test_an_export_has_nothing_that_everybody_in_a_dialog_has_cleared(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        await send(relay, "User2", SECRET, await upload(relay, SECRET))
        for user, other in (("User1", "User2"), ("User2", "User1")):
            await answers(relay, command(relay, user, DeleteChat(other)))
        records: list[control.Record] = []

        async def take(record: object) -> None:
            assert isinstance(record, control.Record)
            records.append(record)

        await relay.admin.handle("export", control.Export(files=True), take)
        assert not [one for one in records if one.type in ("message", "file")]


def test_erasing_that_failed_is_tried_again_within_the_promised_minute() -> None:
    # PROTOCOL.md, section 4: erased within a minute, of which SQLite's log may take 32 s (`store/sqlite/wal.py`).
    tuning = Tuning()
    assert tuning.retention.retry_seconds + tuning.wal.erase_seconds + tuning.wal.erase_quiet_seconds <= 65
