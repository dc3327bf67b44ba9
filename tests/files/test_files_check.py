"""`relay check` verifies which messages use a file, and that its content exists."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.maintenance.check import check
from relay.protocol import requests
from tests.support.http_files import as_object, send, upload
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
