"""Reads the size of a picture from its file. Reads headers only, and checks every length.

Own code: the library for it (imagesize) brings urllib and XML, 12 MiB more memory for a relay.
"""

import os
import struct
from collections.abc import Callable
from struct import unpack
from typing import BinaryIO

Size = tuple[int, int]
MAX_PIXELS = 2**25
"""The most pixels of a picture that is shown as one. A few bytes can claim any size, and browsers allocate four bytes a
pixel. Photos of 33 megapixels pass; larger pictures are sent as files."""
MAX_SEGMENTS = 1_000
"""Segments, and bytes between them, to read before giving up."""
FIRST_ROTATED_ORIENTATION = 5
"""The first of the Exif orientations that swap width and height."""


def size(file: BinaryIO, mimetype: str) -> Size | None:
    """Read the width and height of a picture in pixels, as it is shown; None if they cannot be read.

    Args:
        file: open at any position.
        mimetype: the type of the file.
    """
    reader = _READERS.get(mimetype)
    if reader is None:
        return None
    file.seek(0)
    try:
        found = reader(file)
    except (struct.error, IndexError, OSError, ValueError, RecursionError):
        return None
    if found is None or min(found) < 1 or found[0] * found[1] > MAX_PIXELS:
        return None
    return found


def _png(file: BinaryIO) -> Size | None:
    head = file.read(24)
    width, height = unpack(">II", head[16:24])
    return (width, height) if head[12:16] == b"IHDR" else None


def _gif(file: BinaryIO) -> Size:
    width, height = unpack("<HH", file.read(10)[6:10])
    return width, height


def _bmp(file: BinaryIO) -> Size:
    head = file.read(26)
    if unpack("<I", head[14:18])[0] == 12:
        width, height = unpack("<HH", head[18:22])
        return width, height
    width, height = unpack("<ii", head[18:26])
    return width, abs(height)


def _webp(file: BinaryIO) -> Size | None:
    head = file.read(30)
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = unpack("<I", head[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) == 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg(file: BinaryIO) -> Size | None:
    """Read the segments up to the frame header (ISO/IEC 10918-1, annex B); Exif before it may turn the picture."""
    file.seek(2)
    turned: bool | None = None
    for _ in range(MAX_SEGMENTS):
        marker = file.read(2)
        if marker == b"\xff\xff":
            # A fill byte. A file may consist of them, so each counts as a segment.
            file.seek(-1, os.SEEK_CUR)
            continue
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        length = unpack(">H", file.read(2))[0] - 2
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            height, width = unpack(">xHH", file.read(5))
            return (height, width) if turned else (width, height)
        if marker[1] == 0xE1 and turned is None:
            turned = _is_turned(file.read(length))
        else:
            file.seek(length, os.SEEK_CUR)
    return None


def _is_turned(segment: bytes) -> bool | None:
    """Whether an Exif segment turns the picture (CIPA DC-008, tag 274); None for another segment."""
    if segment[:6] != b"Exif\0\0":
        return None
    tiff = segment[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return False
    try:
        (at,) = unpack(f"{order}I", tiff[4:8])
        (count,) = unpack(f"{order}H", tiff[at : at + 2])
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value = unpack(f"{order}HHIH", tiff[entry : entry + 10])
            if tag == 274:
                return bool(FIRST_ROTATED_ORIENTATION <= value <= 8)
    except struct.error:
        return False
    return False


def _avif(file: BinaryIO) -> Size | None:
    """Find the size of the largest picture in the boxes (ISO/IEC 23008-12): meta, iprp, ipco, ispe."""
    end = file.seek(0, os.SEEK_END)
    found: list[Size] = []
    _search(file, 0, end, found, [MAX_SEGMENTS])
    return max(found, key=lambda one: one[0] * one[1], default=None)


def _search(file: BinaryIO, start: int, end: int, found: list[Size], left: list[int]) -> None:
    while start + 8 <= end and left[0] > 0:
        left[0] -= 1
        file.seek(start)
        length, kind = unpack(">I4s", file.read(8))
        inner = start + 8
        if length == 1:
            (length,) = unpack(">Q", file.read(8))
            inner += 8
        stop = end if length == 0 else start + length
        if stop > end or stop < inner:
            return
        if kind == b"ispe":
            found.append(unpack(">4xII", file.read(12)))
        elif kind in (b"meta", b"iprp", b"ipco"):
            _search(file, inner + 4 if kind == b"meta" else inner, stop, found, left)
        start = stop


_READERS: dict[str, Callable[[BinaryIO], Size | None]] = {
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
    "image/avif": _avif,
}
