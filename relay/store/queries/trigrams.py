"""Which trigrams of a text to ask the full-text index for. Pure; texts are folded (`relay.text.fold`).

FTS5 walks the list of every trigram of a phrase, so that one usual trigram makes a rare phrase dear. The rarest few
are enough to find candidates; each is then compared as a whole. What is usual is learned from a sample of the log.
Trigrams of one word come together, so that a few of them may find far more than their shares promise: one who sees
that asks for one more.
"""

from collections import Counter
from collections.abc import Sequence

from relay.text import fold

TRIGRAM = 3
"""The shortest text, in characters, that the index can find."""
ASKED = 8
"""Trigrams that the index is asked for at most."""
WALKED = 1_000
"""Places in the list of one more trigram that cost as much as to look at one candidate more."""
LEAST = 16
"""Texts below which a sample says nothing."""
KEPT = 2
"""In how many texts of the sample a trigram is at least that is remembered."""


class TrigramShares:
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

    def share(self, trigram: str) -> float:
        """Give how large a share of texts has a trigram, about."""
        return self._shares.get(trigram, self._rare)


class TrigramChoice:
    """The trigrams that find a text at the least cost."""

    def __init__(self, usual: TrigramShares, text: str, entries: int) -> None:
        """Choose the first: as many as it takes until hardly anything else should be found.

        Args:
            usual: which trigrams are usual.
            text: what is looked for, folded.
            entries: how many there are to look in.

        Raises:
            ValueError: it has no trigram.
        """
        self.asked: list[str] = []
        self._places: list[int] = []
        self._entries = entries
        places: dict[str, int] = {}
        for place in range(len(text) - TRIGRAM + 1):
            places.setdefault(text[place : place + TRIGRAM], place)
        if not places:
            raise ValueError("a text without a trigram")
        self._left = sorted((usual.share(one), place, one) for one, place in places.items())
        self.candidates = float(entries)
        """How many entries should have all that are asked for."""
        while self.narrow():
            pass

    def narrow(self, candidates: float | None = None) -> bool:
        """Ask for one more, unless to walk its list costs more than to look at the candidates that it saves.

        Args:
            candidates: how many there are, for one who knows better.

        Returns:
            Whether one more is asked for.
        """
        if candidates is not None:
            self.candidates = candidates
        if len(self.asked) >= ASKED:
            return False
        for share, place, one in sorted(self._left, key=lambda left: self._overlaps(left[1])):
            if not self.asked or share * self._entries <= WALKED * self.candidates * (1 - share):
                # Where two overlap the second says little that the first did not.
                self.candidates *= share**0.5 if self._overlaps(place) else share
                self.asked.append(one)
                self._places.append(place)
                self._left.remove((share, place, one))
                return True
        return False

    def _overlaps(self, place: int) -> bool:
        return any(abs(place - other) < TRIGRAM for other in self._places)


def _trigrams(text: str) -> set[str]:
    return {text[start : start + TRIGRAM] for start in range(len(text) - TRIGRAM + 1)}
