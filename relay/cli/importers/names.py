"""Names and texts in archives that people packed again, on any system. Plain functions."""

import codecs
import struct
import unicodedata
import zipfile
from collections.abc import Collection

_UTF8_FLAG = 0x800
"""Flag of a zip entry whose name is in UTF-8 (APPNOTE 4.4.4, bit 11)."""
_UNICODE_PATH = 0x7075
"""Extra field of a zip entry with the name in UTF-8 (APPNOTE 4.6.9)."""
_JUNK_FOLDERS = frozenset({"__MACOSX", ".Spotlight-V100", ".Trashes", "$RECYCLE.BIN"})
_ENCODINGS = ("cp850", "cp866", "cp1252", "cp1251", "cp852", "cp1250", "cp737", "cp1253", "cp932", "cp936", "cp949")
"""Encodings in which zip programs of Windows wrote names, by region."""


def shown_name(name: str) -> str:
    """Normalize a file's name: composed, folders with `/`. Return an empty one for files that macOS or Windows adds."""
    parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part not in ("", ".")]
    junk = not parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._")
    if junk or not _JUNK_FOLDERS.isdisjoint(parts[:-1]):
        return ""
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def zip_name(entry: zipfile.ZipInfo) -> str:
    """Decode the name of a zip entry. Many programs write UTF-8 without the flag."""
    if entry.flag_bits & _UTF8_FLAG:
        return entry.filename
    raw = entry.orig_filename.encode("cp437", errors="replace")
    try:
        return _unicode_path(entry.extra) or raw.decode()
    except UnicodeDecodeError:
        return entry.filename


def _unicode_path(extra: bytes) -> str | None:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH and size > 5:
            return extra[9 : 4 + size].decode()
        extra = extra[4 + size :]
    return None


def guess_name(name: str, wanted: Collection[str]) -> str | None:
    """Find the expected name that was written in another encoding and read as cp437, the default of zip."""
    try:
        raw = name.encode("cp437")
    except UnicodeEncodeError:
        return None
    for encoding in _ENCODINGS:
        try:
            found = unicodedata.normalize("NFC", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
        if found in wanted:
            return found
    return None


def as_utf8(content: bytes) -> tuple[bytes, bool]:
    """Convert a text to UTF-8 without a byte order mark.

    Returns:
        The text, and whether its encoding had to be guessed.
    """
    if content.startswith(codecs.BOM_UTF8):
        return content[3:], False
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace").encode(), False
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace").encode(), True
    return content, False
