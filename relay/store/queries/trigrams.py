"""Chooses the trigrams of a text to look up in the full-text index. Pure; texts are folded (`relay.text.fold`).

FTS5 walks the list of every trigram of a phrase, so one common trigram makes a rare phrase expensive. The rarest few
are enough to find candidates, each of which is then compared as a whole. A sample of the log shows which trigrams are
common. Trigrams of one word occur together, so a few of them may find far more than their shares suggest: then the
search adds one more.
"""

from collections import Counter
from collections.abc import Sequence

from relay.text import fold

TRIGRAM_CHARACTERS = 3
"""The shortest text, in characters, that the index can find."""
LOOKED_UP_TRIGRAMS = 8
"""Maximum trigrams to look up."""
WALKED_POSITIONS = 1_000
"""Places in the list of one more trigram that cost as much as reading one more candidate."""
MIN_SAMPLE_TEXTS = 16
"""Minimum texts in a usable sample."""
MIN_TEXTS_WITH_TRIGRAM = 2
"""Minimum texts of the sample with a trigram for it to be remembered."""


class TrigramShares:
    """The share of texts that have a trigram, for the common trigrams. Holds no text."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}
        self._rare = 0.0
        """The share assumed for a trigram that is rare in the sample, or missing."""

    def learn(self, texts: Sequence[str]) -> bool:
        """Learn from a sample of texts, which replaces the previous one.

        Returns:
            Whether the sample is large enough.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_trigrams(fold(text)))
        enough = len(texts) >= MIN_SAMPLE_TEXTS
        self._shares = {
            one: count / len(texts) for one, count in counts.items() if enough and count >= MIN_TEXTS_WITH_TRIGRAM
        }
        self._rare = 0.5 / len(texts) if enough else 0.0
        return enough

    def share(self, trigram: str) -> float:
        """Estimate the share of texts that have a trigram."""
        return self._shares.get(trigram, self._rare)


class TrigramChoice:
    """The trigrams that find a text at the lowest cost."""

    def __init__(self, usual: TrigramShares, text: str, entries: int) -> None:
        """Choose as many as needed until few other texts are likely to be found.

        Args:
            usual: the common trigrams.
            text: the folded text to find.
            entries: the number of entries to search.

        Raises:
            ValueError: the text has no trigram.
        """
        self.asked: list[str] = []
        self._places: list[int] = []
        self._entries = entries
        places: dict[str, int] = {}
        for place in range(len(text) - TRIGRAM_CHARACTERS + 1):
            places.setdefault(text[place : place + TRIGRAM_CHARACTERS], place)
        if not places:
            raise ValueError("a text without a trigram")
        self._left = sorted((usual.share(one), place, one) for one, place in places.items())
        self.candidates = float(entries)
        """The expected number of entries with all chosen trigrams."""
        while self.narrow():
            pass

    def narrow(self, candidates: float | None = None) -> bool:
        """Choose one more trigram, unless walking its list costs more than reading the candidates that it saves.

        Args:
            candidates: the number of candidates, if known by now.

        Returns:
            Whether one more was chosen.
        """
        if candidates is not None:
            self.candidates = candidates
        if len(self.asked) >= LOOKED_UP_TRIGRAMS:
            return False
        for share, place, one in sorted(self._left, key=lambda left: self._overlaps(left[1])):
            if not self.asked or share * self._entries <= WALKED_POSITIONS * self.candidates * (1 - share):
                # Of two overlapping trigrams, the second adds little.
                self.candidates *= share**0.5 if self._overlaps(place) else share
                self.asked.append(one)
                self._places.append(place)
                self._left.remove((share, place, one))
                return True
        return False

    def _overlaps(self, place: int) -> bool:
        return any(abs(place - other) < TRIGRAM_CHARACTERS for other in self._places)


def _trigrams(text: str) -> set[str]:
    return {text[start : start + TRIGRAM_CHARACTERS] for start in range(len(text) - TRIGRAM_CHARACTERS + 1)}
