"""Limits of HTTP: malformed, slow and endless requests, too many of them, foreign hosts and pages."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.net.http import connection as http
from relay.net.http import pace
from relay.net.http.idle import IdleConnections
from relay.net.http.request import HttpRequest
from relay.net.sockets.hostnames import Names, same_origin
from relay.net.tuning import NetTuning
from relay.settings import HttpSection, Settings
from relay.store.log.log import Log
from tests.support.http_relay import HttpRelay, http_relay, read_all


async def answer_to(relay: HttpRelay, data: bytes) -> bytes:
    return await read_all(await relay.raw(data))


NO_REQUESTS = [
    b"\x00\x01\x02\x03\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\n",
    b"POST /session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000,
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /session HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nOrigin: http://evil.example\r\n\r\n",
]


async def test_a_malformed_request_is_refused_and_its_connection_closed(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        for data in NO_REQUESTS:
            head, _, body = (await answer_to(relay, data)).partition(b"\r\n\r\n")
            assert head.split()[1] in (b"400", b"431", b"501", b"505"), data[:80]
            assert json.loads(body)["error"]["code"] == "bad_request"


async def test_an_unexpected_failure_in_a_head_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(*_arguments: object) -> None:
        raise LookupError

    monkeypatch.setattr(http, "HttpRequest", unforeseen)
    async with http_relay(tmp_path) as relay:
        answer = await answer_to(relay, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 500 ") == 1


async def test_one_request_is_parsed_per_turn_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message must not wait for all simultaneous requests, which took 0.8 s."""
    read = 0

    def counted(*arguments: Any) -> HttpRequest:
        nonlocal read
        read += 1
        return HttpRequest(*arguments)

    monkeypatch.setattr(http, "HttpRequest", counted)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with http_relay(tmp_path) as relay:
        streams = [await relay.raw(request * 50) for _ in range(20)]
        rounds, before = [], read
        while read < 200:
            await trio.lowlevel.checkpoint()
            rounds.append(read - before)
            before = read
        for stream in streams:
            await stream.aclose()
    assert max(rounds) <= 2


def test_requests_beyond_the_rate_of_an_address_wait_and_others_do_not() -> None:
    address = pace.AddressPace(100.0, 400.0)
    waits = [address.take("a", 10.0, 5.0) for _ in range(400 + 100)]
    assert waits[:400] == pytest.approx([0.0] * 400)
    assert waits[-1] == pytest.approx(1.0)
    assert address.take("b", 10.0, 5.0) == 0.0
    assert address.take("a", 20.0, 5.0) == 0.0, "and it is forgotten with time"


def test_a_flood_does_not_make_later_requests_of_its_address_wait_longer() -> None:
    address = pace.AddressPace(100.0, 400.0)
    waits = [address.take("office", second, 5.0) for second in range(60) for _ in range(1_000)]
    assert None in waits, "a request that would wait longer gets no token"
    assert max(wait for wait in waits if wait is not None) <= 5.0
    assert address.take("office", 65.0, 5.0) == pytest.approx(0.0, abs=0.02)


def test_the_number_of_remembered_addresses_is_bounded() -> None:
    address = pace.AddressPace(100.0, 400.0)
    for number in range(pace.MAX_KNOWN_ADDRESSES + 100):
        address.take(number, 1.0, 5.0)
    assert len(address) == pace.MAX_KNOWN_ADDRESSES


async def test_anonymous_requests_beyond_the_rate_are_answered_later(tmp_path: Path) -> None:
    tuning = NetTuning(burst_requests=3.0, requests_per_second=20.0)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = request.replace(b"localhost", b"localhost\r\nConnection: close")
    async with http_relay(tmp_path, net=tuning) as relay:
        began = trio.current_time()
        answers = await read_all(await relay.raw(request * 5 + last))
    assert answers.count(b"HTTP/1.1 200") == 6
    assert trio.current_time() - began >= 0.14


async def test_anonymous_request_with_too_long_a_wait_is_dropped_and_a_users_is_not(tmp_path: Path) -> None:
    tuning = NetTuning(burst_requests=3.0, requests_per_second=1.0, queue_seconds=0.5)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with http_relay(tmp_path, net=tuning) as relay:
        answers = b""
        async with await relay.raw(request * 6) as stream:
            with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
                while data := await stream.receive_some():
                    answers += data
        assert answers.count(b"HTTP/1.1 200") <= 4
        token = (await relay.user("anna")).encode()
        known = request.replace(b"localhost", b"localhost\r\nConnection: close\r\nAuthorization: Bearer " + token)
        assert b"HTTP/1.1 200" in await read_all(await relay.raw(known))


