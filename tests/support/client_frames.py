"""A client's frames as bytes, valid or with any fault in the header; independent of our other code."""

from itertools import cycle

MASK = b"\x37\xfa\x21\x3d"


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    announced: int | None = None,
    length_bytes: int | None = None,
) -> bytes:
    """Return a frame; `announced` lies about its length, `length_bytes` (0, 2, 8) forces the form of the length."""
    length = len(payload) if announced is None else announced
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[length_bytes]
    head = bytes([final << 7 | reserved << 4 | opcode, (mask is not None) << 7 | short])
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
