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
WALKED = 150
"""Places in the list of one more trigram that cost as much as to look at one candidate more."""
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
        self._rare = 0.0
        """The share taken for that of a trigram which the sample has not, or hardly."""

    def learn(self, texts: Sequence[str]) -> bool:
        """Learn from a sample, in place of the one before; gives whether it is large enough to say anything."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_trigrams(fold(text)))
        enough = len(texts) >= LEAST
        self._shares = {one: count / len(texts) for one, count in counts.items() if enough and count >= KEPT}
        self._rare = 0.5 / len(texts) if enough else 0.0
        return enough

    def rarest(self, text: str, entries: int) -> list[str]:
        """Choose the trigrams that find a text at the least cost, the rarest first: one at least.

        Args:
            text: what is looked for.
            entries: how many there are to look in.

        Raises:
            ValueError: it has none that can be asked for.
        """
        # As they stand in the text: the index folds them itself. It takes a NUL for the end of what is asked.
        found = {fold(one): one for one in _trigrams(text) if "\0" not in one}
        if not found:
            raise ValueError("a text without a trigram")
        (share, rarest), *others = sorted((self._shares.get(one, self._rare), one) for one in found)[:ASKED]
        asked = [found[rarest]]
        candidates = share * entries
        for share, one in others:
            if share * entries > WALKED * candidates * (1 - share):
                break
            asked.append(found[one])
            candidates *= share
        return asked


def _trigrams(text: str) -> set[str]:
    return {text[start : start + TRIGRAM] for start in range(len(text) - TRIGRAM + 1)}
