"""Which trigrams of a text to ask the full-text index for, and whether a text holds another. Pure.

FTS5 walks the list of every trigram of a phrase, so that one usual trigram makes a rare phrase dear. The rarest few
are enough to find candidates; each is then compared as a whole. What is usual is learned from a sample of the log.
"""

from collections import Counter
from collections.abc import Sequence

TRIGRAM = 3
"""The shortest text, in characters, that the index can find."""
ASKED = 6
"""Trigrams that the index is asked for at most."""
USUAL = 0.5
"""A trigram that a larger share of texts has narrows little down, and its list is long."""
LEAST = 16
"""Texts below which a sample says nothing."""
KEPT = 2
"""In how many texts of the sample a trigram is at least that is remembered."""


def fold(text: str) -> str:
    """Make texts equal that differ in case only: by one character at a time, as the index does."""
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    return folded if len(folded) == len(text) else "".join(map(_fold_one, text))


def _fold_one(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


class Usual:
    """How large a share of texts has each of the usual trigrams. Holds no text."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def learn(self, texts: Sequence[str]) -> bool:
        """Learn from a sample, in place of the one before; gives whether it is large enough to say anything."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_trigrams(fold(text)))
        enough = len(texts) >= LEAST
        self._shares = {one: count / len(texts) for one, count in counts.items() if enough and count >= KEPT}
        return enough

    def rarest(self, text: str) -> list[str]:
        """Choose the trigrams of a text that narrow it down most, the rarest first: one at least.

        Raises:
            ValueError: it has none that can be asked for.
        """
        # As they stand in the text: the index folds them itself. It takes a NUL for the end of what is asked.
        found = {fold(one): one for one in _trigrams(text) if "\0" not in one}
        if not found:
            raise ValueError("a text without a trigram")
        shares = sorted((self._shares.get(one, 0.0), one) for one in found)[:ASKED]
        return [found[one] for number, (share, one) in enumerate(shares) if not number or share < USUAL]


def _trigrams(text: str) -> set[str]:
    return {text[start : start + TRIGRAM] for start in range(len(text) - TRIGRAM + 1)}
