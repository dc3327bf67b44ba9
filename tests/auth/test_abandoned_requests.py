"""Requests whose client is gone or reads nothing: uploads, downloads and answers end and free their places."""

import socket
import struct
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.client import connect
from relay.net.http import connection as http
from relay.net.http.idle import IdleConnections
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpResponse
from relay.net.http.static import StaticFiles
from relay.net.sockets.transport import SocketTransport
from relay.net.tuning import NetTuning
from relay.protocol import control, objects, requests
from tests.support.http_files import on_disk, until
from tests.support.http_relay import http_relay

# Rights that end during a request.


async def rest_of(stream: trio.SocketStream) -> int:
    """Count the bytes until the relay closes the connection."""
    count = 0
    async with stream:
        with trio.fail_after(5):
            try:
                while data := await stream.receive_some(65_536):
                    count += len(data)
            except trio.BrokenResourceError:
                return count
    raise AssertionError("it ended as if it were whole")


async def test_a_download_ends_soon_after_its_device_was_revoked(tmp_path: Path) -> None:
    size = 30 * 2**20
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        token = await relay.user("anna")
        headers = {"Authorization": f"Bearer {token}"}
        url = (await browser.post("/files", content=bytes(size), headers=headers)).json()["url"]
        stream = await relay.raw(
            f"GET {url} HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        first = await stream.receive_some(65_536)
        await relay.ask("device.revokeAll", control.RevokeDevicesRequest(user_id="anna"))
        got = len(first)
        got += await rest_of(stream)
    assert got < size - 4 * 2**20


async def test_a_download_ends_when_its_reader_leaves_the_chat(tmp_path: Path) -> None:
    size = 30 * 2**20
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        content = await browser.post("/files", content=bytes(size), headers={"Authorization": f"Bearer {anna}"})
        async with connect(f"ws://{relay.host}/ws", anna) as socket:
            group: objects.ChatDetails = await socket.request(
                requests.CREATE_CHAT, requests.CreateChat(type="group", name="Crew", participants=["ben"])
            )
            await socket.request(
                requests.NEW,
                requests.New(chat_id=group.chat_id, client_message_id="1", attachments=[content.json()]),
            )
            head = f"GET {content.json()['url']} HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {ben}\r\n\r\n"
            stream = await relay.raw(head.encode())
            got = len(await stream.receive_some(65_536))
            gone = requests.Participants(chat_id=group.chat_id, participants=["ben"])
            await socket.request(requests.REMOVE_PARTICIPANTS, gone)
            got += await rest_of(stream)
    assert got < size - 4 * 2**20


@pytest.mark.parametrize("how", ["revoked", "disabled"])
async def test_an_upload_ends_with_its_device(tmp_path: Path, how: str) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        head = f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n"
        stream = await relay.raw(f"{head}Content-Length: 1000000\r\n\r\nhalf".encode())
        await until(lambda: on_disk(relay))
        if how == "revoked":
            await relay.ask("device.revokeAll", control.RevokeDevicesRequest(user_id="anna"))
        else:
            await relay.ask("user.change", control.ChangeUser(id="anna", disabled=True))
        await stream.send_all(b"more, and by far not all")
        with trio.fail_after(5):
            answer = await stream.receive_some(65_536)
        await stream.aclose()
        user = relay.relay.state.user("anna")
        assert user is not None
        assert user.stored == 0
    assert answer.startswith(b"HTTP/1.1 401")


async def test_chunked_upload_with_headers_only_times_out(tmp_path: Path) -> None:
    async with http_relay(tmp_path, net=NetTuning(body_seconds=0.5)) as relay:
        token = await relay.user("anna")
        head = f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n"
        stream = await relay.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        answer = b""
        with trio.fail_after(5):
            while not answer:
                with trio.move_on_after(0.1):
                    answer = await stream.receive_some(65_536)
                if not answer:
                    await stream.send_all(b"0")
        await stream.aclose()
    assert answer.startswith(b"HTTP/1.1 408")


class Trickle(SocketTransport):
    """A transport whose peer reads a byte every ten seconds."""

    def __init__(self) -> None:
        self.peer = "memory"
        self.broken = False
        self.payer = None
        self.discarded = False

    async def send_some(self, _data: bytes | memoryview) -> int:
        await trio.sleep(10)
        return 1

    def discard(self) -> None:
        self.discarded = True


async def test_answer_read_a_byte_at_a_time_is_abandoned(autojump_clock: MockClock) -> None:
    transport = Trickle()
    connection = http.HttpConnection(transport, IdleConnections(), NetTuning())
    with pytest.raises(http.Disconnected), trio.fail_after(2 * http.SEND_SECONDS):
        await connection.send(bytes(100_000))
    assert transport.discarded


async def test_requests_with_unread_answers_take_only_their_own_places(tmp_path: Path) -> None:
    tuning = NetTuning(anonymous_places_per_address=4, place_seconds=0.2)
    async with http_relay(tmp_path, net=tuning) as relay:
        request = f"GET /app.js HTTP/1.1\r\nHost: {relay.host}\r\n\r\n".encode()
        streams = [await relay.raw(request * 300) for _ in range(12)]
        await until(lambda: len(relay.server.router.places.anonymous) >= 4)
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = len(relay.server.router.places.anonymous)
        token = await relay.user("anna")
        async with relay.browser(headers={"Authorization": f"Bearer {token}"}) as browser:
            assert (await browser.get("/session")).status_code == 200
        for stream in streams:
            await stream.aclose()
    assert held == 4


async def test_closed_connection_frees_the_place_of_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def answer(pages: StaticFiles, request: HttpRequest) -> HttpResponse:
        nonlocal made
        made += 1
        return real(pages, request)

    real = StaticFiles.answer
    monkeypatch.setattr(StaticFiles, "answer", answer)
    async with http_relay(tmp_path) as relay:
        request = f"GET /app.js HTTP/1.1\r\nHost: {relay.host}\r\n\r\n".encode()
        stream = await relay.raw(request * 900)
        await until(lambda: made)
        await trio.testing.wait_all_tasks_blocked(0.05)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        await until(lambda: not len(relay.server.router.places.anonymous))
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert made < 700
