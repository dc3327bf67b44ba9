"""Streams of frames and their expected results: the cases of the usual conformance suites, as data.

One table, longer than other modules, in the order of those suites.
"""

from dataclasses import dataclass

from relay.net.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
)
from tests.support.client_frames import client_frame

LIMIT = 70_000
HELLO = (TEXT, b"hello")
HELLO_FRAME = client_frame(TEXT, b"hello")


@dataclass
class Case:
    name: str
    stream: bytes
    messages: list[tuple[int, bytes]]
    code: int | None = None
    limit: int = LIMIT


def fragments(opcode: int, *parts: bytes) -> bytes:
    """Return a message in fragments, each with a mask of its own."""
    last = len(parts) - 1
    return b"".join(
        client_frame(CONTINUATION if i else opcode, part, final=i == last, mask=bytes([i & 255, 7, ~i & 255, 128]))
        for i, part in enumerate(parts)
    )


def close_body(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def lengths() -> list[Case]:
    sizes = [*range(10), 124, 125, 126, 127, 128, 255, 256, *range(509, 516), 65535, 65536, 65537]
    return [
        Case(f"{name} of {size} bytes", client_frame(opcode, payload), [(opcode, payload)])
        for size in sizes
        for name, opcode, payload in (
            ("text", TEXT, b"*" * size),
            ("binary", BINARY, bytes(i * 7 & 255 for i in range(size))),
        )
    ]


def length_forms() -> list[Case]:
    not_minimal = [(0, 2), (1, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)]
    return [
        *(
            Case(
                f"{size} bytes announced in {form} bytes",
                HELLO_FRAME + client_frame(TEXT, b"*" * size, length_bytes=form),
                [HELLO],
                1002,
            )
            for size, form in not_minimal
        ),
        Case("top bit", client_frame(BINARY, announced=1 << 63, length_bytes=8), [], 1002),
        Case("all bits", client_frame(BINARY, announced=(1 << 64) - 1, length_bytes=8), [], 1002),
    ]


def masks() -> list[Case]:
    every = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\0\0\x80", b"\1\2\4\x08"]
    return [
        *(
            Case(
                f"mask {mask.hex()} on {size} bytes",
                client_frame(BINARY, bytes(range(size)), mask=mask) + HELLO_FRAME,
                [(BINARY, bytes(range(size))), HELLO],
            )
            for mask in every
            for size in (0, 1, 2, 3, 4, 5, 130)
        ),
        *(
            Case(
                f"unmasked opcode {opcode}",
                HELLO_FRAME + client_frame(opcode, b"", mask=None) + HELLO_FRAME,
                [HELLO],
                1002,
            )
            for opcode in (TEXT, BINARY, PING, PONG, CLOSE)
        ),
        Case("unmasked text", HELLO_FRAME + client_frame(TEXT, b"*" * 300, mask=None), [HELLO], 1002),
    ]


def reserved() -> list[Case]:
    return [
        *(
            Case(
                f"reserved bits {bits} on opcode {opcode}",
                HELLO_FRAME + client_frame(opcode, b"", reserved=bits) + HELLO_FRAME,
                [HELLO],
                1002,
            )
            for bits in range(1, 8)
            for opcode in (TEXT, BINARY, PING, PONG, CLOSE)
        ),
        *(
            Case(
                f"reserved opcode {opcode}",
                HELLO_FRAME + client_frame(opcode, b"*" * size) + HELLO_FRAME,
                [HELLO],
                1002,
            )
            for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
            for size in (0, 10)
        ),
        Case(
            "reserved bit on a continuation",
            client_frame(TEXT, b"a", final=False) + client_frame(CONTINUATION, b"b", reserved=4),
            [],
            1002,
        ),
    ]


def control_frames() -> list[Case]:
    return [
        *(
            Case(
                f"opcode {opcode} of {size} bytes",
                client_frame(opcode, b"\xfe" * size),
                [(opcode, b"\xfe" * size)],
            )
            for opcode in (PING, PONG)
            for size in (0, 1, 124, 125)
        ),
        *(
            Case(f"opcode {opcode} of 126 bytes", client_frame(opcode, b"\xfe" * 126) + HELLO_FRAME, [], 1002)
            for opcode in (PING, PONG, CLOSE)
        ),
        *(
            Case(
                f"opcode {opcode} with a length of 8 bytes",
                client_frame(opcode, b"", length_bytes=8),
                [],
                1002,
            )
            for opcode in (PING, PONG, CLOSE)
        ),
        *(
            Case(f"fragmented opcode {opcode}", client_frame(opcode, b"", final=False) + HELLO_FRAME, [], 1002)
            for opcode in (PING, PONG, CLOSE)
        ),
        Case(
            "ten pings",
            b"".join(client_frame(PING, bytes([i])) for i in range(10)),
            [(PING, bytes([i])) for i in range(10)],
        ),
        Case(
            "pong unasked, then ping",
            client_frame(PONG, b"x") + client_frame(PING),
            [(PONG, b"x"), (PING, b"")],
        ),
    ]


def fragmentation() -> list[Case]:
    ping = client_frame(PING, b"between")
    pinged = (PING, b"between")
    return [
        Case("two fragments", fragments(TEXT, b"ab", b"cd"), [(TEXT, b"abcd")]),
        Case("binary in three", fragments(BINARY, b"\xff", b"\xfe", b"\xfd"), [(BINARY, b"\xff\xfe\xfd")]),
        Case("empty fragments", fragments(TEXT, b"", b"", b""), [(TEXT, b"")]),
        Case("first fragment empty", fragments(TEXT, b"", b"abc"), [(TEXT, b"abc")]),
        Case("last fragment empty", fragments(TEXT, b"abc", b""), [(TEXT, b"abc")]),
        Case("fragments of a byte", fragments(TEXT, *(b"x" for _ in range(50))), [(TEXT, b"x" * 50)]),
        Case("long fragments", fragments(BINARY, b"a" * 126, b"b" * 300), [(BINARY, b"a" * 126 + b"b" * 300)]),
        Case("two messages in fragments", fragments(TEXT, b"a", b"b") * 2, [(TEXT, b"ab")] * 2),
        Case(
            "ping between fragments",
            client_frame(TEXT, b"a", final=False) + ping + client_frame(CONTINUATION, b"b"),
            [pinged, (TEXT, b"ab")],
        ),
        Case(
            "ping inside a character",
            client_frame(TEXT, b"\xc3", final=False) + ping + client_frame(CONTINUATION, b"\xa9"),
            [pinged, (TEXT, "é".encode())],
        ),
        Case(
            "pings after every one of five fragments",
            b"".join(client_frame(CONTINUATION if i else TEXT, b"x", final=False) + ping for i in range(5))
            + client_frame(CONTINUATION, b"y")
            + HELLO_FRAME,
            [pinged] * 5 + [(TEXT, b"xxxxxy"), HELLO],
        ),
        Case(
            "close between fragments",
            client_frame(TEXT, b"a", final=False)
            + client_frame(CLOSE, close_body(1000))
            + client_frame(CONTINUATION, b"b"),
            [(CLOSE, close_body(1000))],
        ),
        Case(
            "message begins with a final continuation",
            client_frame(CONTINUATION, b"x") + HELLO_FRAME,
            [],
            1002,
        ),
        Case(
            "message begins with a continuation",
            client_frame(CONTINUATION, b"x", final=False) + HELLO_FRAME,
            [],
            1002,
        ),
        Case(
            "continuation after a whole message",
            HELLO_FRAME + client_frame(CONTINUATION, b"x"),
            [HELLO],
            1002,
        ),
        Case(
            "continuation after the last fragment",
            fragments(TEXT, b"a", b"b") + client_frame(CONTINUATION, b"x"),
            [(TEXT, b"ab")],
            1002,
        ),
        *(
            Case(
                f"opcode {opcode}, final {final}, inside a message",
                client_frame(TEXT, b"a", final=False) + ping + client_frame(opcode, b"x" * 20, final=final),
                [pinged],
                1002,
            )
            for opcode in (TEXT, BINARY)
            for final in (True, False)
        ),
    ]


VALID_TEXTS = {
    "ascii": b"Hello, world",
    "greek": "κόσμε".encode(),
    "every length": "a\u00e9\u20ac\U0001f600z".encode(),
    "nul": b"\0",
    "first of two bytes": "\u0080".encode(),
    "last of two bytes": "\u07ff".encode(),
    "first of three bytes": "\u0800".encode(),
    "before the surrogates": "\ud7ff".encode(),
    "after the surrogates": "\ue000".encode(),
    "replacement": "\ufffd".encode(),
    "noncharacters": "\ufffe\uffff\ufdd0".encode(),
    "last of three bytes": "\uffff".encode(),
    "first of four bytes": "\U00010000".encode(),
    "last of all": "\U0010ffff".encode(),
    "byte order mark": b"\xef\xbb\xbfx",
}
BROKEN_TEXTS = {
    "lone continuation 80": b"a\x80b",
    "lone continuation bf": b"a\xbfb",
    "two continuations": b"\x80\xbf",
    "overlong two bytes, slash": b"\xc0\xaf",
    "overlong two bytes, nul": b"\xc0\x80",
    "overlong two bytes, last": b"\xc1\xbf",
    "overlong three bytes, slash": b"\xe0\x80\xaf",
    "overlong three bytes, last": b"\xe0\x9f\xbf",
    "overlong four bytes, slash": b"\xf0\x80\x80\xaf",
    "overlong four bytes, last": b"\xf0\x8f\xbf\xbf",
    "overlong five bytes": b"\xf8\x80\x80\x80\xaf",
    "overlong six bytes": b"\xfc\x80\x80\x80\x80\xaf",
    "first surrogate": b"\xed\xa0\x80",
    "last surrogate": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
    "surrogate in words": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    "over U+10FFFF": b"\xf4\x90\x80\x80",
    "f5": b"\xf5\x80\x80\x80",
    "f7": b"\xf7\xbf\xbf\xbf",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfd\xbf\xbf\xbf\xbf\xbf",
    "fe": b"\xfe",
    "ff": b"\xff",
    "cut after one of two": b"a\xc3",
    "cut after one of three": b"a\xe2",
    "cut after two of three": b"a\xe2\x82",
    "cut after three of four": b"a\xf0\x9f\x98",
    "interrupted": b"\xe2\x82a",
    "two beginnings": b"\xc3\xc3\xa9",
    "latin-1": "größe".encode("latin-1"),
}


def texts() -> list[Case]:
    cases = []
    for name, text in VALID_TEXTS.items():
        parts = [text[i : i + 1] for i in range(len(text))]
        cases += [
            Case(f"valid: {name}", client_frame(TEXT, text) + HELLO_FRAME, [(TEXT, text), HELLO]),
            Case(f"valid, long: {name}", client_frame(TEXT, text * 40), [(TEXT, text * 40)]),
            Case(f"valid, a fragment a byte: {name}", fragments(TEXT, *parts, b""), [(TEXT, text)]),
            Case(
                f"valid, as close reason: {name}",
                client_frame(CLOSE, close_body(1000, text)),
                [(CLOSE, close_body(1000, text))],
            ),
        ]
    for name, text in BROKEN_TEXTS.items():
        parts = [text[i : i + 1] for i in range(len(text))]
        cases += [
            Case(f"broken: {name}", HELLO_FRAME + client_frame(TEXT, text) + HELLO_FRAME, [HELLO], 1007),
            Case(f"broken, long: {name}", client_frame(TEXT, b"*" * 200 + text) + HELLO_FRAME, [], 1007),
            Case(f"broken, a fragment a byte: {name}", fragments(TEXT, *parts, b"") + HELLO_FRAME, [], 1007),
            Case(f"broken, but binary: {name}", client_frame(BINARY, text), [(BINARY, text)]),
            Case(f"broken, but binary in fragments: {name}", fragments(BINARY, *parts, b""), [(BINARY, text)]),
            Case(f"broken, as close reason: {name}", client_frame(CLOSE, close_body(1000, text)), [], 1007),
        ]
    return cases


GOOD_CODES = [
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3999,
    4000,
    4401,
    4999,
]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32768, 65535]


