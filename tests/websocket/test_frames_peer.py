"""The frame codec against wsproto's: the same bytes in, the same messages and errors out, and back."""

from random import Random

from hypothesis import event, given
from hypothesis import strategies as st
from wsproto.connection import CLIENT, Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from relay.net.websocket.frames import BINARY, CLOSE, PING, PONG, TEXT, Decoder, encode, encode_close, parse_close
from tests.support.frame_streams import any_stream, corpus, cut, valid_stream

LIMIT = 3000
POOL = list(corpus().values())
# These bytes complete any announced frame, and the rest is unmasked, so both decoders reach a verdict, however early or
# late each of them checks.
PADDING = bytes(LIMIT + 14)

Body = bytes | str | tuple[int, str]
Outcome = tuple[list[tuple[int, Body]], int | None]
randoms = st.randoms(use_true_random=False)


def ours(reads: list[bytes]) -> Outcome:
    decoder = Decoder(limit=LIMIT)
    messages = [message for read in reads for message in decoder.feed(read)]
    seen: list[tuple[int, Body]] = [
        (opcode, parse_close(body) if opcode == CLOSE else body) for opcode, body in messages
    ]
    return seen, decoder.violation.code if decoder.violation else None


def theirs(reads: list[bytes]) -> Outcome:
    protocol = FrameProtocol(client=False, extensions=[])
    seen: list[tuple[int, Body]] = []
    message = b""
    try:
        for read in reads:
            protocol.receive_bytes(read)
            for frame in protocol.received_frames():
                if frame.opcode is Opcode.CLOSE:
                    seen.append((CLOSE, frame.payload))
                elif frame.opcode in (Opcode.PING, Opcode.PONG):
                    seen.append((int(frame.opcode), frame.payload))
                else:
                    assert not isinstance(frame.payload, tuple)
                    message += frame.payload.encode() if isinstance(frame.payload, str) else frame.payload
                    if frame.message_finished:
                        seen.append((int(frame.opcode), message))
                        message = b""
    except ParseFailed as failure:
        return seen, int(failure.code)
    return seen, None


@given(randoms)
def test_valid_streams_are_decoded_as_by_wsproto(random: Random) -> None:
    stream = valid_stream(random, limit=LIMIT)
    seen, code = ours(cut(stream, random))
    assert code is None
    assert (seen, code) == theirs([stream])


@given(randoms)
def test_invalid_streams_are_refused_as_by_wsproto(random: Random) -> None:
    stream = any_stream(POOL, random, limit=LIMIT)
    seen, code = ours([*cut(stream, random), PADDING])
    their_seen, their_code = theirs([stream, PADDING])
    event(f"violation {code}")
    if code == 1009:
        # wsproto has no limit: it must agree on everything before, and that the next message exceeds it.
        assert their_seen[: len(seen)] == seen
        later = [body for opcode, body in their_seen[len(seen) :] if opcode in (TEXT, BINARY)]
        assert not later or len(later[0]) > LIMIT
    elif seen and seen[-1][0] == CLOSE and seen[-1][1][0] == 1014:
        # wsproto does not know this code, which IANA registered later.
        assert (their_seen, their_code) == (seen[:-1], 1002)
    else:
        assert (seen, code) == (their_seen, their_code)


def received(stream: bytes) -> list[Event]:
    client = Connection(CLIENT)
    client.receive_data(stream)
    return list(client.events())


@given(st.text(max_size=300) | st.sampled_from(["*" * size for size in (125, 126, 65535, 65536)]))
def test_wsproto_decodes_our_text(text: str) -> None:
    events = received(encode(TEXT, text.encode()))
    pieces = [got for got in events if isinstance(got, TextMessage)]
    assert len(pieces) == len(events)
    assert "".join(piece.data for piece in pieces) == text
    assert pieces[-1].message_finished


@given(st.binary(max_size=300))
def test_wsproto_decodes_our_binary(payload: bytes) -> None:
    assert received(encode(BINARY, payload)) == [BytesMessage(payload)]


@given(st.binary(max_size=125))
def test_wsproto_decodes_our_ping_and_pong(payload: bytes) -> None:
    assert received(encode(PING, payload) + encode(PONG, payload)) == [Ping(payload), Pong(payload)]


@given(st.integers(1000, 1003) | st.integers(1007, 1013) | st.integers(3000, 4999), st.text())
def test_wsproto_decodes_our_close(code: int, reason: str) -> None:
    (close,) = received(encode_close(code, reason))
    assert isinstance(close, CloseConnection)
    assert close.code == code
    assert close.reason is not None
    assert reason.startswith(close.reason)


@given(st.lists(st.text(max_size=200), max_size=8), st.integers(1, 50))
def test_messages_of_a_wsproto_client_are_decoded(texts: list[str], size: int) -> None:
    client = Connection(CLIENT)
    stream = b"".join(client.send(TextMessage(text)) for text in texts) + client.send(Ping(b"p"))
    stream += client.send(CloseConnection(1001, "away"))
    seen, code = ours([stream[i : i + size] for i in range(0, len(stream), size)])
    assert code is None
    assert seen == [*((TEXT, text.encode()) for text in texts), (PING, b"p"), (CLOSE, (1001, "away"))]
