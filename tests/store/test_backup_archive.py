"""`relay restore` unpacks a store and its files from an archive, and nothing that somebody hid in it."""

import errno
import fcntl
import io
import os
import tarfile
from pathlib import Path
from typing import Any, Literal

import pytest

from relay.core.relay import open_relay
from relay.store.backup.archive import back_up
from relay.store.backup.restore import CannotRestore, replaced_store, unpacked
from relay.store.files import replacing, tls_folder


def restore(backup: Path, data: Path) -> None:
    with unpacked(backup, data) as prepared:
        prepared.commit()


async def store(data: Path) -> None:
    data.mkdir()
    async with open_relay(data):
        pass


async def test_store_and_its_files_are_restored(tmp_path: Path) -> None:
    await store(tmp_path / "data")
    (tmp_path / "data/files/ab").mkdir(parents=True)
    (tmp_path / "data/files/ab/picture").write_bytes(b"pixels")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "again")
    assert (tmp_path / "again/files/ab/picture").read_bytes() == b"pixels"
    async with open_relay(tmp_path / "again"):
        pass


@pytest.mark.parametrize(
    "name", ["../outside", "files/../../outside", "/outside", "files", "other", ".", "tls/other", "tls/../ca.key"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
async def test_restore_refuses_archive_members_that_no_backup_has(tmp_path: Path, name: str, kind: bytes) -> None:
    await store(tmp_path / "data")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    with tarfile.open(tmp_path / "backup.tar", "a") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, "relay.db", 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"evil"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CannotRestore, match="in no backup"):
        restore(tmp_path / "backup.tar", tmp_path / "data")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
async def test_compressed_archive_is_not_a_backup(tmp_path: Path, mode: Literal["w:gz", "w:xz"]) -> None:
    await store(tmp_path / "data")
    with tarfile.open(tmp_path / "backup.tar", mode) as tar:
        tar.add(tmp_path / "data" / "relay.db", "relay.db")
    with pytest.raises(CannotRestore, match="is not a backup of a relay"):
        restore(tmp_path / "backup.tar", tmp_path / "new")


async def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "backup.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("relay.db")
        member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
        tar.addfile(member)
    with pytest.raises(CannotRestore):
        restore(tmp_path / "backup.tar", tmp_path / "new")
    assert not list((tmp_path / "new").glob(".relay-*"))


def tls_of(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (data / "tls").iterdir()}


def authority(data: Path, name: bytes) -> dict[str, bytes]:
    """Put an authority into a data directory; its content does not matter here."""
    (data / "tls").mkdir(mode=0o750)
    for file in ("ca.crt", "ca.key", "relay.crt", "relay.key", "names.txt"):
        path = data / "tls" / file
        path.write_bytes(name)
        path.chmod(0o600 if path.suffix == ".key" else 0o644)
    return tls_of(data)


async def test_backup_restores_the_tls_authority_and_undo_the_former_one(tmp_path: Path) -> None:
    await store(tmp_path / "data")
    kept = authority(tmp_path / "data", b"that all phones trust")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "new machine")
    assert tls_of(tmp_path / "new machine") == kept
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new machine/tls").iterdir()}
    secret = {name for name, mode in modes.items() if mode == 0o600}
    assert (secret, set(modes.values())) == ({"ca.key", "relay.key"}, {0o600, 0o644})
    await store(tmp_path / "other")
    before = authority(tmp_path / "other", b"made there")
    restore(tmp_path / "backup.tar", tmp_path / "other")
    assert tls_of(tmp_path / "other") == kept
    with replaced_store(tmp_path / "other") as prepared:
        prepared.commit()
    assert tls_of(tmp_path / "other") == before


async def test_a_backup_without_an_authority_leaves_the_present_one(tmp_path: Path) -> None:
    await store(tmp_path / "data")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    kept = authority(tmp_path / "data", b"made since")
    restore(tmp_path / "backup.tar", tmp_path / "data")
    assert tls_of(tmp_path / "data") == kept


