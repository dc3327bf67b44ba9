"""The meaning of "found" (PROTOCOL.md, section 5): spelling does not matter in the message or the query."""

import hashlib
import json
import logging
import sqlite3
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import text as text_module
from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.service import messages
from relay.core.submit import submit
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.queries import positions, search
from relay.store.queries.search import SearchBounds, Sought
from relay.store.sqlite import database, folding, reading
from relay.store.sqlite.database import TooLong
from relay.store.sqlite.schema import MIGRATIONS
from relay.text import FOLDING, NO_CHARACTERS, PLAIN_CHARACTERS_KEPT, FoldedCharacters, fold
from tests.support.kept_stores import unpack
from tests.support.tunings import indexing

_KNOWN = json.loads((Path(__file__).parent.parent / "data" / "found.json").read_text())
PAIRS: list[tuple[str, str]] = _KNOWN["pairs"]
"""Texts of messages, and queries that find them; the page's tests highlight the same."""
SHORT: list[tuple[str, str]] = _KNOWN["short"]
"""The query, and the message."""
DIFFERENT: list[tuple[str, str]] = _KNOWN["different"]
OTHERS = ["nothing like it", "ничего подобного", "没有", "x"]


@asynccontextmanager
async def _saying(data: Path, texts: Iterable[str]) -> AsyncIterator[Relay]:
    async with open_relay(data, tuning=indexing()) as relay:
        for user in ("a", "b"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        for number, text in enumerate(texts):
            request = requests.New(chat_id="b", client_message_id=f"c{number}", message=text)
            relay.log.append(Command(relay.clock(), UserKey(1), NO_DEVICE, request))
        await relay.log.keep_snapshot()
        await _indexed(relay)
        yield relay


async def _indexed(relay: Relay) -> None:
    with trio.fail_after(20):
        while len(set(await positions.ends(relay.reading))) > 1:
            await trio.sleep(0.01)


async def _ways(relay: Relay, text: str, bounds: SearchBounds = search.USUAL_BOUNDS) -> list[list[str | None]]:
    """Find a text by the index, without it, and by looking through the chat."""
    sought = Sought(text, {ChatKey(1): 0}, count=200)
    found = [
        await search.search(relay.reading, sought, bounds=bounds),
        await search.search(relay.reading, sought, indexed=0, bounds=bounds),
        await search.search_through(relay.reading, sought),
    ]
    return [[row.message for row in rows] for rows, _ in found]


async def test_word_is_found_in_any_spelling(tmp_path: Path) -> None:
    texts = [*(said for said, _ in PAIRS), *OTHERS]
    async with _saying(tmp_path, texts) as relay:
        for said, typed in PAIRS:
            for found in await _ways(relay, typed):
                assert said in found, (said, typed)
                assert not {*found} & {*OTHERS}, (said, typed)


async def test_search_for_one_or_two_characters_finds_the_same_as_a_longer_one(tmp_path: Path) -> None:
    async with _saying(tmp_path, [said for said, _ in PAIRS]) as relay:
        # If no entries are read first, the index has to find it.
        for bounds in (search.USUAL_BOUNDS, SearchBounds(latest_entries=0)):
            for typed, said in SHORT:
                for found in await _ways(relay, typed, bounds):
                    assert said in found, (typed, bounds)


async def test_rare_character_is_found_by_the_index_and_a_common_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    wanted = search.SearchRun.wanted

    def look(self: search.SearchRun, row: tuple[int, ...]) -> bool:
        looked_at.append(row[0])
        return wanted(self, row)

    monkeypatch.setattr(search.SearchRun, "wanted", look)
    bounds = SearchBounds(latest_entries=20)
    texts = [f"{number} words 茶 here" if number % 100 == 7 else f"{number} words here" for number in range(400)]
    async with _saying(tmp_path, texts) as relay:
        rows, more = await search.search(relay.reading, Sought("茶", {ChatKey(1): 0}), bounds=bounds)
        assert [row.message for row in rows] == [text for text in reversed(texts) if "茶" in text]
        assert not more
        assert len(looked_at) == 4
        looked_at.clear()
        rows, more = await search.search(relay.reading, Sought("H", {ChatKey(1): 0}, count=10), bounds=bounds)
        assert (len(rows), more) == (10, True)
        assert len(looked_at) == 11
        # Two letters that begin too many trigrams are found in the log, also page by page.
        bounds = SearchBounds(latest_entries=20, prefixed_trigrams=2)
        found: list[str | None] = []
        before, more = search.END, True
        while more:
            sought = Sought("7", {ChatKey(1): 0}, before, count=7)
            try:
                rows, more = await search.search(relay.reading, sought, bounds=bounds)
            except TooLong:
                rows, more = await search.search_through(relay.reading, sought)
            found += [row.message for row in rows]
            before = rows[-1].seq if rows else before
        assert found == [text for text in reversed(texts) if "7" in text]


async def test_different_words_are_not_found_for_each_other(tmp_path: Path) -> None:
    async with _saying(tmp_path, [one for one, _ in DIFFERENT]) as relay:
        for said, typed in DIFFERENT:
            for found in await _ways(relay, typed):
                assert said not in found, (said, typed)


class _Asker:
    user = 1


async def test_query_of_marks_alone_is_refused_with_a_message(tmp_path: Path) -> None:
    async with _saying(tmp_path, ["a"]) as relay:
        for query in ("  ", "\u0301", "\u200d\u200b", "\u0640", "\u3000"):
            with pytest.raises(RelayError, match="the query is empty"):
                await messages.search(relay.service, _Asker(), requests.Search(query=query), print)  # type: ignore[arg-type]


async def test_edit_of_a_text_with_line_breaks_leaves_nothing_of_it_in_the_index(tmp_path: Path) -> None:
    async with _saying(tmp_path, ["one\n\tTWO  three", "plain"]) as relay:
        for found in await _ways(relay, "e two t"):
            assert found == ["one\n\tTWO  three"]
        edit = requests.Edit(chat_id="b", original_message_id=1, message="four\r\n\tFIVE")
        await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, edit, generated_id="e"))
        for found in await _ways(relay, "r five"):
            assert found == ["four\r\n\tFIVE"]
        for term in ('"e t"', "two"):
            assert await relay.reading.execute("SELECT rowid FROM search WHERE search MATCH ?", (term,)) == []
    assert not [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong]


