"""The same text is found however it was typed."""

import unicodedata

import pytest

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
