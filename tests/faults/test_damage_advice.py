"""What check, repair and a refused start say of a damaged store: the damaged pages, and only what helps."""

from pathlib import Path

import pytest

from tests.faults.test_repair import fill, opened
from tests.support.command_line import run
from tests.support.damaged_pages import garble, overwrite, pages

INDEXES = ("log_message", "log_mark", "log_chat", "log_change", "holding_file", "file_digest", "file_loose")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    opened(tmp_path, fill)
    return tmp_path


@pytest.mark.parametrize("index", INDEXES)
def test_check_of_a_damaged_index_advises_the_repair_and_names_the_page(store: Path, index: str) -> None:
    leaves = pages(store / "relay.db", index)
    garble(store / "relay.db", index)
    checked = run("check", data=store)
    assert checked.code == 1
    assert f"Page {leaves[round(0.5 * (len(leaves) - 1))]}: " in checked.out
    assert "`relay repair`" in checked.out
    assert "keep the file and ask for help" not in checked.out


def test_check_names_all_damaged_pages(store: Path) -> None:
    damaged = [pages(store / "relay.db", name)[0] for name in ("log", "log_message", "cursor")]
    damaged.append(pages(store / "relay.db", "log")[-2])
    for page in damaged:
        overwrite(store / "relay.db", page)
    checked = run("check", data=store).out
    assert all(f"Page {page}: " in checked for page in damaged)


def _magic(store: Path) -> None:
    _write(store, 0, b"XXXX")


def _schema(store: Path) -> None:
    _write(store, 105, b"\xff" * 300)


def _first_page(store: Path) -> None:
    overwrite(store, 1, b"\0")


def _half(store: Path) -> None:
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size // 2048 * 1024)


def _write(store: Path, at: int, content: bytes) -> None:
    with store.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("damage", [_magic, _schema, _first_page, _half])
@pytest.mark.parametrize("command", ["repair", "user list", "check", "backup new.tar", "export"])
def test_no_command_sends_to_the_repair_where_the_head_of_the_store_is_damaged(
    store: Path, damage: object, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    assert callable(damage)
    damage(store / "relay.db")
    refused = run(*command.split(), data=store)
    assert refused.code == 1
    assert "`relay restore FILE`" in refused.err + refused.out
    assert "`relay repair`" not in refused.err + refused.out
