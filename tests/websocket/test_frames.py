"""The frame codec as a table of bytes and results, with the cases of the usual conformance suites."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from relay.net.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Decoder,
    Violation,
    encode,
    encode_close,
    parse_close,
)
from tests.support.client_frames import MASK, client_frame

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


def decode(reads: list[bytes], limit: int) -> tuple[list[tuple[int, bytes]], int | None]:
    decoder = Decoder(limit=limit)
    messages = [message for read in reads for message in decoder.feed(read)]
    return messages, decoder.violation.code if decoder.violation else None


def cuts(stream: bytes) -> list[int]:
    """Return where to cut a stream in two: everywhere, or in a long one wherever a header may be."""
    if len(stream) < 1000:
        return list(range(len(stream) + 1))
    return [*range(300), *range(300, len(stream), 9973), *range(len(stream) - 40, len(stream))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestEveryCase:
    def test_in_one_read(self, case: Case) -> None:
        assert decode([case.stream], case.limit) == (case.messages, case.code)

    def test_byte_by_byte(self, case: Case) -> None:
        reads = [case.stream[i : i + 1] for i in range(len(case.stream))]
        assert decode(reads, case.limit) == (case.messages, case.code)

    def test_cut_in_two(self, case: Case) -> None:
        for cut in cuts(case.stream):
            reads = [case.stream[:cut], case.stream[cut:]]
            assert decode(reads, case.limit) == (case.messages, case.code), f"cut at {cut}"

    def test_with_a_complete_frame_in_front(self, case: Case) -> None:
        if case.limit >= len(HELLO[1]):
            assert decode([HELLO_FRAME + case.stream], case.limit) == ([HELLO, *case.messages], case.code)


# The shortest part of each stream that is a violation: with one byte less it is none yet.
SHORTEST = {
    "reserved bit": client_frame(TEXT, b"x", reserved=1)[:2],
    "reserved opcode": client_frame(3, b"x")[:2],
    "unmasked": client_frame(TEXT, b"*" * 300, mask=None)[:2],
    "fragmented ping": client_frame(PING, b"x", final=False)[:2],
    "long ping": client_frame(PING, b"*" * 126)[:2],
    "continuation of nothing": client_frame(CONTINUATION, b"x")[:2],
    "text inside a text": client_frame(TEXT, b"x", final=False) + client_frame(TEXT, b"x")[:2],
    "two length bytes too many": client_frame(TEXT, b"x", length_bytes=2)[:4],
    "eight length bytes too many": client_frame(TEXT, b"x", length_bytes=8)[:10],
    "limit announced": client_frame(TEXT, announced=LIMIT + 1)[:10],
    "limit announced by a fragment": client_frame(TEXT, b"*" * 10, final=False)
    + client_frame(CONTINUATION, announced=LIMIT - 9)[:10],
    "surrogate in three fragments": client_frame(TEXT, b"\xed", final=False)
    + client_frame(CONTINUATION, b"\xa0", final=False)
    + client_frame(CONTINUATION, b"\x80", final=False),
    "overlong begun in the second fragment": client_frame(TEXT, b"\xe0", final=False)
    + client_frame(CONTINUATION, b"\x9f", final=False),
    "over U+10FFFF begun in the second fragment": client_frame(TEXT, b"abc\xf4", final=False)
    + client_frame(CONTINUATION, b"\x90", final=False),
}


@pytest.mark.parametrize("stream", SHORTEST.values(), ids=SHORTEST)
def test_violation_is_found_at_the_first_possible_byte(stream: bytes) -> None:
    decoder = Decoder(limit=LIMIT)
    decoder.feed(stream[:-1])
    assert decoder.violation is None
    decoder.feed(stream[-1:])
    assert decoder.violation is not None


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=lambda case: case.name)
def test_violation_ends_decoding_and_says_why(case: Case) -> None:
    decoder = Decoder(limit=case.limit)
    decoder.feed(case.stream)
    violation = decoder.violation
    assert violation is not None
    assert 0 < len(violation.reason.encode()) <= 123
    assert encode_close(violation.code, violation.reason)
    assert decoder.feed(HELLO_FRAME) == []
    assert decoder.violation is violation


def test_violation_keeps_no_text_of_the_client() -> None:
    decoder = Decoder(limit=LIMIT)
    decoder.feed(client_frame(TEXT, b"secret \xff"))
    assert decoder.violation is not None
    assert decoder.violation.__context__ is None
    assert decoder.violation.__traceback__ is None
    assert "secret" not in repr(decoder.violation)


def test_bytes_after_close_are_ignored_in_later_reads() -> None:
    decoder = Decoder(limit=LIMIT)
    assert decoder.feed(client_frame(CLOSE)) == [(CLOSE, b"")]
    assert decoder.feed(HELLO_FRAME) == []
    assert decoder.feed(b"\xff" * 20) == []
    assert decoder.violation is None


def test_empty_reads_change_nothing() -> None:
    assert decode([b"", HELLO_FRAME[:3], b"", HELLO_FRAME[3:], b""], LIMIT) == ([HELLO], None)


def test_idle_decoder_is_small() -> None:
    decoder = Decoder(limit=LIMIT)
    long = client_frame(BINARY, b"*" * LIMIT)
    for stream in (HELLO_FRAME, fragments(TEXT, b"a" * 999, b"b" * 999), long):
        for read in (stream[:2], stream[2:50], stream[50:]):
            decoder.feed(read)
        assert decoder._buffer is None
        assert decoder._fragments is None
    assert not hasattr(decoder, "__dict__")
    assert sys.getsizeof(decoder) <= 128


def test_an_announced_length_allocates_nothing() -> None:
    decoder = Decoder(limit=1 << 40)
    decoder.feed(client_frame(BINARY, announced=1 << 40))
    assert sys.getsizeof(decoder._buffer) < 200


def time_of(reads: list[bytes]) -> float:
    """Return the processor time that decoding these reads takes, in seconds: the least of three."""
    times = []
    for _ in range(3):
        decoder = Decoder(limit=1 << 20)
        begun = time.process_time()
        for read in reads:
            decoder.feed(read)
        times.append(time.process_time() - begun)
        assert decoder.violation is None
    return min(times)


def trickling_frame(size: int) -> list[bytes]:
    stream = client_frame(TEXT, b"*" * size)
    return [stream[i : i + 1] for i in range(len(stream))]


def trickling_fragments(count: int) -> list[bytes]:
    halves = [client_frame(CONTINUATION, half, final=False) for half in (b"\xc3", b"\xa9")]
    return [client_frame(TEXT, final=False), *halves * (count // 2)]


@pytest.mark.parametrize(("reads", "size"), [(trickling_frame, 1 << 14), (trickling_fragments, 1 << 12)])
def test_trickle_takes_linear_time(reads: Callable[[int], list[bytes]], size: int) -> None:
    # Sixteen times the bytes: about sixteen times the work, or hundreds if it were quadratic.
    assert time_of(reads(16 * size)) < 40 * time_of(reads(size))


def test_close_of_one_byte_is_a_violation() -> None:
    with pytest.raises(Violation, match="two bytes"):
        parse_close(b"\x03")


CLOSE_CASES = {b"": (1005, ""), b"\x03\xe8": (1000, ""), close_body(4401, "é".encode()): (4401, "é")}


@pytest.mark.parametrize(("payload", "expected"), CLOSE_CASES.items())
def test_close_is_parsed(payload: bytes, expected: tuple[int, str]) -> None:
    assert parse_close(payload) == expected


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (close_body(1000, b"\xff"), 1007), *((close_body(code), 1002) for code in BAD_CODES)],
)
def test_wrong_close_is_refused(payload: bytes, code: int) -> None:
    with pytest.raises(Violation) as caught:
        parse_close(payload)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (1, b"\x81\x01"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_text_is_encoded_with_the_shortest_header(size: int, head: bytes) -> None:
    assert encode(TEXT, b"*" * size) == head + b"*" * size


def test_every_opcode_is_encoded() -> None:
    assert [encode(opcode, b"x")[0] for opcode in (TEXT, BINARY, PING, PONG)] == [0x81, 0x82, 0x89, 0x8A]
    assert encode(BINARY, b"x" * 300)[:4] == b"\x82\x7e\x01\x2c"


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_long_control_frame_is_not_encoded(opcode: int) -> None:
    assert len(encode(opcode, b"x" * 125)) == 127
    with pytest.raises(ValueError, match="125 bytes"):
        encode(opcode, b"x" * 126)


@pytest.mark.parametrize("code", GOOD_CODES)
def test_close_is_encoded(code: int) -> None:
    assert encode_close(code, "why") == b"\x88\x05" + close_body(code, b"why")


def test_close_without_code_is_encoded_empty() -> None:
    assert encode_close(*parse_close(b"")) == b"\x88\x00"


@pytest.mark.parametrize("code", sorted({*BAD_CODES, 70_000, -1} - {1005}))
def test_close_code_that_must_not_be_sent_is_not_encoded(code: int) -> None:
    with pytest.raises(ValueError, match="must not be sent"):
        encode_close(code)


@pytest.mark.parametrize("character", ["a", "é", "€", "\U0001f600"])
@pytest.mark.parametrize("offset", range(4))
def test_close_reason_is_cut_between_characters(character: str, offset: int) -> None:
    reason = "x" * offset + character * 200
    sent = encode_close(1000, reason)
    assert reason.startswith(parse_close(sent[2:])[1])
    assert 123 - len(character.encode()) < len(sent) - 4 <= 123


def test_close_reason_with_a_lone_surrogate_is_still_sent() -> None:
    assert encode_close(1000, "\ud800") == b"\x88\x03" + close_body(1000, b"?")


def test_payloads_are_bytes() -> None:
    stream = HELLO_FRAME + fragments(TEXT, b"a", b"b") + client_frame(PING, b"x") + client_frame(BINARY)
    decoder = Decoder(limit=LIMIT)
    messages = [message for byte in stream for message in decoder.feed(bytes([byte]))]
    assert [type(payload) for _, payload in [*messages, *Decoder(limit=LIMIT).feed(stream)]] == [bytes] * 8
    assert MASK not in [payload for _, payload in messages]