async def test_an_edit_and_a_deletion_leave_nothing_of_a_folded_text_in_the_index(tmp_path: Path) -> None:
    async with _saying(tmp_path, ["Straße ÄRGER", "Grüße ÄRGER", "bleibt"]) as relay:
        edit = requests.Edit(chat_id="b", original_message_id=1, message="ganz ＡＮＤＥＲＳ")
        await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, edit, generated_id="e"))
        await submit(
            relay.log,
            Command(relay.clock(), UserKey(1), NO_DEVICE, requests.Delete(chat_id="b", message_id=2), generated_id="d"),
        )
        for found in await _ways(relay, "ärger"):
            assert found == []
        for found in await _ways(relay, "anders"):
            assert found == ["ganz ＡＮＤＥＲＳ"]
        # Not even as a candidate: removed texts were removed under their own trigrams.
        for term in ("str", "ger", "gru"):
            assert await relay.reading.execute("SELECT rowid FROM search WHERE search MATCH ?", (term,)) == []
    with closing(sqlite3.connect(tmp_path / "relay.db")) as file, file:
        file.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    assert not [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong]


# The folding itself.

LETTERS = st.sampled_from(
    [
        *"abcXYZ 019'-.",
        *("ß", "É", "ü", "ñ", "Ł", "ø", "ﬁ", "ŉ", "İ", "ı", "Σ", "ς", "ᾳ", "ΐ", "Ё", "й", "ґ", "Ա", "և", "Თ"),
        *("שָׁ", "ם", "״", "مُ", "أ", "ـ", "ى", "ک", "ﻻ", "٣", "क़", "कि", "ক্ষ", "ৎ", "ൻ", "ำ", "ட்", "ᠠ᠋"),
        *("か゚", "が", "ｶﾞ", "パ", "世", "\uf9f4", "한", "하", "㍑", "①", "½", "👍🏽", "❤️", "👩‍🚀", "🇩🇪", "…", "—"),
    ]
)
"""Whole characters, as people see them."""
RETYPED: list[Callable[[str], str]] = [
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFKC", text),
    lambda text: unicodedata.normalize("NFKD", text),
    str.upper,
    str.lower,
    str.title,
    str.casefold,
    lambda text: "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text),
    "\u200b".join,
]


