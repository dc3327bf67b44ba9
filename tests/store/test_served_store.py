"""The trace of a served store, if that store is no longer in its place."""

from pathlib import Path

import pytest

from relay.store.data_dir import empty, served
from relay.store.data_dir.served import MovedAway


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A data directory whose store was served, and the runtime directory with the trace; the store is gone."""
    data, runtime = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    runtime.mkdir()
    (data / "relay.db").write_bytes(b"store")
    served.note(data, runtime)
    (data / "relay.db").unlink()
    return data, runtime


def test_store_that_was_moved_away_is_reported(places: tuple[Path, Path]) -> None:
    with pytest.raises(MovedAway):
        served.refuse(*places)


def test_restore_interrupted_between_its_renames_may_be_finished(places: tuple[Path, Path]) -> None:
    data, runtime = places
    (data / "relay.replacing" / "old").mkdir(parents=True)
    (data / "relay.replacing" / "relay.db").write_bytes(b"restored")
    (data / "relay.replacing" / "old" / "relay.db").write_bytes(b"before")
    served.refuse(data, runtime)


def test_files_around_a_missing_store_are_reported_by_the_check_of_empty_stores(places: tuple[Path, Path]) -> None:
    data, runtime = places
    (data / "relay.db-wal").write_bytes(b"log")
    served.refuse(data, runtime)


def test_disks_own_folder_is_not_a_trace_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "files" / "lost+found").mkdir(parents=True)
    assert empty.trace(tmp_path) is None
    (tmp_path / "files" / "x").touch()
    assert empty.trace(tmp_path) == tmp_path / "files" / "x"
