"""Random streams of client frames: generated, broken, and split into reads.

All randomness comes from a `random.Random`, so that hypothesis can shrink it and a long run can repeat it.
"""

from pathlib import Path
from random import Random

from relay.net.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.support.client_frames import client_frame

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"

SIZES = (0, 1, 2, 3, 4, 5, 10, 40, 124, 125, 126, 127, 128, 300, 511, 512, 513, 1000)
CHARACTERS = (
    "a",
    "~",
    "\0",
    "\x7f",
    "\x80",
    "é",
    "\u07ff",
    "\u0800",
    "€",
    "\ud7ff",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
)
BROKEN = (
    b"\x80",
    b"\xc0\xaf",
    b"\xc3",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80",
    b"\xff",
)
CODES = (1000, 1001, 1003, 1007, 1011, 1013, 3000, 4401, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1015, 2000, 2999, 5000, 65535)


def corpus() -> dict[str, bytes]:
    """Return the streams stored as files, by name."""
    return {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))}


def text(random: Random) -> bytes:
    """Return valid UTF-8 of any size."""
    return "".join(random.choice(CHARACTERS) for _ in range(random.choice(SIZES))).encode()


def payload(random: Random) -> bytes:
    """Return a payload that may or may not be UTF-8."""
    kind = random.randrange(6)
    if kind == 0:
        return random.randbytes(random.choice(SIZES))
    if kind == 1:
        return text(random) + random.choice(BROKEN) + text(random)
    return text(random)


def valid_message(random: Random, *, limit: int) -> bytes:
    """Return a message of at most `limit` bytes, in up to four fragments with control frames between them."""
    opcode = random.choice((TEXT, TEXT, BINARY))
    content = text(random) if opcode == TEXT else random.randbytes(random.choice(SIZES))
    if len(content) > limit:
        content = b"x" * limit
    ends = sorted(random.randint(0, len(content)) for _ in range(random.choice((0, 0, 0, 1, 3))))
    stream = b""
    begin = 0
    for end in ends:
        stream += client_frame(opcode, content[begin:end], final=False, mask=random.randbytes(4))
        while random.randrange(2):
            stream += valid_control(random)
        opcode, begin = CONTINUATION, end
    return stream + client_frame(opcode, content[begin:], mask=random.randbytes(4))


def valid_control(random: Random) -> bytes:
    """Return a ping or a pong."""
    return client_frame(random.choice((PING, PONG)), random.randbytes(random.choice((0, 1, 4, 125))))


def valid_stream(random: Random, *, limit: int) -> bytes:
    """Return messages and control frames, with or without a close at the end."""
    stream = b""
    for _ in range(random.randrange(6)):
        stream += valid_control(random) if random.randrange(4) == 0 else valid_message(random, limit=limit)
    if random.randrange(3) == 0:
        reason = text(random)[:123].decode(errors="ignore").encode()
        stream += client_frame(CLOSE, random.choice(CODES).to_bytes(2, "big") + reason)
    return stream


def any_frame(random: Random) -> bytes:
    """Return a frame that is invalid in some way more often than a client's."""

    def rarely() -> bool:
        return random.randrange(20) == 0

    opcode = random.randrange(16) if rarely() else random.choice((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
    content = payload(random)
    if opcode == CLOSE:
        content = random.choice(BAD_CODES if rarely() else CODES).to_bytes(2, "big") + content
    if opcode >= CLOSE and not rarely():
        content = content[:125]
    length_bytes = random.choice((2, 8)) if rarely() else None
    announced = None
    if length_bytes and random.randrange(2):
        announced = random.choice((0, 125, 126, 65535) if length_bytes == 2 else (0, 65535, 65536, 1 << 31, 1 << 63))
    return client_frame(
        opcode,
        content,
        final=random.randrange(3) > 0 if opcode < CLOSE else not rarely(),
        reserved=random.randrange(8) if rarely() else 0,
        mask=None if rarely() else random.randbytes(4),
        announced=announced,
        length_bytes=length_bytes,
    )


def mutated(stream: bytes, other: bytes, random: Random) -> bytes:
    """Return the stream with a few bytes changed, lost, doubled or put in from another one."""
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(stream))
        until = min(len(stream), at + random.choice((1, 1, 2, 4, 8, 100)))
        match random.randrange(6):
            case 0:
                stream = stream[:at] + random.randbytes(until - at) + stream[until:]
            case 1:
                stream = (
                    stream[:at] + bytes(byte ^ 1 << random.randrange(8) for byte in stream[at:until]) + stream[until:]
                )
            case 2:
                stream = stream[:at] + stream[until:]
            case 3:
                stream = stream[:until] + stream[at:]
            case 4:
                stream = stream[:at] + other[random.randint(0, len(other)) :] + stream[until:]
            case 5:
                stream = stream[:at] + any_frame(random) + stream[at:]
    return stream


def any_stream(pool: list[bytes], random: Random, *, limit: int) -> bytes:
    """Return bytes that a client could send by mistake or malice."""
    match random.randrange(4):
        case 0:
            return b"".join(any_frame(random) for _ in range(random.randint(1, 6)))
        case 1:
            return mutated(valid_stream(random, limit=limit), random.choice(pool), random)
        case 2:
            return mutated(random.choice(pool), random.choice(pool), random)
    return random.randbytes(random.choice(SIZES))


def cut(stream: bytes, random: Random) -> list[bytes]:
    """Cut a stream into reads: one, some, or a byte each."""
    pieces = random.choice((0, 0, 1, 3, len(stream)))
    if pieces == len(stream):
        return [stream[i : i + 1] for i in range(len(stream))]
    cuts = sorted(random.randint(0, len(stream)) for _ in range(pieces))
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
