"""What `relay restore` takes out of an archive: a store and its files, and nothing that somebody hid in it."""

import io
import tarfile
from pathlib import Path

import pytest

from relay.core.relay import open_relay
from relay.store.backup.archive import back_up
from relay.store.backup.restore import CannotRestore, unpacked


def restore(backup: Path, data: Path) -> None:
    with unpacked(backup, data) as prepared:
        prepared.commit()


async def store(data: Path) -> None:
    data.mkdir()
    async with open_relay(data):
        pass


async def test_a_store_and_its_files_come_back(tmp_path: Path) -> None:
    await store(tmp_path / "data")
    (tmp_path / "data/files/ab").mkdir(parents=True)
    (tmp_path / "data/files/ab/picture").write_bytes(b"pixels")
    back_up(tmp_path / "data", tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "again")
    assert (tmp_path / "again/files/ab/picture").read_bytes() == b"pixels"
    async with open_relay(tmp_path / "again"):
        pass


@pytest.mark.parametrize("name", ["../outside", "files/../../outside", "/outside", "files", "other", "."])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
async def test_what_is_in_no_backup_is_refused_and_not_written(tmp_path: Path, name: str, kind: bytes) -> None:
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
async def test_a_compressed_archive_is_no_backup(tmp_path: Path, mode: str) -> None:
    await store(tmp_path / "data")
    with tarfile.open(tmp_path / "backup.tar", mode) as tar:
        tar.add(tmp_path / "data" / "relay.db", "relay.db")
    with pytest.raises(CannotRestore, match="is no backup of a relay"):
        restore(tmp_path / "backup.tar", tmp_path / "new")


async def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "backup.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("relay.db")
        member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
        tar.addfile(member)
    with pytest.raises(CannotRestore):
        restore(tmp_path / "backup.tar", tmp_path / "new")
    assert not list((tmp_path / "new").glob(".relay-*"))
