"""Folding: makes texts equal that differ only in how they were typed. Pure; uses Python's Unicode tables."""

import re
import unicodedata
from collections.abc import Iterator

from relay.unicode.combining_marks import SHORT_CHARACTERS, ordered

FOLDING = f"2/{unicodedata.unidata_version}"
"""The version of `fold`: a number to raise with every change here, and the version of Unicode's tables."""
PLAIN_CHARACTERS_KEPT = 30_000
"""Maximum ideographs and unassigned codes in the table. Every other character (some 46,000) stays in it once it was
folded, so that a text with all of them is not folded one by one each time."""

# Marks over Latin, Greek and Cyrillic letters, and vowel signs of Arabic, Hebrew and Syriac: people omit them when they
# type in a hurry, and mean the same word. In other scripts, marks make letters of their own.
_MARKS = (
    range(0x0300, 0x0345),
    range(0x0346, 0x0370),  # without the Greek iota below, which is a letter in capitals
    range(0x0483, 0x0488),
    range(0x0591, 0x05C8),
    range(0x0610, 0x061B),
    range(0x064B, 0x0660),
    range(0x0670, 0x0671),
    range(0x06D6, 0x06EE),
    range(0x0711, 0x0712),
    range(0x0730, 0x074B),
    range(0x0897, 0x08A0),
    range(0x08CA, 0x0900),
    range(0x1AB0, 0x1B00),
    range(0x1DC0, 0x1E00),
    range(0x20D0, 0x20F1),
    range(0xFB1E, 0xFB1F),
)
_UNSEEN = (
    range(0x115F, 0x1161),  # fillers of Hangul
    range(0x180B, 0x1810),  # variation selectors: how a character is drawn
    range(0xFE00, 0xFE10),
    range(0xE0100, 0xE01F0),
    range(0x1F3FB, 0x1F400),  # colours of skin
)
"""Characters that change how another one looks, other than formatting characters (Cf). All invisible characters are in
`relay.unicode.unseen`; a test states the differences, because a change here rebuilds every index."""
_ALIKE = {
    "\u0131": "i",  # dotless
    "æ": "ae",
    "œ": "oe",
    "ð": "d",
    "þ": "th",
    "ĸ": "q",
    "ŋ": "n",
    "й": "й",  # marks that are never omitted
    "ї": "ї",
    "ў": "ў",
    "\u0640": "",  # tatweel, which only stretches
    "\u0649": "\u064a",  # alef maksura, and yeh as Farsi and Urdu have it
    "\u06cc": "\u064a",
    "\u06d2": "\u064a",
    "\u06a9": "\u0643",  # their kaf
    "\u0629": "\u0647",  # teh marbuta, and their heh
    "\u06c1": "\u0647",
    "\u06d5": "\u0647",
    "\u0671": "\u0627",  # alef wasla
    "\u05be": "-",  # maqaf
    "\u05f0": "\u05d5\u05d5",  # letters of Yiddish that are typed as two
    "\u05f1": "\u05d5\u05d9",
    "\u05f2": "\u05d9\u05d9",
    "\u09ce": "\u09a4\u09cd",  # letters that were typed with a joiner before they got a code of their own
    "\u0d7a": "\u0d23\u0d4d",
    "\u0d7b": "\u0d28\u0d4d",
    "\u0d7c": "\u0d30\u0d4d",
    "\u0d7d": "\u0d32\u0d4d",
    "\u0d7e": "\u0d33\u0d4d",
    "\u0d7f": "\u0d15\u0d4d",
    "\u309b": "\u3099",  # voicing marks of kana, typed apart
    "\u309c": "\u309a",
    "\u301c": "~",  # the wave dash, which Windows takes for a wide tilde
    "\u2044": "/",
    # Quotes and dashes that programs substitute during typing.
    **dict.fromkeys("\u00b4\u02b9\u02bb\u02bc\u02bd\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2039\u203a", "'"),
    **dict.fromkeys("\u00ab\u00bb\u05f4\u201c\u201d\u201e\u201f", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
}
_NEVER_COMPOSES = re.compile(
    "[\0-\x7f\u0391-\u03c9\u0410-\u044f\u05d0-\u05ea\u0621-\u064a\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7a3\ufb50-\ufdff]"
)
"""Characters that no normal form joins with the preceding one: a text may be cut before each."""
_VARIANT = re.compile("LATIN SMALL LETTER ([A-Z]) WITH ")
"""Matches the name of a letter with a stroke or a hook and no decomposition. People type the plain letter."""
_WHITE = re.compile(r"\s{2,}|[^\S ]")
"""White space that is not a single space."""


_IDEOGRAPHS = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xAC00, 0xD7A4), range(0x20000, 0x2F800))
"""Characters without case, marks or other forms, and syllables of Hangul: most of all characters."""
NO_CHARACTERS = ("Cn", "Co", "Cs")
"""Categories of codes that stand for themselves: unassigned, private use, surrogates."""


