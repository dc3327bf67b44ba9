"""The frame decoder and encoder: every case of `frame_cases`, in whole and cut anywhere."""

import sys
import time
from collections.abc import Callable

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
from tests.websocket.frame_cases import (
    BAD_CODES,
    CASES,
    GOOD_CODES,
    HELLO,
    HELLO_FRAME,
    LIMIT,
    Case,
    close_body,
    fragments,
)


def decode(reads: list[bytes], limit: int) -> tuple[list[tuple[int, bytes]], int | None]:
    decoder = Decoder(limit=limit)
    messages = [message for read in reads for message in decoder.feed(read)]
    return messages, decoder.violation.code if decoder.violation else None


def cuts(stream: bytes) -> list[int]:
    """Return the places to split a stream: everywhere, or in a long one wherever a header may be."""
    if len(stream) < 1000:
        return list(range(len(stream) + 1))
    return [*range(300), *range(300, len(stream), 9973), *range(len(stream) - 40, len(stream))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestEveryCase:
    def test_stream_in_one_read_is_decoded_to_its_messages(self, case: Case) -> None:
        assert decode([case.stream], case.limit) == (case.messages, case.code)

    def test_stream_read_byte_by_byte_gives_the_same_messages(self, case: Case) -> None:
        reads = [case.stream[i : i + 1] for i in range(len(case.stream))]
        assert decode(reads, case.limit) == (case.messages, case.code)

    def test_stream_split_anywhere_gives_the_same_messages(self, case: Case) -> None:
        for cut in cuts(case.stream):
            reads = [case.stream[:cut], case.stream[cut:]]
            assert decode(reads, case.limit) == (case.messages, case.code), f"cut at {cut}"

    def test_stream_after_a_complete_frame_gives_the_same_messages(self, case: Case) -> None:
        if case.limit >= len(HELLO[1]):
            assert decode([HELLO_FRAME + case.stream], case.limit) == ([HELLO, *case.messages], case.code)


# The shortest violating part of each stream: with one byte less it is still valid.
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
def test_violation_ends_decoding_with_a_reason(case: Case) -> None:
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
        assert decoder.kept == []
    assert not hasattr(decoder, "__dict__")
    assert sys.getsizeof(decoder) <= 128


def test_announced_length_allocates_nothing() -> None:
    decoder = Decoder(limit=1 << 40)
    decoder.feed(client_frame(BINARY, announced=1 << 40))
    assert sum(map(sys.getsizeof, decoder.kept)) < 200


def time_of(reads: list[bytes]) -> float:
    """Return the CPU seconds for decoding these reads: the minimum of three."""
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
def test_trickling_bytes_take_linear_time(reads: Callable[[int], list[bytes]], size: int) -> None:
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


def test_payloads_are_returned_as_bytes() -> None:
    stream = HELLO_FRAME + fragments(TEXT, b"a", b"b") + client_frame(PING, b"x") + client_frame(BINARY)
    decoder = Decoder(limit=LIMIT)
    messages = [message for byte in stream for message in decoder.feed(bytes([byte]))]
    assert [type(payload) for _, payload in [*messages, *Decoder(limit=LIMIT).feed(stream)]] == [bytes] * 8
    assert MASK not in [payload for _, payload in messages]
