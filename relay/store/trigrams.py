"""Which trigrams of a text to ask the full-text index for. Pure; texts are folded (`relay.text.fold`).

FTS5 walks the list of every trigram of a phrase, so that one usual trigram makes a rare phrase dear. The rarest few
are enough to find candidates; each is then compared as a whole. What is usual is learned from a sample of the log.
"""

from collections import Counter
from collections.abc import Sequence

from relay.text import fold

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


class Usual:
    """How large a share of texts has each of the usual trigrams. Holds no text."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}
        self._rare = 0.0
        """The share taken for that of a trigram which the sample has not, or hardly."""

    def learn(self, texts: Sequence[str]) -> bool:
        """Learn from a sample of texts as they came, in place of the one before.

        Returns:
            Whether it is large enough to say anything.
        """
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
            text: what is looked for, folded.
            entries: how many there are to look in.

        Raises:
            ValueError: it has none that can be asked for.
        """
        found = _trigrams(text)
        if not found:
            raise ValueError("a text without a trigram")
        (share, rarest), *others = sorted((self._shares.get(one, self._rare), one) for one in found)[:ASKED]
        asked = [rarest]
        candidates = share * entries
        for share, one in others:
            if share * entries > WALKED * candidates * (1 - share):
                break
            asked.append(one)
            candidates *= share
        return asked


def _trigrams(text: str) -> set[str]:
    return {text[start : start + TRIGRAM] for start in range(len(text) - TRIGRAM + 1)}
