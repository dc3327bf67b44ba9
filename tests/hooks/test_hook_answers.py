"""Odd answers to an outgoing hook: the log and `relay hook list` tell of them in the relay's own words."""

import socket

import pytest
import trio

from relay.core.model.changes import Hook
from relay.net.webhooks import post as hook_post
from relay.net.webhooks.post import CUT, RESPONSE_BYTES, PostFailed

ODD = {
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "the answer is 101: it changes to another protocol, which nobody asked for",
    ),
    "rubbish": (b"\x00\x01\x02 not HTTP at all\r\n\r\n", "its answer is not HTTP"),
    "a mail server": (b"220 mail.example ESMTP\r\n", "its answer is not HTTP"),
    "nothing": (b"", CUT),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Len", CUT),
    "a malformed header": (
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        f"its answer (200) is malformed, or its head is over {RESPONSE_BYTES} bytes",
    ),
    "a large head": (
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * RESPONSE_BYTES,
        f"its answer (200) is malformed, or its head is over {RESPONSE_BYTES} bytes",
    ),
    "interim answers only": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20, "it sent more than 16 interim responses"),
    "rubbish after an interim one": (b"HTTP/1.1 100 Continue\r\n\r\nrubbish\r\n\r\n", "its answer is not HTTP"),
}


async def refusal(answer: bytes) -> str:
    """Post an event to a receiver that answers so, and return why it failed."""

    async def receive(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)
            await stream.send_eof()
            # Read the rest, so that the answer is not lost to a reset.
            async for _ in stream:
                pass

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, receive, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/in"
        with pytest.raises(PostFailed) as failed:
            await hook_post.post(Hook(chat="x", url=url), b"{}", 1, 0)
        nursery.cancel_scope.cancel()
    return str(failed.value)


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_answer_is_told_in_own_words(name: str) -> None:
    answer, said = ODD[name]
    assert await refusal(answer) == said


async def test_a_receiver_that_is_not_there_is_told_without_a_number() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        hook = Hook(chat="x", url=f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        with pytest.raises(PostFailed, match=r"^cannot be reached: Connection refused$"):
            await hook_post.post(hook, b"{}", 1, 0)
