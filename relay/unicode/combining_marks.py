"""Puts combining marks into canonical order quickly. Pure.

`unicodedata.normalize` sorts the marks of one letter by insertion, which takes many seconds for a message that consists
of marks, and stops all other work meanwhile. Call `ordered` before a long text is normalized.
"""

import re
import unicodedata

SHORT_CHARACTERS = 512
"""Any text up to this many characters is normalized fast enough."""
_LONG_RUN = re.compile(rb"[^\0]{32,}")
"""Matches a run of more marks than any letter has, in combining classes; letters have class 0."""
_DECOMPOSED = {ord(one): unicodedata.normalize("NFD", one) for one in "\u0f73\u0f75\u0f81"}
"""Characters that decompose into several marks, although their own class is 0."""


def ordered(text: str) -> str:
    """Put long runs of combining marks into canonical order (Unicode Standard, section 3.11)."""
    if len(text) <= SHORT_CHARACTERS or text.isascii():
        return text
    text = text.translate(_DECOMPOSED)
    classes = bytes(map(unicodedata.combining, text))
    pieces: list[str] = []
    end = 0
    for run in _LONG_RUN.finditer(classes):
        pieces += text[end : run.start()], *sorted(text[run.start() : run.end()], key=unicodedata.combining)
        end = run.end()
    return "".join([*pieces, text[end:]]) if pieces else text
