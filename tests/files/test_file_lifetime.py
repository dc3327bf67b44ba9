"""How long an uploaded file is kept: as long as a message or a picture uses it."""

import hashlib
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from relay.core.files import uploads
from relay.core.model.entities import BLOCK_BYTES
from relay.keys import UserKey
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.store.blobs import DIGEST_CHARACTERS, Blobs
from relay.tasks.background import keep_running
from tests.support import picture_files as made
from tests.support.http_files import as_object, fetch, on_disk, send, until, upload
from tests.support.http_relay import http_relay


async def test_a_file_is_removed_with_its_last_message(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna = await relay.user("anna")
        await relay.user("ben")
        attachment = await upload(relay, anna, b"twice")
        async with relay.socket(anna) as socket:
            sent = [await socket.send("ben", attachments=[as_object(attachment)]) for _ in range(2)]
            first, second = [requests.Delete(chat_id="ben", original_message_id=one.message_id) for one in sent]
            await socket.request(requests.DELETE, first)
            await relay.relay.files.sweep()
            assert (await fetch(relay, anna, attachment)).status_code == 200
            assert relay.relay.state.users[UserKey(1)].stored == BLOCK_BYTES
            await socket.request(requests.DELETE, second)
        await until(lambda: not on_disk(relay))
        assert (await fetch(relay, anna, attachment)).status_code == 404
        assert relay.relay.state.users[UserKey(1)].stored == 0


async def test_a_file_that_an_edit_removed_is_deleted_and_an_equal_one_stays(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna = await relay.user("anna")
        await relay.user("ben")
        out, twin = await upload(relay, anna, b"same"), await upload(relay, anna, b"same")
        kept = await upload(relay, anna, b"other")
        sent = await send(relay, anna, "ben", out, kept)
        await send(relay, anna, "ben", twin)
        async with relay.socket(anna) as socket:
            await socket.request(
                requests.EDIT,
                requests.Edit(
                    chat_id="ben", original_message_id=sent.message_id, message="x", attachments=[as_object(kept)]
                ),
            )
        await until(lambda: relay.relay.state.users[UserKey(1)].stored == 2 * BLOCK_BYTES)
        statuses = [(await fetch(relay, anna, one)).status_code for one in (out, twin, kept)]
        assert len(on_disk(relay)) == 2
    assert statuses == [404, 200, 200]


async def test_repeated_message_is_the_same_even_if_its_file_is_gone(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna = await relay.user("anna")
        await relay.user("ben")
        attachment = await upload(relay, anna, b"x")
        sent = await send(relay, anna, "ben", attachment, client_message_id="one")
        async with relay.socket(anna) as socket:
            await socket.request(requests.DELETE, requests.Delete(chat_id="ben", original_message_id=sent.message_id))
        await until(lambda: not on_disk(relay))
        assert await send(relay, anna, "ben", attachment, client_message_id="one") == sent


async def test_an_unsent_file_is_removed_after_a_day(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    async with http_relay(tmp_path, clock=lambda: now) as relay:
        token = await relay.user("anna")
        await upload(relay, token, b"x")
        now += 86_399_000
        await relay.relay.files.forget_loose()
        assert on_disk(relay)
        now += 2_000
        await relay.relay.files.forget_loose()
        assert not on_disk(relay)


async def test_a_file_that_is_uploaded_again_during_a_sweep_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000_000
    going, again = trio.Event(), threading.Event()
    unlink = Path.unlink

    def slow(path: Path, **how: bool) -> None:
        if len(path.name) > DIGEST_CHARACTERS:
            trio.from_thread.run_sync(going.set)
            again.wait(5)
        unlink(path, **how)

    async with http_relay(tmp_path, clock=lambda: now) as relay:
        token = await relay.user("anna")
        contents = [b"one", b"two"]
        for content in contents:
            await upload(relay, token, content)
        now += 2 * 86_400_000
        monkeypatch.setattr(Path, "unlink", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.relay.files.forget_loose)
            await going.wait()
            attachments = [await upload(relay, token, content) for content in contents]
            again.set()
        answers = [await fetch(relay, token, attachment) for attachment in attachments]
    assert [answer.content for answer in answers] == contents


@pytest.fixture
def clock() -> MockClock:
    """A running clock that can be made to jump."""
    return MockClock(rate=1.0)


async def test_unused_files_are_searched_after_a_deletion_and_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: MockClock
) -> None:
    looks = []

    async def look() -> None:
        looks.append(1)

    async def looked(times: int) -> None:
        await until(lambda: len(looks) >= times)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert len(looks) == times

    monkeypatch.setattr(uploads.Uploads, "forget_loose", lambda _files: look())
    async with http_relay(tmp_path) as relay:
        await looked(1)
        relay.relay.files.released.note()
        await looked(2)
        clock.jump(uploads.SWEEP_SECONDS)
        await looked(3)


async def test_a_file_is_removed_with_pruned_history(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    async with http_relay(tmp_path, clock=lambda: now) as relay:
        anna = await relay.user("anna")
        await relay.user("ben")
        await send(relay, anna, "ben", await upload(relay, anna, b"old"))
        now += 10 * 86_400_000
        new = await upload(relay, anna, b"new")
        await send(relay, anna, "ben", new)
        await relay.relay.retention.prune(days=5)
        await relay.relay.files.forget_loose()
        assert on_disk(relay) == [hashlib.sha256(b"new").hexdigest()]


async def test_the_picture_of_a_user_is_readable_by_all_and_stays(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    async with http_relay(tmp_path, clock=lambda: now) as relay:
        anna, eve = await relay.user("anna"), await relay.user("eve")
        photo, other = await upload(relay, anna, made.png(), "me.png"), await upload(relay, anna, made.gif())
        async with relay.socket(anna) as socket:
            await socket.request(requests.PROFILE, requests.ProfileRequest(photo_url=photo["url"]))
        async with relay.socket(eve) as socket:
            with pytest.raises(RelayError, match="photoUrl"):
                await socket.request(requests.PROFILE, requests.ProfileRequest(photo_url=other["url"]))
        now += 2 * 86_400_000
        await relay.relay.files.forget_loose()
        assert (await fetch(relay, eve, photo)).status_code == 200
        assert (await fetch(relay, anna, other)).status_code == 404
        async with relay.socket(anna) as socket:
            await socket.request(requests.PROFILE, requests.ProfileRequest(photo_url=""))
        await until(lambda: not on_disk(relay))


async def test_files_and_their_messages_survive_a_restart(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        held = await upload(relay, anna, b"held")
        await send(relay, anna, "ben", held)
    (tmp_path / "files" / ".left-over").write_bytes(b"half")
    stray = tmp_path / "files" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"in no log")
    async with http_relay(tmp_path) as relay:
        await until(lambda: len(on_disk(relay)) == 1)
        assert (await fetch(relay, ben, held)).content == b"held"
        assert relay.relay.state.users[UserKey(1)].stored == BLOCK_BYTES


async def test_unused_files_are_removed_even_if_the_first_sweep_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = trio.Event()

    async def fail(_files: uploads.Uploads) -> None:
        raise PermissionError(13, "Permission denied", "files/lost+found")

    async def forget(_files: uploads.Uploads) -> None:
        forgotten.set()

    monkeypatch.setattr(uploads.Uploads, "sweep", fail)
    monkeypatch.setattr(uploads.Uploads, "forget_loose", forget)
    async with http_relay(tmp_path) as relay, trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, "removing unused files", relay.relay.files.run, 0.01)
        with trio.fail_after(10):
            await forgotten.wait()
        nursery.cancel_scope.cancel()


def test_disks_own_folder_is_not_a_folder_of_blobs(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for name in ("lost+found", "ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("ab" * (DIGEST_CHARACTERS // 2))).touch()
    assert [len(names) for names in blobs.digests()] == [1]
