"""Marks that combine with a letter, brought into the order that Unicode's normal forms have them in. Pure.

Python's `unicodedata.normalize` sorts the marks of one letter by insertion: of a message that consists of them it would
take many seconds, in which nobody else has their turn. Whatever normalizes a long text asks here first.
"""

import re
import unicodedata

SHORT = 512
"""Characters up to which a text is normalized in no time whatever it consists of."""
_MANY = re.compile(rb"[^\0]{32,}")
"""More marks than any letter has, by their classes; letters have class 0."""
_SEVERAL = {ord(one): unicodedata.normalize("NFD", one) for one in "\u0f73\u0f75\u0f81"}
"""The characters that are several marks, and have class 0 themselves."""


def ordered(text: str) -> str:
    """Bring long rows of marks into canonical order (Unicode Standard, section 3.11); it is the same text then."""
    if len(text) <= SHORT or text.isascii():
        return text
    text = text.translate(_SEVERAL)
    classes = bytes(map(unicodedata.combining, text))
    pieces: list[str] = []
    end = 0
    for row in _MANY.finditer(classes):
        pieces += text[end : row.start()], *sorted(text[row.start() : row.end()], key=unicodedata.combining)
        end = row.end()
    return "".join([*pieces, text[end:]]) if pieces else text