async def test_a_connection_without_a_request_times_out(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle_connections = IdleConnections()
    with idle_connections.wait(NetTuning().head_seconds, "10.0.0.1") as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - NetTuning().head_seconds < 1
    assert len(idle_connections) == 0


async def test_an_incomplete_head_times_out(tmp_path: Path) -> None:
    async with http_relay(tmp_path, net=NetTuning(head_seconds=0.2)) as relay:
        stream = await relay.raw(b"GET / HTTP/1.1\r\nHo")
        assert await read_all(stream) == b""


async def test_idle_connections_do_not_keep_others_out(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        relay.server.router.idle_connections.room = 8
        hanging = [await relay.raw(b"GET / HT") for _ in range(40)]
        async with relay.browser() as browser:
            assert (await browser.get("/healthz")).status_code == 200
        assert len(relay.server.router.idle_connections) <= 8
        assert await read_all(hanging[0]) == b""
        for stream in hanging:
            await stream.aclose()


async def test_a_json_body_may_be_16_kib(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        fits = await browser.post("/session", content=b'{"invite":"x"}'.ljust(16_384))
        over = await browser.post("/session", content=b'{"invite":"x"}'.ljust(16_385))

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b" " * 1_000

        unannounced = await browser.post("/session", content=chunks())
    assert fits.status_code == 401
    assert over.status_code == unannounced.status_code == 413
    assert over.json()["error"]["code"] == "too_large"


async def test_a_body_that_stalls_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path, net=NetTuning(body_seconds=0.2)) as relay:
        request = f"POST /session HTTP/1.1\r\nHost: {relay.host}\r\nContent-Length: 100\r\n\r\n{{"
        assert (await answer_to(relay, request.encode())).startswith(b"HTTP/1.1 408")


async def test_a_malformed_body_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        for body in (b"", b"[]", b"{", b'{"invite":5}', b'{"userId":"a"}', b"[" * 9_000, b"\xff\xfe"):
            answer = await browser.post("/session", content=body)
            assert answer.status_code == 400, body[:20]
            assert answer.json()["error"]["code"] == "bad_request"


async def test_a_foreign_host_name_is_refused(tmp_path: Path) -> None:
    settings = Settings(http=HttpSection(hosts=["chat.example.org", "*.lab.example"]))
    async with http_relay(tmp_path, settings) as relay, relay.browser() as browser:
        statuses = {
            host: (await browser.get("/session", headers={"Host": host})).status_code
            for host in (
                "evil.example",
                "evil.example:80",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
                "",
                "[",
                "localhost",
                "LOCALHOST:1",
                "192.168.7.7",
                "[fe80::1]:8765",
                "chat.example.org",
                "a.lab.example",
                "a.b.lab.example",
                "A.B.C.LAB.EXAMPLE.:8765",
                "lab.example",
                "evillab.example",
                "a.lab.example.evil.example",
            )
        }
    refused = {host for host, status in statuses.items() if status == 421}
    assert refused == {
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "[",
        "lab.example",
        "evillab.example",
        "a.lab.example.evil.example",
    }
    assert {status for host, status in statuses.items() if host not in refused} == {401}


async def test_a_program_with_a_token_may_use_any_host_name(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        token = await relay.user("alarm")
        headers = {"Host": "relay.internal", "Authorization": f"Bearer {token}"}
        assert (await browser.get("/session", headers=headers)).status_code == 200


def test_a_setting_allows_any_host_name() -> None:
    assert "evil.example" in Names(["*"])
    assert "evil.example" not in Names()


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://relay:8765", "relay:8765", True),
        ("http://relay", "relay", True),
        ("https://relay", "relay", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("http://relay.local.:8765", "relay.local.:8765", True),
        ("http://[::1]:8765", "[0:0:0:0:0:0:0:1]:8765", True),
        ("http://relay:8766", "relay:8765", False),
        ("http://evil:8765", "relay:8765", False),
        ("http://relay.evil:8765", "relay:8765", False),
        ("http://relay:99999", "relay:8765", False),
        ("null", "relay:8765", False),
        ("", "relay:8765", False),
        ("file://", "relay:8765", False),
        ("http://[", "relay:8765", False),
    ],
)
def test_only_pages_of_the_same_host_and_port_are_the_relays_own(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host, secure=False) is same


async def test_healthz_reports_whether_the_store_is_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        well = await browser.get("/healthz", headers={"Host": "anything.example"})
        with monkeypatch.context() as patch:
            patch.setattr(Log, "writable", property(lambda _log: False))
            ill = await browser.get("/healthz")
    assert (well.status_code, well.json()) == (200, {"status": "ok"})
    assert ill.status_code == 503


async def test_metrics_are_for_this_machine_only_unless_configured(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        here = await browser.get("/metrics")
        through_a_proxy = await browser.get("/metrics", headers={"X-Forwarded-For": "10.0.0.9"})
    nowhere = Settings(http=HttpSection(metrics_from=[]))
    async with http_relay(tmp_path / "2", nowhere) as relay, relay.browser() as browser:
        refused = await browser.get("/metrics")
    assert here.status_code == 200
    assert "\nrelay_entries_total 0.0\n" in here.text
    assert (through_a_proxy.status_code, refused.status_code) == (403, 403)
