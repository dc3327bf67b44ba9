"""An export is untrusted: nothing outside of it is read, and its claimed content is bounded."""

import gzip
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from relay.cli.importers.base import NotUnderstood, fit_name
from relay.cli.importers.formats.archive import Archive, ArchiveBounds
from relay.cli.importers.formats.detect import open_source
from relay.cli.importers.formats.mattermost import Mattermost

ROOM = 2**40


def bulk(*paths: str) -> str:
    records = [
        {"type": "version", "version": 1},
        {"type": "user", "user": {"username": "anna"}},
        {"type": "direct_post", "direct_post": {
            "channel_members": ["anna"], "user": "anna", "message": "m", "create_at": 1,
            "attachments": [{"path": path} for path in paths]}},
    ]  # fmt: skip
    return "\n".join(map(json.dumps, records))


def enclosed(source: Path) -> list[str]:
    opened = open_source(source, room=ROOM)
    assert isinstance(opened, Mattermost)
    return [file.read().decode() for said in opened.messages() for file in said.files]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    return secret


def test_file_beside_an_export_is_read_only_from_its_own_folder(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "export"
    (folder / "data").mkdir(parents=True)
    (folder / ".ssh").mkdir()
    (folder / "data" / "mine.txt").write_text("mine")
    for name in ("beside.txt", ".ssh/id"):
        (folder / name).write_text("secret")
    (folder / "data" / "link.txt").symlink_to(outside)
    (folder / "files").symlink_to(tmp_path)
    (folder / "bulk.jsonl").write_text(
        bulk("mine.txt", "data/mine.txt", str(outside), "../secret.txt", "data/../../secret.txt", "beside.txt",
             ".ssh/id", "link.txt", "data/link.txt", "files/secret.txt", "/proc/self/environ", "", ".", "..", "x\0y")
    )  # fmt: skip
    assert enclosed(folder / "bulk.jsonl") == ["mine", "mine"]


def test_link_in_a_folder_does_not_lead_outside(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "export"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "mine.txt").write_text("mine")
    (folder / "data" / "inside.txt").symlink_to("mine.txt")
    (folder / "data" / "out.txt").symlink_to(outside)
    (folder / "data" / "all").symlink_to(tmp_path)
    (folder / "data" / "loop").symlink_to("loop")
    os.mkfifo(folder / "data" / "pipe")
    (folder / "bulk.jsonl").write_text(
        bulk("mine.txt", "inside.txt", "out.txt", "all/secret.txt", "loop", "pipe", "../../secret.txt")
    )
    assert enclosed(folder) == ["mine", "mine"]


def test_link_created_later_is_not_followed(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "export"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.txt").write_text("mine")
    opened = Archive(folder)
    (folder / "data" / "a.txt").unlink()
    (folder / "data" / "a.txt").symlink_to(outside)
    with pytest.raises(NotUnderstood):
        opened.open("data/a.txt")


def test_links_and_devices_in_a_tar_file_are_ignored(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "bulk.jsonl").write_text(bulk("link.txt", "/abs.txt", "../up.txt"))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "bulk.jsonl", "bulk.jsonl")
        link = tarfile.TarInfo("data/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
    assert enclosed(tmp_path / "x.tar") == []


def test_compressed_tar_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "bulk.jsonl").write_text(bulk())
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "bulk.jsonl", "bulk.jsonl")
    with pytest.raises(NotUnderstood, match="unpack it first"):
        Archive(tmp_path / "x.tar.gz")


def test_archive_that_unpacks_to_more_than_the_free_room_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("bulk.jsonl", bulk())
        bomb.writestr("data/zeros", bytes(50_000_000))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    with pytest.raises(NotUnderstood, match=r"unpacks to 50,0.* bytes, and 1,000,000 are free"):
        open_source(tmp_path / "bomb.zip", room=1_000_000)