def closes() -> list[Case]:
    return [
        Case("close of no bytes", client_frame(CLOSE), [(CLOSE, b"")]),
        Case("close of one byte", HELLO_FRAME + client_frame(CLOSE, b"\x03"), [HELLO], 1002),
        Case(
            "close of 125 bytes",
            client_frame(CLOSE, close_body(1000, b"*" * 123)),
            [(CLOSE, close_body(1000, b"*" * 123))],
        ),
        Case(
            "frames after close",
            client_frame(CLOSE, close_body(1000)) + HELLO_FRAME,
            [(CLOSE, close_body(1000))],
        ),
        Case("nonsense after close", client_frame(CLOSE) + b"\xff\x00" * 10, [(CLOSE, b"")]),
        Case("two closes", client_frame(CLOSE) * 2, [(CLOSE, b"")]),
        Case("bad code and bad reason", client_frame(CLOSE, close_body(1005, b"\xff")), [], 1002),
        *(
            Case(
                f"close code {code}",
                client_frame(CLOSE, close_body(code, b"x")),
                [(CLOSE, close_body(code, b"x"))],
            )
            for code in GOOD_CODES
        ),
        *(Case(f"close code {code}", client_frame(CLOSE, close_body(code)) * 2, [], 1002) for code in BAD_CODES),
    ]


