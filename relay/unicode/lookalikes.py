"""Names that look alike to people. Pure; the page has the same in web/model/alikes.js and looks.js.

By Unicode's confusables (UTS 39, "Confusable Detection"), ignoring case, width, spaces and invisible characters.
`packaging/unicode_tables.py` makes the table, and says which letters were added to it.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from hashlib import blake2b

from relay.unicode.tables import ALIKE
from relay.unicode.unseen import can_be_seen

CACHED_NAMES = 1_024
"""Names whose looks are cached: two of at most 128 characters each, so a megabyte at most."""
CACHED_CHARACTERS = 4_096
"""Characters whose looks are cached."""
LONGEST_LOOK = 128
"""Characters of a look; for a longer one only a hash is kept. One character may become 54 (U+FDFA)."""
_BLANK = "\u2800\u1160"
"""Characters as wide as a space: the empty cell of Braille, the filler of Hangul (U+3164 in its normal form)."""
_MENTION = re.compile(r"@\s*([^\s@]+)")
_PUNCTUATION = "()[]{}<>.,;:!?'\"-_"


@functools.cache
def _table() -> dict[str, str]:
    return {row[0]: row[1:] for row in ALIKE.split("\n")}


class Looks(dict[int, str]):
    """The form of each character in a look, by its code; computed at the first use."""

    def __init__(self, *, caseless: bool, most: int = CACHED_CHARACTERS) -> None:
        """Begin with none.

        Args:
            caseless: whether a capital looks like its small letter.
            most: maximum characters kept.
        """
        super().__init__()
        self._most = most
        self._caseless = caseless

    def __missing__(self, code: int) -> str:
        if len(self) >= self._most:
            self.clear()
        self[code] = look = self._look(chr(code))
        return look

    def _look(self, letter: str) -> str:
        if letter.isspace() or letter in _BLANK:
            return " "
        if not can_be_seen(letter):
            return ""
        table = _table()
        if not self._caseless and letter in table:
            return table[letter]
        # Change each one by itself: the following letter must not affect its case.
        return "".join(table.get(one, one) for one in letter.upper().lower())


_AS_WRITTEN = Looks(caseless=False)
_IN_LOWER_CASE = Looks(caseless=True)


@functools.lru_cache(maxsize=CACHED_NAMES)
def looks(name: str) -> frozenset[str]:
    """Return the look of a name, as written and in lower case.

    Two names look alike if they share a look. A capital may look like another letter than the small one does: `\u039d`
    like `N`, `\u03bd` like `v`.
    """
    letters = unicodedata.normalize("NFKD", name)
    tables = (_AS_WRITTEN,) if name.isascii() else (_AS_WRITTEN, _IN_LOWER_CASE)
    return frozenset(_short(" ".join(letters.translate(table).split())) for table in tables)


def _short(look: str) -> str:
    # The normal form also puts marks into one order.
    look = look if look.isascii() else unicodedata.normalize("NFC", look)
    return look if len(look) <= LONGEST_LOOK else blake2b(look.encode(), digest_size=32).hexdigest()


def mentions(name: str) -> Iterator[str]:
    """Return the text after each `@` in a name, where the page shows an id; with and without punctuation."""
    shown = "".join(one for one in unicodedata.normalize("NFKC", name) if one.isspace() or can_be_seen(one))
    for found in _MENTION.finditer(shown):
        yield from dict.fromkeys((found[1], found[1].strip(_PUNCTUATION)))
