"""The directory of contents: each is stored once, complete or not at all, and not removed while needed."""

import hashlib
from pathlib import Path

import pytest

from relay.store.blobs import Blobs


def put(contents: Blobs, data: bytes) -> str:
    incoming = contents.begin()
    incoming.write(data)
    digest = incoming.finish()
    contents.put_in_place(incoming, digest)
    incoming.discard()
    return digest


@pytest.fixture
def contents(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "files")


def test_a_content_is_named_by_its_digest(contents: Blobs) -> None:
    digest = put(contents, b"hello")
    assert digest == hashlib.sha256(b"hello").hexdigest()
    assert contents.path(digest).read_bytes() == b"hello"
    assert put(contents, b"hello") == digest
    assert [one for some in contents.digests() for one in some] == [digest]


def test_unplaced_content_leaves_nothing(contents: Blobs) -> None:
    incoming = contents.begin()
    incoming.write(b"half")
    incoming.discard()
    incoming.discard()
    assert list(contents.directory.iterdir()) == []


def test_content_that_arrives_again_is_not_removed(contents: Blobs) -> None:
    digest = put(contents, b"x")
    with contents.pin(digest):
        with contents.pin(digest):
            assert contents.quarantine(digest) is None
        assert contents.quarantine(digest) is None
    aside = contents.quarantine(digest)
    assert aside is not None
    assert not contents.path(digest).exists()
    assert contents.quarantine(digest) is None


def test_content_that_arrives_while_others_are_removed_stays(contents: Blobs) -> None:
    with contents.unpinned(["a", "b"]) as leaving, contents.unpinned(["a"]) as twin:
        with contents.pin("a"):
            assert leaving == {"a", "b"}, "it may be taken away if it does not come to anything"
        assert (leaving, twin) == ({"b"}, set())
    with contents.unpinned(["a"]) as again:
        assert again == {"a"}


def test_a_sweep_removes_unfinished_contents_only(contents: Blobs) -> None:
    digest = put(contents, b"x")
    unfinished = contents.begin()
    unfinished.write(b"never finished")
    unfinished.close()
    contents.quarantine(put(contents, b"y"))
    assert contents.sweep() == 2
    assert [one for some in contents.digests() for one in some] == [digest]


def test_a_missing_directory_counts_as_empty(contents: Blobs) -> None:
    assert list(contents.digests()) == []
    assert contents.sweep() == 0
    assert contents.room().free > 0


def test_every_folder_of_a_blob_is_synced_even_if_an_earlier_process_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may lose a folder with everything in it if its process died before syncing it."""
    digest = hashlib.sha256(b"hello").hexdigest()
    (tmp_path / "files" / digest[:2]).mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr("relay.store.blobs.sync", synced.append)
    contents = Blobs(tmp_path / "files")
    put(contents, b"hello")
    assert synced == [tmp_path, contents.directory, contents.path(digest).parent]
    put(contents, b"hello")
    assert synced[3:] == [contents.path(digest).parent]
