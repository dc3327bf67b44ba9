"""The same text is found however it was typed."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import text
from relay.text import fold


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("Привет", "ПРИВЕТ"),
        ("Ёлка", "елка"),
        ("caf\u00e9", "cafe\u0301"),
        ("caf\u00e9", "cafe"),
        ("Hỏa tốc", "hoa toc"),
        ("\uff21\uff22\uff23\uff11", "abc1"),  # full width
        ("\uff76\uff9e\uff77", "ガキ"),  # half width, with its mark apart
        ("o\ufb03ce", "office"),  # a ligature
        ("İstanbul", "istanbul"),
        ("ısparta", "ISPARTA"),
        ("مُحَمَّد", "محمد"),
        ("محـــمد", "محمد"),
        ("أحمد", "احمد"),
        ("على", "علي"),
        ("می\u200cخواهم", "میخواهم"),
        ("שָׁלוֹם", "שלום"),
        ("co\u00adop", "coop"),
        ("한국", unicodedata.normalize("NFD", "한국")),
        ("don\u2019t", "don't"),
        ("1\u2075", "15"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_two_ways_to_type_a_text_fold_alike(said: str, typed: str) -> None:
    assert fold(said) == fold(typed)


@pytest.mark.parametrize(
    ("one", "other"), [("か", "が"), ("क", "कि"), ("한", "하"), ("ת", "ה"), ("o", "0"), ("ß", "s")]
)
def test_different_texts_do_not_fold_alike(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text())
def test_folding_twice_is_folding_once_and_normal_forms_make_no_difference(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert fold(unicodedata.normalize(form, text)) == folded  # type: ignore[arg-type]


def test_every_control_that_cannot_be_seen_is_left_out_and_few_characters_are_looked_at_for_it() -> None:
    unseen = {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}
    assert unseen <= {code for code, left in text._table().items() if left is None}
    # It is done in the first search of a relay, and the others wait meanwhile.
    assert sum(map(len, text._CONTROLS)) < 150_000