async def test_backup_without_access_to_the_key_reports_it_and_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(tmp_path / "data")
    authority(tmp_path / "data", b"made once")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "ca.key" and real(path, mode))
    lacking: list[str] = []
    back_up(tmp_path / "data", tmp_path / "backup.tar", lacks=lacking.extend)
    assert lacking == ["tls/ca.key"]
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert not [name for name in tar.getnames() if name.startswith("tls")]


async def test_undo_removes_an_authority_that_the_restore_brought(tmp_path: Path) -> None:
    await store(tmp_path / "from")
    restored = authority(tmp_path / "from", b"in the backup")
    back_up(tmp_path / "from", tmp_path / "backup.tar")
    await store(tmp_path / "data")
    restore(tmp_path / "backup.tar", tmp_path / "data")
    assert tls_of(tmp_path / "data") == restored
    for there in (False, True, False):
        with replaced_store(tmp_path / "data") as prepared:
            prepared.commit()
        assert (tmp_path / "data" / "tls").exists() == there
    assert not list((tmp_path / "data").glob("*.absent"))


async def test_undo_keeps_an_authority_made_since(tmp_path: Path) -> None:
    await store(tmp_path / "data")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "data")
    made = authority(tmp_path / "data", b"made since")
    with replaced_store(tmp_path / "data") as prepared:
        prepared.commit()
    assert tls_of(tmp_path / "data") == made


def half_replaced(data: Path) -> dict[str, bytes]:
    """Create the state of a `tls init --again` killed between its renames; return the new authority."""
    plan = tls_folder.plan(data / "tls")
    authority(data, b"made before")
    committed = data / plan.committed
    (committed / replacing.OLD).mkdir(parents=True)
    (data / "tls").rename(committed / replacing.OLD / "tls")
    new = authority(data, b"made again")
    (data / "tls").rename(committed / "tls")
    return new


async def test_a_backup_after_a_killed_replacement_of_the_authority_has_the_new_one(tmp_path: Path) -> None:
    await store(tmp_path / "data")
    new = half_replaced(tmp_path / "data")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    assert tls_of(tmp_path / "data") == new
    restore(tmp_path / "backup.tar", tmp_path / "new machine")
    assert tls_of(tmp_path / "new machine") == new


async def test_backup_that_cannot_finish_a_killed_replacement_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(tmp_path / "data")
    half_replaced(tmp_path / "data")

    def refusing(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(replacing, "finish", refusing)
    lacking: list[str] = []
    back_up(tmp_path / "data", tmp_path / "backup.tar", lacks=lacking.extend)
    assert "tls/ca.key" in lacking


async def test_a_backup_waits_for_a_replacement_of_the_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(tmp_path / "data")
    authority(tmp_path / "data", b"made once")
    real, held = tarfile.TarFile.add, []

    def adding(tar: tarfile.TarFile, path: Path, name: str, **options: Any) -> None:
        if name.startswith("tls/"):
            with (tmp_path / "data/tls.lock").open("w") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(name)
        real(tar, path, name, **options)

    monkeypatch.setattr(tarfile.TarFile, "add", adding)
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    assert len(held) == 5


async def test_a_restore_after_a_killed_replacement_of_the_authority_keeps_both(tmp_path: Path) -> None:
    await store(tmp_path / "from")
    restored = authority(tmp_path / "from", b"in the backup")
    back_up(tmp_path / "from", tmp_path / "backup.tar")
    await store(tmp_path / "data")
    new = half_replaced(tmp_path / "data")
    restore(tmp_path / "backup.tar", tmp_path / "data")
    assert tls_of(tmp_path / "data") == restored
    tls_folder.recover(tmp_path / "data" / "tls")
    assert tls_of(tmp_path / "data") == restored
    with replaced_store(tmp_path / "data") as prepared:
        prepared.commit()
    assert tls_of(tmp_path / "data") == new


def test_undo_without_a_data_directory_reports_it(tmp_path: Path) -> None:
    with pytest.raises(CannotRestore, match="there is no data directory"), replaced_store(tmp_path / "none"):
        pass
