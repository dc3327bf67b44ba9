"""A batch with a client id that is in the table is refused as a whole."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.keys import ChatKey, DeviceKey, UserKey
from relay.store import kinds
from relay.store.entry import Entry
from relay.store.log.batch import prepare
from relay.store.log.schedule import SideWrites
from relay.store.sqlite import database
from relay.store.sqlite.database import Connection
from relay.store.sqlite.migrate import begin

KNOWN = -7
ALONE, RIDING = SideWrites({}, 0), SideWrites({DeviceKey(1): (1, 1)}, 0)


@pytest.fixture
async def writing(tmp_path: Path) -> AsyncIterator[Connection]:
    await begin(tmp_path / "relay.db")
    async with database.connect(tmp_path / "relay.db", writing=True) as opened:
        await opened.execute("INSERT INTO client (key, seq) VALUES (?, 1)", (KNOWN,))
        yield opened


def said(seq: int, client_key: int | None) -> Entry:
    return Entry(seq, kinds.NEW, ChatKey(1), seq, UserKey(1), DeviceKey(1), 1_000, 0, client_key, f"c{seq}", "text")


async def count(writing: Connection) -> int:
    ((entries,),) = await writing.execute("SELECT count(*) FROM log")
    return int(entries)


@pytest.mark.parametrize("side_writes", [ALONE, RIDING], ids=["entries alone", "with side writes"])
async def test_a_batch_with_a_known_client_id_is_refused_as_a_whole(
    writing: Connection, side_writes: SideWrites
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        await writing.execute(*prepare([said(1, 5), said(2, KNOWN), said(3, None)], [], side_writes))
    assert await count(writing) == 0


@pytest.mark.parametrize("side_writes", [ALONE, RIDING], ids=["entries alone", "with side writes"])
async def test_entries_with_new_client_ids_or_none_are_written(writing: Connection, side_writes: SideWrites) -> None:
    await writing.execute(*prepare([said(1, 5), said(2, None), said(3, 6)], [], side_writes))
    assert await count(writing) == 3