class FoldedCharacters(dict[int, int | str]):
    """The folded form of each character, by its code; made when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._plain = 0

    def __missing__(self, code: int) -> int | str:
        if any(code in some for some in _IDEOGRAPHS) or unicodedata.category(chr(code)) in NO_CHARACTERS:
            # A text with a hundred thousand different ones must not fill the memory.
            if self._plain < PLAIN_CHARACTERS_KEPT:
                self._plain += 1
                self[code] = code
            return code
        self[code] = folded = folded_character(chr(code))
        return folded


def folded_character(character: str) -> str:
    """Fold one character."""
    lower = character.casefold()
    if lower in _ALIKE:
        return _ALIKE[lower]
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return unicodedata.normalize("NFC", "".join(map(_plain, plain)))


def _plain(character: str) -> str:
    """Return the characters that people type for a decomposed lower-case character."""
    code = ord(character)
    if character in _ALIKE:
        return _ALIKE[character]
    category = unicodedata.category(character)
    if category == "Cf" or any(code in unseen for unseen in _UNSEEN):
        return ""
    if category == "Mn" and any(code in marks for marks in _MARKS):
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    variant = _VARIANT.match(unicodedata.name(character, "")) if category == "Ll" else None
    return variant[1].lower() if variant else character


_TABLE = FoldedCharacters()


def fold(text: str) -> str:
    """Return the form in which texts are compared: two texts that people consider the same fold alike.

    Case of any script (Unicode's full case folding), composed and decomposed letters, half and full width, ligatures
    and other compatibility forms (NFKC), digits of any script, omitted marks, quotes and dashes inserted by programs,
    white space of any kind and length, and invisible characters make no difference (PROTOCOL.md, section 5, "Found").

    Returns:
        The folded text. It may be longer or shorter, and is empty if there was nothing but marks.
    """
    if text.isascii():
        return _spaced(text.lower())
    # Fold character by character, so that a part of a text folds to a part of the folded whole.
    folded = "".join([_composed(piece).translate(_TABLE) for piece in _pieces(text)])
    return _spaced("".join([_composed(piece) for piece in _pieces(folded)]))


def fold_query(query: str) -> str:
    """Return a folded query, without the spaces around it that keyboards add."""
    return fold(query).strip()


def _spaced(text: str) -> str:
    """Collapse each run of white space into one space: spaces, tabs, line breaks."""
    # The only white space that is printable is the space.
    return text if text.isprintable() and "  " not in text else _WHITE.sub(" ", text)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", ordered(text))


def _pieces(text: str) -> Iterator[str]:
    """Cut a text where its normal form may be cut, so that no call into C blocks other threads for long.

    One character may fold to 18 (U+FDFA), and a message of them takes as long as 1.2 million others.
    """
    start = 0
    while len(text) - start > SHORT_CHARACTERS:
        cut = _NEVER_COMPOSES.search(text, start + SHORT_CHARACTERS)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text
