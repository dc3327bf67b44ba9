"""The type of a file and the size of a picture, by their bytes; and safe file names."""

import io
import random
import struct
from collections.abc import Callable
from unittest.mock import patch

import pytest

from relay.core.files import filenames, image_size
from relay.core.files.media_types import UNKNOWN, sniff
from tests.support import picture_files as made

PICTURES: dict[str, Callable[[int, int], bytes]] = {
    "image/png": made.png,
    "image/gif": made.gif,
    "image/bmp": made.bmp,
    "image/jpeg": made.jpeg,
    "image/webp": made.webp,
    "image/avif": made.avif,
}


@pytest.mark.parametrize("mimetype", PICTURES)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (4_000, 3_000)])
def test_a_picture_is_detected_and_measured(mimetype: str, size: tuple[int, int]) -> None:
    content = PICTURES[mimetype](*size)
    assert sniff(content) == mimetype
    assert image_size.size(io.BytesIO(content), mimetype) == size


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L", b"VP8X"])
def test_each_webp_variant_is_measured(kind: bytes) -> None:
    assert image_size.size(io.BytesIO(made.webp(640, 480, kind)), "image/webp") == (640, 480)


@pytest.mark.parametrize(("orientation", "shown"), [(1, (640, 480)), (3, (640, 480)), (6, (480, 640)), (8, (480, 640))])
def test_a_turned_photo_is_measured_as_it_is_shown(orientation: int, shown: tuple[int, int]) -> None:
    assert image_size.size(io.BytesIO(made.jpeg(640, 480, orientation=orientation)), "image/jpeg") == shown


@pytest.mark.parametrize("mimetype", PICTURES)
def test_truncated_picture_has_no_size_and_raises_nothing(mimetype: str) -> None:
    content = PICTURES[mimetype](640, 480)
    for end in range(len(content)):
        assert image_size.size(io.BytesIO(content[:end]), mimetype) in (None, (640, 480), (1, 1))


@pytest.mark.parametrize("mimetype", PICTURES)
def test_noise_after_a_signature_raises_nothing(mimetype: str) -> None:
    noise = random.Random(7)
    for _ in range(300):
        content = bytearray(PICTURES[mimetype](640, 480))
        for _ in range(4):
            content[noise.randrange(8, len(content))] = noise.randrange(256)
        image_size.size(io.BytesIO(content), mimetype)


@pytest.mark.parametrize("size", [(0, 5), (2**31 - 1, 2**31 - 1), (100_000, 100_000)])
def test_impossible_size_is_none(size: tuple[int, int]) -> None:
    content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", *size) + bytes(20)
    assert image_size.size(io.BytesIO(content), "image/png") is None


class Counted(io.BytesIO):
    """A file that counts its reads."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff" * 1_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\2" * 300_000,
        b"\0\0\0\x18ftypavif" + bytes(12) + b"\0\0\0\x08free" * 300_000,
    ],
)
def test_a_file_without_a_picture_is_not_read_to_its_end(content: bytes) -> None:
    file = Counted(content)
    assert image_size.size(file, sniff(content)) is None
    assert file.reads <= 3 * image_size.MAX_SEGMENTS


def test_only_the_first_of_many_exif_segments_is_read() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * (65_533 - 16)
    with patch("relay.core.files.image_size.unpack", wraps=struct.unpack) as unpacked:
        assert image_size.size(io.BytesIO(b"\xff\xd8" + (b"\xff\xe1\xff\xff" + exif) * 100), "image/jpeg") is None
    assert unpacked.call_count < 10_000


def test_nested_boxes_are_bounded() -> None:
    nested = made.box(b"iprp", b"")
    for _ in range(2_000):
        nested = made.box(b"iprp", nested)
    assert image_size.size(io.BytesIO(made.box(b"meta", bytes(4), nested)), "image/avif") is None


@pytest.mark.parametrize(
    ("head", "mimetype"),
    [
        (made.pdf(), "application/pdf"),
        (made.mp4(), "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x1cftypM4A ", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska", UNKNOWN),
        (b"OggS" + bytes(24) + b"\x01\x1eOpusHead", "audio/ogg"),
        (b"OggS" + bytes(24) + b"\x80theora", "video/ogg"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"ID3\x04\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"<!doctype html><script>alert(1)</script>", UNKNOWN),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", UNKNOWN),
        (b"<?xml version='1.0'?><html/>", UNKNOWN),
        (b"\xff\xfe<\0h\0", UNKNOWN),
        (b"PK\x03\x04", UNKNOWN),
        (b"MZ", UNKNOWN),
        (b"BM is how this text begins", UNKNOWN),
        (b"", UNKNOWN),
        (b"\xff", UNKNOWN),
    ],
)
def test_the_type_of_a_file_follows_from_its_bytes(head: bytes, mimetype: str) -> None:
    assert sniff(head) == mimetype


@pytest.mark.parametrize(
    ("name", "mimetype", "shown"),
    [
        ("report.txt", UNKNOWN, "report.txt"),
        ("../../etc/passwd", UNKNOWN, "passwd"),
        ("C:\\Windows\\system32\\cmd.exe", UNKNOWN, "cmd.exe"),
        ("/", UNKNOWN, "file"),
        ("..", UNKNOWN, "file"),
        ("", UNKNOWN, "file"),
        ("a\0b\nc\x1b[31m.txt", UNKNOWN, "abc[31m.txt"),
        ("photo\u202egpj.exe", UNKNOWN, "photogpj.exe"),
        ("\u2066x\u2069\u200f\u061c\ufeff.txt", UNKNOWN, "x.txt"),
        ("\u0645\u06cc\u200c\u062e.txt", UNKNOWN, "\u0645\u06cc\u200c\u062e.txt"),
        ("\U0001f468\u200d\U0001f680.txt", UNKNOWN, "\U0001f468\u200d\U0001f680.txt"),
        ("\u200d.txt", UNKNOWN, "txt"),
        ("a\ud800b.txt", UNKNOWN, "ab.txt"),
        ("e\u0301.txt", UNKNOWN, "é.txt"),
        ("  two   words .txt ", UNKNOWN, "two words.txt"),
        ('a<b>:"|?*.txt', UNKNOWN, "a_b______.txt"),
        ("con.txt", UNKNOWN, "_con.txt"),
        ("COM1", UNKNOWN, "_COM1"),
        (".htaccess", UNKNOWN, "htaccess"),
        ("фото 北京.jpg", "image/jpeg", "фото 北京.jpg"),
        ("page.html", "image/png", "page.html.png"),
        ("PHOTO.JPEG", "image/jpeg", "PHOTO.JPEG"),
        ("", "image/png", "file.png"),
        ("clip", "video/mp4", "clip.mp4"),
    ],
)
def test_a_file_name_is_made_safe_to_show(name: str, mimetype: str, shown: str) -> None:
    assert filenames.clean(name, mimetype) == shown


@pytest.mark.parametrize("letter", ["a", "ы", "京", "😀"])
def test_a_long_name_is_cut_and_keeps_its_extension(letter: str) -> None:
    name = filenames.clean(letter * 500 + ".tar.gz", UNKNOWN)
    assert name.endswith(".gz")
    assert len(name.encode()) <= 255
    assert len(name) <= 255