@given(st.text())
def test_folding_twice_is_folding_once_and_composing_makes_no_difference(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text)) == folded


@given(st.lists(LETTERS, min_size=1, max_size=30), st.data())
def test_part_of_a_text_in_another_form_folds_to_a_part(letters: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(letters) - 1))
    part = "".join(letters[start : start + data.draw(st.integers(1, 10))])
    for retype in RETYPED:
        assert fold(retype(part)) in fold("".join(letters))
        assert fold(part) in fold(retype("".join(letters)))


async def test_message_is_found_by_each_part_in_any_form_indexed_or_not(tmp_path: Path) -> None:
    bounds = SearchBounds(span_entries=5, latest_entries=0)
    messages: list[list[str]] = []

    @settings(max_examples=120, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(LETTERS, min_size=1, max_size=24))
    def choose(letters: list[str]) -> None:
        if fold("".join(letters)).strip():
            messages.append(letters)

    choose()
    async with _saying(tmp_path, map("".join, messages)) as relay:
        for number, letters in enumerate(messages):
            start, length = number * 7 % len(letters), 1 + number % 10
            part = "".join(letters[start : start + length])
            typed = RETYPED[number % len(RETYPED)](part)
            if not fold(typed).strip():
                continue
            for found in await _ways(relay, typed, bounds):
                assert "".join(letters) in found, (letters, typed)


def test_every_character_folds_alike_in_every_case() -> None:
    for code in (*range(0xD800), *range(0xF900, 0x10000), *range(0x10400, 0x10600), *range(0x1D400, 0x1F400)):
        one = chr(code)
        folded = fold(one)
        assert fold(folded) == folded, hex(code)
        assert {fold(one.upper()), fold(one.lower()), fold(one.title())} == {folded}, hex(code)


