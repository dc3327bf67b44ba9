"""Makes file names safe to show and to save: no path, no hidden characters, no reversed text direction."""

import re
import unicodedata

from relay.core.files.media_types import EXTENSIONS
from relay.unicode.combining_marks import ordered
from relay.unicode.unseen import can_be_seen, without_hidden

FILENAME_CHARACTERS = 160
"""Maximum characters of a name. With its extension it mostly fits into the 255 bytes that file systems allow."""
FILENAME_BYTES = 230

JOINERS = "\u200c\u200d"

_FORBIDDEN = re.compile(r'[<>:"|?*]')
"""Characters that Windows allows in no file name."""
_DEVICES = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows reserves for devices."""


def clean(name: str, mimetype: str) -> str:
    """Make a name safe to show and to save.

    Args:
        name: the sender's name for the file.
        mimetype: the type of the content. A type that browsers show gets one of its own extensions, so that no one
            opens a picture as a page.
    """
    last = re.split(r"[/\\]", name)[-1]
    visible = without_hidden(unicodedata.normalize("NFC", ordered(last))).strip(JOINERS)
    plain = _FORBIDDEN.sub("_", " ".join(visible.split())).strip(". ")
    if _DEVICES.match(plain):
        plain = f"_{plain}"
    stem, dot, extension = plain.rpartition(".")
    extensions = EXTENSIONS.get(mimetype)
    if extensions is not None and (not dot or extension.lower() not in extensions):
        stem, dot, extension = plain, ".", extensions[0]
    if not dot:
        return _cut(plain, FILENAME_CHARACTERS, FILENAME_BYTES)
    if len(extension) > 16:
        return _cut(f"{stem}.{extension}", FILENAME_CHARACTERS, FILENAME_BYTES)
    return f"{_cut(stem, FILENAME_CHARACTERS, FILENAME_BYTES)}.{extension}"


def _cut(text: str, characters: int, size: int) -> str:
    """Cut a name to its length; `file` if nothing of it is visible."""
    short = text[:characters].encode()[:size].decode(errors="ignore").rstrip(". ")
    return short if can_be_seen(short) else "file"
