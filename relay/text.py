"""Text of the world: what is the same text however it was typed. Pure; by Unicode's own tables, as Python has them."""

import functools
import sys
import unicodedata

from relay.marks import ordered

# Marks over letters of Latin, Greek and Cyrillic, and vowel signs of Arabic and Hebrew: people leave them out when they
# type in a hurry, and mean the same word. Other scripts' marks are letters of their own.
_MARKS = (
    range(0x0300, 0x0370),
    range(0x0483, 0x0488),
    range(0x0591, 0x05C8),
    range(0x0610, 0x061B),
    range(0x064B, 0x0660),
    range(0x0670, 0x0671),
    range(0x06D6, 0x06EE),
    range(0x08CA, 0x0900),
    range(0x1AB0, 0x1B00),
    range(0x1DC0, 0x1E00),
    range(0x20D0, 0x20F1),
)
_ALIKE = {
    "\u0131": "i",  # dotless
    "\u0640": "",  # tatweel, which only stretches
    "\u0649": "\u064a",  # alef maksura, and the Farsi forms of yeh and kaf
    "\u06cc": "\u064a",
    "\u06a9": "\u0643",
    "\u0629": "\u0647",  # teh marbuta
    "\u2019": "'",
    "\u2018": "'",
    "\u201c": '"',
    "\u201d": '"',
}
_VOICED = {0xFF9E: "\u3099", 0xFF9F: "\u309a"}
"""Half width's marks of kana, which become marks only as they are decomposed."""
_IGNORED = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Variation selectors: how a character is drawn."""


@functools.cache
def _table() -> dict[int, str | None]:
    """Make the table of what is left out or stands for something else."""
    table: dict[int, str | None] = {ord(one): other for one, other in _ALIKE.items()}
    for marks in _MARKS:
        table.update({code: None for code in marks if unicodedata.category(chr(code)) == "Mn"})
    for ignored in _IGNORED:
        table.update(dict.fromkeys(ignored))
    # What cannot be seen: joiners, soft hyphens, controls of direction.
    table.update({code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"})
    return table


def fold(text: str) -> str:
    """Give the form by which texts are compared: two that people take for the same text fold alike.

    Case of any script (Unicode's full case folding), composed and decomposed letters, half and full width, ligatures
    and other compatibility forms (NFKC), marks that people leave out, and what cannot be seen make no difference.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize(
        "NFKD", unicodedata.normalize("NFKD", ordered(text.translate(_VOICED))).casefold()
    )
    return unicodedata.normalize("NFC", decomposed.translate(_table()))