def test_changed_folding_has_a_new_name() -> None:
    """A store's index is rebuilt if `FOLDING` differs, which is the only sign."""
    stable = [chr(code) for code in range(0x110000) if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs")]
    digest = hashlib.sha256("\n".join(map(fold, stable)).encode()).hexdigest()[:16]
    assert (FOLDING.partition("/")[0], digest) == ("2", "7fbb91fb4925300a"), (
        "raise the number in relay.text.FOLDING, and note both here"
    )


def test_number_of_remembered_characters_is_bounded() -> None:
    table = FoldedCharacters()
    for code in [*range(0x4E00, 0xA000), *range(0xF0000, 0xF0000 + 2 * PLAIN_CHARACTERS_KEPT)]:
        assert chr(code).translate(table) == fold(chr(code))
        assert len(table) <= PLAIN_CHARACTERS_KEPT


def test_characters_with_another_form_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table, made = FoldedCharacters(), 0
    counted = text_module.folded_character

    def folded(character: str) -> str:
        nonlocal made
        made += 1
        return counted(character)

    monkeypatch.setattr(text_module, "folded_character", folded)
    everything = "".join(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in NO_CHARACTERS)
    everything.translate(table)
    once = made
    everything.translate(table)
    assert made == once < 60_000
    assert len(table) <= PLAIN_CHARACTERS_KEPT + made


# Costs.


def _index(texts: list[str], steps: int) -> tuple[int, int]:
    """Index texts in a store with this many steps; return the number of Python folds and the index's bytes."""
    asked = 0

    def counted(text: str | bytes | None) -> str | None:
        nonlocal asked
        asked += 1
        return reading.fold_column(text)

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        store.create_function("fold", 1, counted, deterministic=True)
        for step in MIGRATIONS[:steps]:
            store.executescript(f"BEGIN; {step}; COMMIT")
        store.executemany(
            "INSERT INTO log (seq, kind, chat, message_id, actor, device, at, target, client_id, message)"
            " VALUES (?1, 1, 1, ?1, 1, 0, 0, 0, '', ?2)",
            enumerate(texts, start=1),
        )
        store.execute("INSERT INTO batch VALUES ('[]', '[]', '[]', '{}', ?, '[]', '[]')", (len(texts),))
        ((size,),) = store.execute("SELECT sum(length(block)) FROM search_data")
        store.execute("DELETE FROM log")
    return asked, size


def test_python_folds_only_texts_that_are_not_ascii_and_the_index_is_half_as_large() -> None:
    plain = [f"the printer number {number} is out of PAPER again" for number in range(500)]
    assert _index(plain, len(MIGRATIONS))[0] == 0
    for some in (plain, [text.replace("a", "\u00e4") for text in plain]):
        asked, size = _index(some, len(MIGRATIONS))
        # Once to index a text, and once to take it out.
        assert asked in (0, 2 * len(some))
        assert size < _index(some, 6)[1] / 2


# Older stores.


async def test_index_of_another_folding_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with _saying(tmp_path, [said for said, _ in PAIRS]):
        pass
    with closing(sqlite3.connect(tmp_path / "relay.db")) as file, file:
        file.execute("UPDATE indexed SET folding = '0/1.1.5'")
    # A check meanwhile reports no fault.
    assert not [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong]
    with caplog.at_level(logging.INFO):
        async with open_relay(tmp_path, tuning=indexing()) as relay:
            assert "the full-text index is rebuilt" in caplog.text
            assert relay.log.index_remaking
            for found in await _ways(relay, "strasse"):
                assert "Die Straße nach Köln" in found
            await _indexed(relay)
            for found in await _ways(relay, "strasse"):
                assert "Die Straße nach Köln" in found
            assert (await relay.reading.execute(folding.KNOWN))[0][0] == FOLDING
            with trio.fail_after(5):
                while relay.log.index_remaking:
                    await trio.sleep(0.01)
    caplog.clear()
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        assert not relay.log.index_remaking
        assert "filled again" not in caplog.text


async def test_a_kept_store_finds_folded_words_after_the_upgrade(tmp_path: Path) -> None:
    unpack("0.1.0", tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as file:
        ((before,),) = file.execute("SELECT count(*) FROM search_docsize")
        assert before > 100
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        chats = dict.fromkeys(relay.state.chats, 0)
        for indexed in (False, True):
            if indexed:
                await _indexed(relay)
            for typed in ("GRUSSE", "ЗДРАВСТВУЙТЕ", "你", "👋", "gladly,"):
                rows, _ = await relay.service.searching.find(UserKey(1), Sought(typed, chats))
                assert rows, (typed, indexed)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as file, file:
        file.execute("INSERT INTO search (search) VALUES ('integrity-check')")
        ((left,),) = file.execute("SELECT count(*) FROM search_docsize")
        ((texts,),) = file.execute("SELECT count(*) FROM log WHERE message IS NOT NULL")
        assert left == texts
    assert not [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong]


async def test_program_without_the_folding_reads_a_store_and_cannot_damage_its_index(tmp_path: Path) -> None:
    async with _saying(tmp_path, ["Straße", "plain"]):
        pass
    with closing(sqlite3.connect(tmp_path / "relay.db")) as file:
        assert file.execute("SELECT rowid FROM search WHERE search MATCH 'str'").fetchall()
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with pytest.raises(sqlite3.OperationalError, match="no such function: fold"):
            file.execute("DELETE FROM log WHERE message = 'plain'")


async def test_every_connection_folds(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        assert await relay.reading.execute("SELECT fold('ẞ')") == [("ss",)]
    async with database.connect(tmp_path / "relay.db", writing=True) as writing:
        assert await writing.execute("SELECT fold('ẞ')") == [("ss",)]
