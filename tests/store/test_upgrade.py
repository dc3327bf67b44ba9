"""An older store is copied and upgraded; a newer relay's store is left alone."""

import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.cli.doctor.finding import Finding
from relay.cli.doctor.store import upgrade as find_upgrade
from relay.core.relay import open_relay
from relay.protocol import control
from relay.store.data_dir import written_by
from relay.store.sqlite import database, migrate, schema
from relay.store.sqlite.database import NewerStore
from relay.store.sqlite.migrate import CannotUpgrade

STEPS = ("CREATE TABLE two (a INTEGER) STRICT", "CREATE TABLE three (a INTEGER) STRICT")
BROKEN = "CREATE TABLE four (a INTEGER) STRICT; INSERT INTO missing VALUES (1)"


def newer(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Add further steps to this relay."""
    migrations = (*schema.MIGRATIONS, *more)
    for module in (database, migrate, schema):
        monkeypatch.setattr(module, "MIGRATIONS", migrations)


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def version(path: Path) -> object:
    ((found,),) = read(path, "PRAGMA user_version")
    return found


async def used(data: Path) -> Path:
    """Make a store with data in it, and return its file."""
    async with open_relay(data) as relay:
        await relay.admin.handle("user.add", control.AddUser(id="User1"))
    return data / "relay.db"


def copies(data: Path) -> list[str]:
    return sorted(path.name for path in data.glob("relay-*"))


NOW = len(schema.MIGRATIONS)


async def test_a_new_store_needs_no_copy(tmp_path: Path) -> None:
    await used(tmp_path)
    assert copies(tmp_path) == []


async def test_an_older_store_is_copied_and_then_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await used(tmp_path)
    before = read(store, "SELECT * FROM log")
    newer(monkeypatch, *STEPS)
    async with open_relay(tmp_path) as relay:
        assert "User1" in {user.id for user in relay.state.users.values()}
    assert version(store) == NOW + 2
    (name,) = copies(tmp_path)
    assert name == f"relay-{NOW}-to-{NOW + 2}.db"
    assert version(tmp_path / name) == NOW
    assert read(tmp_path / name, "SELECT * FROM log") == before
    assert (tmp_path / name).stat().st_mode & 0o077 == 0


async def test_failing_step_leaves_the_store_as_after_the_step_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await used(tmp_path)
    with monkeypatch.context() as patched:
        newer(patched, STEPS[0], BROKEN)
        with pytest.raises(CannotUpgrade, match=rf"to version {NOW + 2}: no such table: missing; what was before is"):
            async with open_relay(tmp_path):
                pass
        assert version(store) == NOW + 1
        assert read(store, "SELECT name FROM sqlite_master WHERE name = 'four'") == []
        finding = next(one for one in doctor(tmp_path) if one.check == "upgrade")
        assert finding.level == "bad"
        assert f"relay-{NOW}-to-{NOW + 2}.db" in finding.what

    # A fixed relay continues, and the copy is still the earlier one.
    newer(monkeypatch, *STEPS)
    async with open_relay(tmp_path):
        pass
    assert version(store) == NOW + 2
    assert copies(tmp_path) == [f"relay-{NOW}-to-{NOW + 2}.db"]
    assert version(tmp_path / f"relay-{NOW}-to-{NOW + 2}.db") == NOW
    assert "upgrade" not in {one.check for one in doctor(tmp_path)}


async def test_copy_of_an_upgrade_that_changed_nothing_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(tmp_path)
    newer(monkeypatch, STEPS[0])
    stale = tmp_path / f"relay-{NOW}-to-{NOW + 1}.db"
    stale.write_bytes(b"before the older relay ran once more")
    async with open_relay(tmp_path):
        pass
    assert version(stale) == NOW


async def test_only_the_copy_of_the_last_upgrade_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(tmp_path)
    for count in (1, 2):
        with monkeypatch.context() as patched:
            newer(patched, *STEPS[:count])
            async with open_relay(tmp_path):
                pass
    assert copies(tmp_path) == [f"relay-{NOW + 1}-to-{NOW + 2}.db"]


async def test_the_copy_of_an_earlier_upgrade_stays_until_the_next_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(tmp_path)
    earlier = f"relay-{NOW}-to-{NOW + 1}.db"
    for steps, left in (
        (STEPS[:1], [earlier]),
        ((STEPS[0], BROKEN), [f"relay-{NOW + 1}-to-{NOW + 2}.db", earlier]),
        (STEPS, [f"relay-{NOW + 1}-to-{NOW + 2}.db"]),
    ):
        with monkeypatch.context() as patched:
            newer(patched, *steps)
            with contextlib.suppress(CannotUpgrade):
                async with open_relay(tmp_path):
                    pass
        assert copies(tmp_path) == sorted(left)


async def test_outdated_copy_of_a_store_is_not_reused_by_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await used(tmp_path)
    with monkeypatch.context() as patched:
        newer(patched, STEPS[0], BROKEN)
        with pytest.raises(CannotUpgrade):
            async with open_relay(tmp_path):
                pass
    with monkeypatch.context() as patched:
        # The relay of the version in between continues with the store.
        newer(patched, STEPS[0])
        async with open_relay(tmp_path) as relay:
            await relay.admin.handle("user.add", control.AddUser(id="User2"))
    before = read(store, "SELECT * FROM log")
    newer(monkeypatch, *STEPS)
    async with open_relay(tmp_path):
        pass
    (name,) = copies(tmp_path)
    assert read(tmp_path / name, "SELECT * FROM log") == before


async def test_store_that_cannot_be_copied_is_not_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await used(tmp_path)
    newer(monkeypatch, *STEPS)

    async def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(database.Connection, "backup", full)
    with pytest.raises(CannotUpgrade, match=r"no copy of it can be made first \(database or disk is full\): it needs"):
        async with open_relay(tmp_path):
            pass
    assert version(store) == NOW
    assert copies(tmp_path) == []


async def test_downgrade_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        newer(patched, *STEPS)
        store = await used(tmp_path)
    with pytest.raises(NewerStore, match="install that relay again, or restore a backup"):
        async with open_relay(tmp_path):
            pass
    assert version(store) == NOW + 2
    assert [one.level for one in doctor(tmp_path) if one.check == "upgrade"] == ["bad"]


def doctor(data: Path) -> list[Finding]:
    return list(find_upgrade(data / "relay.db"))


async def test_copy_of_an_earlier_upgrade_is_removed_when_the_next_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await used(tmp_path)
    with monkeypatch.context() as patch:
        newer(patch, STEPS[0])
        patch.setattr(written_by, "__version__", "2.0")
        async with open_relay(tmp_path):
            pass
        (copy,) = tmp_path.glob("relay-*-to-*.db")
        patch.setattr(written_by, "__version__", "2.1")
        async with open_relay(tmp_path) as relay:
            await relay.admin.handle("user.add", control.AddUser(id="later"))
        assert copy.exists(), "nothing was said between the two"
        patch.setattr(written_by, "__version__", "2.2")
        async with open_relay(tmp_path):
            pass
    assert not copy.exists(), "it lacks what was said since"
    assert store.exists()


async def test_upgrade_interrupted_before_the_relay_ran_keeps_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await used(tmp_path)
    newer(monkeypatch, STEPS[0])
    monkeypatch.setattr(written_by, "__version__", "2.0")
    async with database.connect(store, writing=True) as writing:
        await migrate.upgrade(writing, store)
    (copy,) = tmp_path.glob("relay-*-to-*.db")
    for _ in range(2):
        async with open_relay(tmp_path) as relay:
            await relay.admin.handle("user.add", control.AddUser(id=f"user{relay.state.seq}"))
        assert copy.exists()
