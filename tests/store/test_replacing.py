"""A replacement that is killed between any two calls is finished by the next one, with every move synced."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from relay.store.files import replacing
from relay.store.files.scratch import sync


class Killed(BaseException):
    """The process ends here."""


class Disk:
    """Records directories with unsynced name changes, and ends the process at a call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unsynced: set[Path] = set()
        self.calls = 0
        self.kill_at = -1
        self.removed_unsynced: list[set[Path]] = []
        rename, replace, symlink_to = Path.rename, Path.replace, Path.symlink_to
        rmtree = shutil.rmtree

        def renaming(path: Path, target: Path) -> Any:
            self._call()
            moved = rename(path, target)
            self.unsynced |= {path.parent, Path(target).parent}
            return moved

        def replacing_link(path: Path, target: Path) -> Any:
            self._call()
            return replace(path, target)

        def linking(path: Path, target: str) -> None:
            self._call()
            symlink_to(path, target)

        def syncing(path: Path) -> None:
            self._call()
            sync(path)
            self.unsynced.discard(path)

        def removing(path: Path) -> None:
            self._call()
            self.removed_unsynced.append(set(self.unsynced))
            rmtree(path)

        monkeypatch.setattr(Path, "rename", renaming)
        monkeypatch.setattr(Path, "replace", replacing_link)
        monkeypatch.setattr(Path, "symlink_to", linking)
        monkeypatch.setattr("relay.store.files.replacing.sync", syncing)
        monkeypatch.setattr(shutil, "rmtree", removing)

    def _call(self) -> None:
        if self.calls == self.kill_at:
            raise Killed
        self.calls += 1


@pytest.mark.parametrize("present", [True, False])
def test_files_moved_by_a_killed_restore_are_synced_before_their_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool
) -> None:
    disk = Disk(monkeypatch)
    kill_at = 0
    finished = False
    while not finished:
        data = tmp_path / str(kill_at)
        new = data / "new"
        (new / "files").mkdir(parents=True)
        (new / "relay.db").write_text("new")
        if present:
            (data / "files").mkdir()
            (data / "relay.db").write_text("old")
        disk.unsynced.clear()
        disk.removed_unsynced.clear()
        disk.calls, disk.kill_at = 0, kill_at
        try:
            replacing.commit(data, new, replacing.STORE_WITH_FILES)
            finished = True
        except Killed:
            disk.kill_at = -1
            replacing.finish(data, replacing.STORE_WITH_FILES)
        committed = not new.exists()
        assert committed or kill_at < 8, "it is committed by its first calls"
        if committed:
            assert (data / "relay.db").read_text() == "new"
            kept = replacing.kept(data, replacing.STORE_WITH_FILES)
            assert [(one / "relay.db").read_text() for one in kept] == ["old"] * present
            folders = {data, data / replacing.STORE_WITH_FILES.committed}
            assert [unsynced & folders for unsynced in disk.removed_unsynced] == [set()], f"killed at call {kill_at}"
        kill_at += 1
    assert kill_at > 8


def test_a_relative_link_leads_to_the_same_file_after_a_kill_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    kill_at = 0
    finished = False
    while not finished:
        data, away = tmp_path / str(kill_at), tmp_path / f"away-{kill_at}"
        new = data / "new"
        new.mkdir(parents=True)
        away.mkdir()
        (new / "relay.db").write_text("new")
        (away / "relay.db").write_text("old")
        disk.kill_at = -1
        (data / "relay.db").symlink_to(f"../{away.name}/relay.db")
        disk.calls, disk.kill_at = 0, kill_at
        try:
            replacing.commit(data, new, replacing.STORE_WITH_FILES)
            finished = True
        except Killed:
            disk.kill_at = -1
            replacing.finish(data, replacing.STORE_WITH_FILES)
        if new.exists():
            assert (data / "relay.db").read_text() == "old", f"killed at call {kill_at}"
        else:
            assert (data / "relay.db").read_text() == "new", f"killed at call {kill_at}"
            (kept,) = replacing.kept(data, replacing.STORE_WITH_FILES)
            assert (kept / "relay.db").read_text() == "old", f"killed at call {kill_at}"
        assert not list(data.rglob("*.link")), f"killed at call {kill_at}"
        kill_at += 1
    assert kill_at > 8


def test_killed_undo_still_removes_an_item_that_did_not_exist_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    for undone in (False, True):
        kill_at, finished = 0, False
        while not finished:
            data = tmp_path / f"{undone}-{kill_at}"
            new = data / "new"
            (new / "tls").mkdir(parents=True)
            (new / "relay.db").write_text("new")
            (data / "relay.db").write_text("old")
            disk.kill_at = -1
            if undone:
                replacing.commit(data, new, replacing.STORE_WITH_FILES)
                (new,) = replacing.kept(data, replacing.STORE_WITH_FILES)
            disk.unsynced.clear()
            disk.removed_unsynced.clear()
            disk.calls, disk.kill_at = 0, kill_at
            try:
                replacing.commit(data, new, replacing.STORE_WITH_FILES)
                finished = True
            except Killed:
                disk.kill_at = -1
                replacing.finish(data, replacing.STORE_WITH_FILES)
            disk.kill_at = -1
            if not new.exists():
                assert (data / "tls").exists() != undone, f"killed at call {kill_at}"
                (kept,) = replacing.kept(data, replacing.STORE_WITH_FILES)
                assert (kept / "tls").exists() == undone
                replacing.commit(data, kept, replacing.STORE_WITH_FILES)
                assert (data / "tls").exists() == undone
                assert (data / "relay.db").read_text() == ("new" if undone else "old")
            kill_at += 1
        assert kill_at > 8