def test_list_and_line_are_read_up_to_a_limit(tmp_path: Path) -> None:
    small = ArchiveBounds(list_bytes=1_000, line_bytes=1_000)
    with zipfile.ZipFile(tmp_path / "slack.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("users.json", " " * 1_001)
        target.writestr("channels.json", "[]")
    with pytest.raises(NotUnderstood, match=r"users\.json is larger than 1,000 bytes"):
        open_source(tmp_path / "slack.zip", room=ROOM, bounds=small)
    (tmp_path / "long.jsonl").write_text(bulk() + "\n" + " " * 2_000)
    with pytest.raises(NotUnderstood, match=r"a line is longer than 1,000 bytes"):
        open_source(tmp_path / "long.jsonl", room=ROOM, bounds=small)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(20):
            tar.addfile(tarfile.TarInfo(f"{number}"))
    with pytest.raises(NotUnderstood, match="more than 10 files"):
        Archive(tmp_path / "x.tar", ArchiveBounds(files=10))


def test_damaged_or_encrypted_archive_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("users.json", json.dumps([{"id": "u1"}] * 100))
        target.writestr("channels.json", "[]")
    whole = path.read_bytes()
    at = whole.index(b"users.json") + 20
    path.write_bytes(whole[:at] + bytes(4) + whole[at + 4 :])
    with pytest.raises(NotUnderstood):
        open_source(path, room=ROOM)
    flagged = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        flagged[whole.index(mark) + offset] |= 1
    path.write_bytes(flagged)
    with pytest.raises(NotUnderstood, match="cannot be unpacked"):
        open_source(path, room=ROOM)


def test_gzip_of_lines_is_not_an_export(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(bulk().encode()))
    with pytest.raises(NotUnderstood):
        open_source(tmp_path / "x.jsonl.gz", room=ROOM)


def test_imported_name_has_no_invisible_characters() -> None:
    assert fit_name("An\u202ena\u200b B") == "Anna B"
    assert fit_name(" Anna \r\n 山田\u3000太郎 ") == "Anna 山田\u3000太郎"
    assert fit_name("\u3164\u200d") == ""


def test_file_in_a_tar_file_is_found_without_reading_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, many = tmp_path / "export.tar", 50
    with tarfile.open(packed, "w") as tar:
        for number in range(many):
            content = f"{number}".encode()
            member = tarfile.TarInfo(f"files/{number}/a.txt")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    source = Archive(packed)
    heads = 0
    following = tarfile.TarFile.next

    def counted(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        nonlocal heads
        heads += 1
        return following(tar)

    monkeypatch.setattr(tarfile.TarFile, "next", counted)
    files = [source.enclosed(f"files/{number}/a.txt") for number in range(many)]
    read = [file.read() for file in files if file is not None]
    assert read == [f"{number}".encode() for number in range(many)]
    assert heads <= 2 * many


def test_sparse_file_in_a_tar_file_is_complete(tmp_path: Path) -> None:
    holes = tmp_path / "holes"
    with holes.open("wb") as file:
        file.seek(2**20)
        file.write(b"end")
    packed = tmp_path / "export.tar"
    subprocess.run(["tar", "-S", "-cf", packed, "-C", tmp_path, "holes"], check=True)
    assert packed.stat().st_size < 2**19
    found = Archive(packed).enclosed("holes")
    assert found is not None
    assert found.read() == holes.read_bytes()


def test_truncated_packed_export_is_not_called_compressed(tmp_path: Path) -> None:
    whole, cut = tmp_path / "export.tar", tmp_path / "cut.tar"
    (tmp_path / "a.txt").write_bytes(b"a" * 50_000)
    with tarfile.open(whole, "w") as tar:
        for number in range(3):
            tar.add(tmp_path / "a.txt", f"files/{number}/a.txt")
    cut.write_bytes(whole.read_bytes()[:70_000])
    with pytest.raises(NotUnderstood, match="is damaged, or not all of it is there"):
        Archive(cut)


def test_backup_is_recognised_and_the_command_for_it_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "backup.tar", "w") as tar:
        (tmp_path / "relay.db").write_bytes(b"")
        tar.add(tmp_path / "relay.db", "relay.db")
    with pytest.raises(NotUnderstood, match="`relay restore`"):
        open_source(tmp_path / "backup.tar", room=ROOM)
