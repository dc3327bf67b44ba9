"""Time of the frame codec per frame, compared with wsproto's: `uv run python tests/bench/frames.py`.

A batch is the data of one read. A relay under load finds many small frames in each.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

from wsproto.frame_protocol import FrameProtocol

sys.path.append(str(Path(__file__).resolve().parents[2]))

from relay.net.websocket.frames import TEXT, Decoder, encode
from tests.support.client_frames import client_frame

SIZES = (40, 300)
BATCHES = (1, 64)
SECONDS = 0.2  # for each of the rounds of one figure
ROUNDS = 7


def text(size: int) -> bytes:
    """Return a JSON text of exactly `size` bytes."""
    frame = {"type": "request", "id": ""}
    frame["id"] = "".join(c for c, _ in zip(cycle("req0123456789"), range(size - len(json.dumps(frame))), strict=False))
    return json.dumps(frame).encode()


def nanoseconds(work: Callable[[], object], frames: int) -> float:
    """Return the CPU time per frame of a call that handles `frames`: the minimum of all rounds."""
    calls = 1
    best = float("inf")
    rounds = 0
    while rounds < ROUNDS:
        begun = time.process_time_ns()
        for _ in range(calls):
            work()
        spent = time.process_time_ns() - begun
        if spent < SECONDS * 1e9 / 2:
            calls *= 2
            continue
        best = min(best, spent / calls / frames)
        rounds += 1
    return best


def ours(stream: bytes) -> Callable[[], object]:
    decoder = Decoder(limit=1 << 18)
    return lambda: decoder.feed(stream)


def theirs(stream: bytes) -> Callable[[], object]:
    protocol = FrameProtocol(client=False, extensions=[])

    def work() -> None:
        protocol.receive_bytes(stream)
        for _ in protocol.received_frames():
            pass

    return work


def main() -> None:
    """Print the table."""
    print("ns per frame           ours  wsproto")
    for size in SIZES:
        payload = text(size)
        for batch in BATCHES:
            stream = b"".join(client_frame(TEXT, payload, mask=os.urandom(4)) for _ in range(batch))
            figures = [nanoseconds(make(stream), batch) for make in (ours, theirs)]
            print(f"decode {size:3} B x {batch:2}   {figures[0]:8,.0f} {figures[1]:8,.0f}")
    for size in SIZES:
        payload = text(size)
        peer = FrameProtocol(client=False, extensions=[])
        as_text = payload.decode()
        ns = nanoseconds(partial(encode, TEXT, payload), 1)
        their_ns = nanoseconds(partial(peer.send_data, as_text), 1)
        print(f"encode {size:3} B        {ns:8,.0f} {their_ns:8,.0f}")


if __name__ == "__main__":
    main()
