"""Names and texts in archives, which may have been repacked on any system. Pure functions."""

import codecs
import struct
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from relay.cli.importers.base import NotUnderstood
from relay.protocol.codec import UNDECODABLE, explain, printable, replace_lone_surrogates, whole_characters

T = TypeVar("T")

_UTF8_FLAG = 0x800
"""The flag of a zip file's entry whose name is in UTF-8 (APPNOTE 4.4.4, bit 11)."""
_UNICODE_PATH = 0x7075
"""The extra field with the name in UTF-8 (APPNOTE 4.6.9)."""
_JUNK_FOLDERS = frozenset({"__MACOSX", ".Spotlight-V100", ".Trashes", "$RECYCLE.BIN"})
_ENCODINGS = ("cp850", "cp866", "cp1252", "cp1251", "cp852", "cp1250", "cp737", "cp1253", "cp932", "cp936", "cp949")
"""The encodings in which zip programs on Windows wrote names, by language."""


def shown_name(name: str) -> str:
    """Normalize a file's name: composed, with `/` between folders; empty for files that macOS or Windows add.

    Bytes that are not UTF-8 are shown by their numbers.
    """
    parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part not in ("", ".")]
    junk = not parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._")
    if junk or not _JUNK_FOLDERS.isdisjoint(parts[:-1]):
        return ""
    return printable(("/" if name.startswith("/") else "") + "/".join(parts))


def zip_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of a zip file's entry: many programs write UTF-8 without the flag."""
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


def guess_name(name: str, names: Collection[str]) -> str | None:
    """Find the one of `names` that was written in another encoding and read as cp437, the old default of zip files."""
    try:
        raw = name.encode("cp437")
    except UnicodeEncodeError:
        return None
    for encoding in _ENCODINGS:
        try:
            found = unicodedata.normalize("NFC", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
        if found in names:
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
        return _half_characters_replaced(content) or (content.decode("cp1252", errors="replace").encode(), True)
    return content, False


def _half_characters_replaced(content: bytes) -> tuple[bytes, bool] | None:
    """Convert UTF-8 with surrogates encoded like characters; None if it is something else."""
    try:
        text = content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return whole_characters(text).encode(), False


def first_names(names: Sequence[str], most: int = 3) -> str:
    """Name the first of several files."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def decode_json(decode: Callable[[bytes], T], content: bytes) -> T:
    """Decode a JSON text; half a surrogate pair in it becomes U+FFFD.

    Raises:
        msgspec.DecodeError: it is not JSON, or not of the decoder's type.
    """
    try:
        return decode(content)
    except msgspec.DecodeError:
        mended = replace_lone_surrogates(content)
        if mended == content:
            raise
        return decode(mended)


def decoded_lines(lines: Iterable[bytes], kind: type[T], left: Counter[str] | None) -> Iterator[T]:
    """Decode the lines of an export; one of another form stays behind alone.

    Args:
        lines: the lines, some of which may be empty.
        kind: the type of each.
        left: counts those that stay behind, with the reason; None if they have been counted before.

    Raises:
        NotUnderstood: a line is not JSON.
    """
    decode = msgspec.json.Decoder(kind).decode
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = decode_json(decode, line)
        except msgspec.ValidationError as error:
            if left is not None:
                left[f"records ({what_is_wrong(error, f'line {number}')})"] += 1
            continue
        except UNDECODABLE as error:
            raise NotUnderstood(what_is_wrong(error, f"line {number}")) from None
        yield found


def what_is_wrong(error: msgspec.DecodeError | UnicodeDecodeError, place: str) -> str:
    """Say what is wrong with JSON, as the relay says it on the wire.

    Args:
        error: an error of `UNDECODABLE`.
        place: the file or the line that has it.
    """
    return f"{place}: {explain(error, whole='').error.message.removeprefix(': ')}"
