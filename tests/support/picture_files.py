"""Small files of every displayable type, generated so that the repository needs no binary files."""

import struct
import zlib


def png(width: int = 3, height: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x40\x80\xc0" * width for _ in range(height)) if width * height < 10_000 else b""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def gif(width: int = 3, height: int = 2) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + b"\x3b"


def bmp(width: int = 3, height: int = 2) -> bytes:
    return b"BM" + struct.pack("<IHHIIii", 54, 0, 0, 54, 40, width, -height) + bytes(28)


def jpeg(width: int = 3, height: int = 2, *, orientation: int | None = None, before: bytes = b"") -> bytes:
    exif = b""
    if orientation is not None:
        tiff = b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 274, 3, 1, orientation, 0)
        exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + before + exif + b"\xff\xff" + frame + b"\xff\xd9"


def webp(width: int = 3, height: int = 2, kind: bytes = b"VP8X") -> bytes:
    if kind == b"VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(8)
    else:
        body = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def box(kind: bytes, *inner: bytes) -> bytes:
    body = b"".join(inner)
    return struct.pack(">I", len(body) + 8) + kind + body


def avif(width: int = 3, height: int = 2) -> bytes:
    sizes = [box(b"ispe", bytes(4), struct.pack(">II", w, h)) for w, h in ((1, 1), (width, height))]
    return box(b"ftyp", b"avif\0\0\0\0avif") + box(b"meta", bytes(4), box(b"iprp", box(b"ipco", *sizes)))


def mp4() -> bytes:
    return box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", b"\0" * 32)


def pdf() -> bytes:
    return b"%PDF-1.4\n%\xe2\xe3\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
