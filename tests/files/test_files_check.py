"""`relay check` verifies which messages use a file, and that its content exists."""

import errno
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import trio

from relay.core.maintenance.check import CONTENTS, check
from relay.protocol import requests
from relay.store.contents import ProvenReader
from tests.support.http_files import as_object, fetch, send, upload
from tests.support.http_relay import http_relay


async def some_files(data: Path) -> None:
    async with http_relay(data) as relay:
        anna = await relay.user("anna")
        await relay.user("ben")
        first, second, third = [await upload(relay, anna, name) for name in (b"one", b"two", b"three")]
        sent = await send(relay, anna, "ben", first, second)
        await send(relay, anna, "ben", third, third)
        await upload(relay, anna, b"never sent")
        async with relay.socket(anna) as socket:
            edit = requests.Edit(chat_id="ben", original_message_id=sent.message_id, attachments=[as_object(second)])
            await socket.request(requests.EDIT, edit)


async def faults(data: Path) -> dict[str, list[str]]:
    return {found.what: found.wrong for found in await check(data, lambda _what: None) if found.wrong}


async def test_check_passes_after_sending_editing_and_a_restart(tmp_path: Path) -> None:
    await some_files(tmp_path)
    async with http_relay(tmp_path):
        pass
    assert await faults(tmp_path) == {}


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM holding WHERE message_id = 2", "files and the messages that use them"),
        ("INSERT INTO holding SELECT chat, 99, file FROM holding LIMIT 1", "files and the messages that use them"),
        ("UPDATE file SET loose = 5 WHERE loose = 0", "files and the messages that use them"),
        ("UPDATE file SET digest = replace(digest, 'a', 'b')", "contents of files"),
        ("UPDATE file SET size = size + 1", "contents of files"),
    ],
)
async def test_difference_is_named(tmp_path: Path, damage: str, what: str) -> None:
    await some_files(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as store:
        store.execute(damage)
        store.commit()
    assert what in await faults(tmp_path)


async def test_check_says_how_many_files_it_had_no_time_to_read(tmp_path: Path) -> None:
    await some_files(tmp_path)
    (spoilt,) = (path for path in (tmp_path / "files").rglob("*") if path.is_file() and path.read_bytes() == b"two")
    spoilt.write_bytes(b"2wo")
    # The size is right, so only reading shows it.
    (hurried,) = [found for found in await check(tmp_path, lambda _what: None, 0) if found.what == CONTENTS]
    # The file that the edit took out may be gone already.
    assert (hurried.wrong, hurried.unread) == ([], sum(path.is_file() for path in (tmp_path / "files").glob("*/*")))
    (found,) = [found for found in await check(tmp_path, lambda _what: None) if found.what == CONTENTS]
    assert (found.wrong, found.unread) == ([f"{spoilt} is spoilt: it is not what was uploaded"], 0)


async def test_a_check_of_large_files_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await some_files(tmp_path)
    entered, go_on = threading.Event(), threading.Event()

    def stuck(_reader: ProvenReader, _size: int = 0) -> bytes:
        entered.set()
        go_on.wait(30)
        return b""

    monkeypatch.setattr(ProvenReader, "read", stuck)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check, tmp_path, lambda _what: None)
            await trio.to_thread.run_sync(entered.wait, 10)
            nursery.cancel_scope.cancel()
    go_on.set()


async def test_a_download_of_a_file_that_is_not_whole_is_logged_with_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with http_relay(tmp_path) as relay:
        anna = await relay.user("anna")
        cut = await upload(relay, anna, b"content")
        (path,) = (path for path in (tmp_path / "files").rglob("*") if path.is_file())
        path.write_bytes(b"con")
        assert (await fetch(relay, anna, cut)).status_code == 404
        assert f"{path} is spoilt" in caplog.text
        path.unlink()
        assert (await fetch(relay, anna, cut)).status_code == 404
        assert f"{path} is missing" in caplog.text


async def test_a_download_that_the_disk_ends_is_logged_with_the_files_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with http_relay(tmp_path) as relay:
        anna = await relay.user("anna")
        sent = await upload(relay, anna, b"content")
        monkeypatch.setattr(os, "sendfile", failing)
        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(httpx.HTTPError):
            await fetch(relay, anna, sent)
    (path,) = (path for path in (tmp_path / "files").rglob("*") if path.is_file())
    assert f"a file cannot be sent: {path} cannot be read: Input/output error" in caplog.text
