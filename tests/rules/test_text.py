"""Folding: the same text is found in any spelling."""

import random
import re
import time
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.text import fold
from relay.unicode.combining_marks import ordered


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
        ("two  words", "two words"),
        ("two\twords", "two words"),
        ("two \r\n\n words", "two words"),
        ("zwei\u00a0\u3000W\u00f6rter\u2028hier", "zwei Wörter hier"),
        ("two \u200b words", "two words"),
    ],
)
def test_two_spellings_of_a_text_fold_alike(said: str, typed: str) -> None:
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
    for form in ("NFC", "NFD"):
        assert fold(unicodedata.normalize(form, text)) == folded


MARKS = "\u0f73\u0f75\u0f81\u0344\uff9e" + "".join(
    chr(code) for code in range(0x0300, 0x1E000) if unicodedata.combining(chr(code))
)


@given(st.text(alphabet=st.sampled_from("ae" + MARKS), min_size=600, max_size=2_000))
def test_order_of_marks_makes_no_difference(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert unicodedata.normalize(form, ordered(text)) == unicodedata.normalize(form, text)


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0301" * 32_000 + "\u0316" * 32_000,
        "\u0301\u0316\u0338" * 20_000,
        "\u0f73" * 30_000,
        "\uff9e\u0316" * 30_000,
    ],
)
def test_text_that_consists_of_marks_is_folded_quickly(text: str) -> None:
    began = time.process_time()
    fold(text)
    # Without sorting it takes some twenty seconds.
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "text", ["\ufdfa" * 65_536, "\u4e2d\u6587" * 32_768, "\ud55c\uae00 \u0438\u043b\u0438 " * 6_000]
)
def test_a_long_text_is_folded_in_short_pieces(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    normalize, longest = unicodedata.normalize, 0

    def measured(form: Literal["NFC", "NFD", "NFKC", "NFKD"], piece: str) -> str:
        nonlocal longest
        longest = max(longest, len(piece))
        return normalize(form, piece)

    monkeypatch.setattr(unicodedata, "normalize", measured)
    fold(text)
    assert 0 < longest <= 1_024, "other threads have their turn in between"


def test_a_text_folds_alike_however_it_is_cut() -> None:
    chosen = random.Random(19)
    letters = "ae\u0301\u0316\u309b\u304b\ufdfa\u1112\u1161\u11ab\ud55c\uae00"
    letters += "\u0640\u064b\u0627\u0653 \u0416\u0306\uff76\uff9e"
    for _ in range(200):
        text = "".join(chosen.choices(letters, k=1_500))
        whole = re.sub(" +", " ", "".join(map(fold, unicodedata.normalize("NFC", text))))
        assert fold(text) == unicodedata.normalize("NFC", whole)
