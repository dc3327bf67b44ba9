"""A file's name as it is safe to show and to save: no path, no control characters, no text that runs backwards."""

import re
import unicodedata

from relay.core.files.media_types import EXTENSIONS
from relay.marks import ordered

LONGEST = 160
"""Characters; with UTF-8 and an ending they still fit into the 255 bytes that file systems allow, mostly."""
LONGEST_BYTES = 230

JOINERS = "\u200c\u200d"

_FORBIDDEN = re.compile(r'[<>:"|?*]')
"""What Windows takes in no name."""
_DEVICES = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""What Windows takes for something else."""


def clean(name: str, mimetype: str) -> str:
    """Make a name fit to be shown and saved.

    Args:
        name: what the sender calls it.
        mimetype: what it is: where that may be shown, the name ends accordingly, so that nobody opens a picture
            as a page.
    """
    last = re.split(r"[/\\]", name)[-1]
    # Cc, Cf, Cs, Co, Cn: controls, overrides of direction and other invisible things, and what is no character. The
    # joiners stay: words of Persian and Hindi, and emoji, are written with them.
    visible = "".join(
        letter
        for letter in unicodedata.normalize("NFC", ordered(last))
        if letter in JOINERS or unicodedata.category(letter)[0] != "C"
    ).strip(JOINERS)
    plain = _FORBIDDEN.sub("_", " ".join(visible.split())).strip(". ")
    if _DEVICES.match(plain):
        plain = f"_{plain}"
    stem, dot, extension = plain.rpartition(".")
    endings = EXTENSIONS.get(mimetype)
    if endings is not None and (not dot or extension.lower() not in endings):
        stem, dot, extension = plain, ".", endings[0]
    if not dot:
        return _cut(plain, LONGEST, LONGEST_BYTES) or "file"
    if len(extension) > 16:
        return _cut(f"{stem}.{extension}", LONGEST, LONGEST_BYTES)
    return f"{_cut(stem, LONGEST, LONGEST_BYTES) or 'file'}.{extension}"


def _cut(text: str, characters: int, size: int) -> str:
    return text[:characters].encode()[:size].decode(errors="ignore").rstrip(". ")
