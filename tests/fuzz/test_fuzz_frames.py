"""For any input, the frame decoder does not raise, stays within its limit, and does not depend on how reads are
split."""

import sys
import time
from collections.abc import Hashable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.net.websocket.frames import Decoder
from tests.support.frame_streams import any_stream, corpus, cut

LIMIT = 3000
FEW = 300
"""Mutated streams that every run tries."""
# One message, plus a control frame between its fragments: header, mask and 125 bytes.
KEPT = LIMIT + 2 + 4 + 125
STREAMS = corpus()


def kept(decoder: Decoder) -> int:
    """Return how many bytes a decoder keeps between reads."""
    return sum(map(len, decoder.kept))


def allocated(decoder: Decoder) -> int:
    """Return the memory of these bytes, including a bytearray's spare room."""
    return sum(map(sys.getsizeof, decoder.kept))


def check(stream: bytes, reads: list[bytes]) -> Hashable:
    """Check the invariants for any bytes; return a description of the decoder's behaviour."""
    decoder = Decoder(limit=LIMIT)
    messages = []
    for read in reads:
        messages += decoder.feed(read)
        assert kept(decoder) <= KEPT
        assert allocated(decoder) <= KEPT * 9 // 8 + 300
    whole = Decoder(limit=LIMIT)
    assert whole.feed(stream) == messages
    assert repr(whole.violation) == repr(decoder.violation)
    assert kept(whole) == kept(decoder)
    assert all(len(payload) <= LIMIT for opcode, payload in messages if opcode < 8)
    assert sum(len(payload) for _, payload in messages) <= len(stream)
    if decoder.violation:
        assert decoder.violation.code in (1002, 1007, 1009)
        assert kept(decoder) == 0
        assert decoder.feed(stream) == []
    return (
        repr(decoder.violation),
        tuple(len(part) for part in decoder.kept),
        decoder.held,
        tuple(opcode for opcode, _ in messages),
    )


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_decoder_accepts_the_corpus(stream: bytes) -> None:
    check(stream, [stream])
    check(stream, [stream[i : i + 1] for i in range(len(stream))])


@given(st.binary(max_size=300), st.randoms(use_true_random=False))
def test_decoder_accepts_any_bytes(stream: bytes, random: Random) -> None:
    check(stream, cut(stream, random))


@given(st.randoms(use_true_random=False))
def test_decoder_accepts_any_stream_of_frames(random: Random) -> None:
    stream = any_stream(list(STREAMS.values()), random, limit=LIMIT)
    check(stream, cut(stream, random))


def test_decoder_accepts_mutated_streams(fuzz_seconds: float) -> None:
    seed = time.time_ns()
    random = Random(seed)
    pool = list(STREAMS.values())
    seen: set[Hashable] = set()
    tried = 0
    end = time.monotonic() + fuzz_seconds
    # A few in each run show that the long one starts.
    while tried < FEW or time.monotonic() < end:
        stream = any_stream(pool, random, limit=LIMIT)
        reads = cut(stream, random)
        tried += 1
        try:
            behaviour = check(stream, reads)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the stream that did it must be shown
            lengths = [len(read) for read in reads]
            pytest.fail(f"{failure!r}\nstream {stream.hex()}\nread in lengths {lengths}, seed {seed}")
        if behaviour not in seen and len(stream) < 2000 and len(pool) < 20_000:
            # A new behaviour is worth mutating further.
            seen.add(behaviour)
            pool.append(stream)
    print(f"{tried} streams, {len(seen)} behaviours, seed {seed}")