def limits() -> list[Case]:
    cases = []
    for limit in (0, 1, 124, 125, 126, 127, 1000):
        fits, over = b"*" * limit, b"*" * (limit + 1)
        cases += [
            Case(f"limit {limit} reached", client_frame(TEXT, fits) * 2, [(TEXT, fits)] * 2, limit=limit),
            Case(
                f"limit {limit} passed",
                client_frame(TEXT, fits) + client_frame(TEXT, over),
                [(TEXT, fits)],
                1009,
                limit,
            ),
            Case(
                f"limit {limit} reached in fragments",
                fragments(BINARY, b"", fits, b""),
                [(BINARY, fits)],
                None,
                limit,
            ),
            Case(f"limit {limit} passed in fragments", fragments(BINARY, fits, b"", b"*", b""), [], 1009, limit),
            Case(
                f"limit {limit} is not for control frames",
                client_frame(TEXT, fits, final=False) + client_frame(PING, b"p" * 125) + client_frame(CONTINUATION),
                [(PING, b"p" * 125), (TEXT, fits)],
                None,
                limit,
            ),
        ]
    return [
        *cases,
        Case("limit passed by one, announced only", client_frame(TEXT, announced=LIMIT + 1), [], 1009),
        Case("limit passed by far, announced only", client_frame(TEXT, announced=(1 << 63) - 1), [], 1009),
        Case(
            "limit passed by the second fragment, announced only",
            client_frame(BINARY, b"ab", final=False) + client_frame(CONTINUATION, announced=LIMIT - 1),
            [],
            1009,
        ),
        Case(
            "the next message starts from nothing",
            fragments(TEXT, b"abc", b"de") * 3,
            [(TEXT, b"abcde")] * 3,
            None,
            5,
        ),
    ]


def mixtures() -> list[Case]:
    many = b"".join(client_frame(TEXT, b"m%d" % i, mask=bytes([i, i ^ 255, 3, i])) for i in range(100))
    return [
        Case("nothing", b"", []),
        Case("many small texts in one read", many, [(TEXT, b"m%d" % i) for i in range(100)]),
        Case(
            "empty frames of every kind",
            b"".join(client_frame(o) for o in (1, 2, 9, 10)),
            [(o, b"") for o in (1, 2, 9, 10)],
        ),
        Case("half a header", HELLO_FRAME + b"\x81", [HELLO]),
        Case("a header and no more", HELLO_FRAME + client_frame(TEXT, announced=5), [HELLO]),
        Case("a long header and no more", HELLO_FRAME + client_frame(TEXT, announced=LIMIT), [HELLO]),
    ]


CASES = [
    *lengths(), *length_forms(), *masks(), *reserved(), *control_frames(), *fragmentation(), *texts(),
    *closes(), *limits(), *mixtures(),
]  # fmt: skip
