"""TLS and plain HTTP on one port: each client is answered in its own protocol, and the cookie stays secret."""

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from relay.client import CannotConnect, connect
from relay.net.sockets import hostnames
from relay.net.tls.authority import Authority
from relay.net.tls.certificates import Certificates
from relay.net.tuning import NetTuning
from relay.protocol import control
from relay.settings import Settings, TlsSection
from tests.support.http_relay import HttpRelay, close_code, http_relay, read_all, upgrade, upgrade_request


class SecureRelay(HttpRelay):
    """A relay with TLS, and the certificate that a client needs to trust it."""

    def __init__(self, running: HttpRelay, trust: ssl.SSLContext) -> None:
        super().__init__(running.relay, running.server, running.port)
        self.trust = trust
        self.secure_url = f"https://{self.host}"


@asynccontextmanager
async def tls_relay(
    tmp_path: Path, net: NetTuning | None = None, host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[SecureRelay]:
    """Run a relay with TLS by its own authority."""
    chosen = Settings(tls=TlsSection(on=True, **settings))
    own = Authority(tmp_path / "tls")
    own.make(["localhost", "127.0.0.1"], dt.datetime.now(dt.UTC))
    certificates = Certificates(tmp_path, chosen.tls)
    async with http_relay(tmp_path, chosen, certificates=certificates, net=net, host=host) as relay:
        yield SecureRelay(relay, ssl.create_default_context(cafile=own.certificate))


def secure_browser(relay: SecureRelay, verify: ssl.SSLContext | None = None, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=relay.secure_url,
        verify=relay.trust if verify is None else verify,
        headers={"Origin": relay.secure_url, **headers},
        timeout=20,
    )


async def test_a_browser_that_trusts_the_authority_signs_in(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay, secure_browser(relay) as browser:
        page = await browser.get("/")
        answer = await browser.post("/session", json={"invite": await relay.invite("anna", new=True)})
        known = await browser.get("/session")
    assert page.status_code == 200
    assert "Secure" in answer.headers["set-cookie"].split("; ")
    assert known.json()["userId"] == "anna"
    assert "strict-transport-security" not in page.headers


async def test_browser_that_does_not_trust_the_authority_gets_nothing(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay, secure_browser(relay, ssl.create_default_context()) as browser:
        with pytest.raises(httpx.ConnectError) as refused:
            await browser.get("/")
    cause: BaseException | None = refused.value
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    assert cause is not None


async def test_a_client_that_does_not_trust_the_authority_gets_an_error_at_once(tmp_path: Path) -> None:
    # slackapi/node-slack-sdk#2099, derbyjs/racer#123: connecting forever without an error.
    async with tls_relay(tmp_path) as relay:
        with trio.fail_after(5), pytest.raises(CannotConnect, match="self-signed certificate"):
            async with connect(f"wss://{relay.host}/ws", await relay.user("anna")):
                raise AssertionError
        with trio.fail_after(5):
            async with connect(f"wss://{relay.host}/ws", await relay.user("ben"), tls=relay.trust):
                pass


async def test_a_tls_client_of_a_relay_without_tls_gets_an_error_at_once(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        with trio.fail_after(5), pytest.raises(CannotConnect, match="TLS fails"):
            async with connect(f"wss://{relay.host}/ws", await relay.user("anna")):
                raise AssertionError


async def test_old_tls_is_refused(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay:
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            relay.trust.maximum_version = ssl.TLSVersion.TLSv1_1
        async with secure_browser(relay) as browser:
            with pytest.raises(httpx.ConnectError):
                await browser.get("/")


async def test_plain_http_is_redirected_to_https_on_the_same_port(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay, relay.browser() as browser:
        page = await browser.get("/app.js?v=1")
        post = await browser.post("/session", json={"invite": "x"})
        strange = await browser.get("/", headers={"Host": "evil.example"})
        well = await browser.get("/healthz")
    assert page.status_code == 308
    assert page.headers["location"] == f"https://127.0.0.1:{relay.port}/app.js?v=1"
    assert (post.status_code, post.json()["error"]["code"]) == (403, "forbidden")
    assert (strange.status_code, "location" in strange.headers) == (421, False)
    assert well.status_code == 200


@pytest.mark.parametrize("target", ["//evil.example/", "/\\evil.example"])
async def test_redirect_stays_on_the_relay(tmp_path: Path, target: str) -> None:
    async with tls_relay(tmp_path) as relay:
        request = f"GET {target} HTTP/1.1\r\nHost: {relay.host}\r\nConnection: close\r\n\r\n"
        answer = await read_all(await relay.raw(request.encode()))
    (location,) = [line for line in answer.decode().split("\r\n") if line.startswith("Location: ")]
    assert location.startswith(f"Location: https://127.0.0.1:{relay.port}/")


async def test_plain_http_is_served_if_the_redirect_is_off(tmp_path: Path) -> None:
    async with tls_relay(tmp_path, redirect=False) as relay, relay.browser() as browser:
        assert (await browser.get("/")).status_code == 200


async def test_the_trust_page_is_served_over_plain_http(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay, relay.browser() as browser:
        certificate = await browser.get("/ca.crt")
        page = await browser.get("/trust")
    assert certificate.content == (tmp_path / "tls" / "ca.crt").read_bytes()
    assert certificate.headers["content-type"] == "application/x-x509-ca-cert"
    for platform in ("iPhone", "Android", "Windows", "macOS", "Linux"):
        assert platform in page.text
    assert "script-src" not in page.headers["content-security-policy"]


async def test_trust_page_is_missing_without_an_authority(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        assert [(await browser.get(path)).status_code for path in ("/ca.crt", "/trust")] == [404, 404]


async def test_a_websocket_over_tls_works_and_is_closed_when_revoked(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay, secure_browser(relay) as browser:
        await browser.post("/session", json={"invite": await relay.invite("anna", new=True)})
        plain = await trio.open_tcp_stream("127.0.0.1", relay.port)
        stream = trio.SSLStream(plain, relay.trust, server_hostname="127.0.0.1", https_compatible=True)
        cookie = ("Cookie", f"__Host-relay_session={browser.cookies['__Host-relay_session']}")
        await stream.send_all(upgrade_request(relay, cookie, ("Origin", relay.secure_url)))
        assert b" 101 " in await stream.receive_some()
        await stream.send_all(b"\x81\x84\0\0\0\0ping")
        with trio.fail_after(5):
            while b"pong" not in await stream.receive_some():
                pass
        await relay.ask("device.revoke", control.RevokeDevice(device_id=1))
        assert await close_code(stream) == 4401
        await trio.aclose_forcefully(stream)


async def test_a_program_on_this_machine_needs_no_tls_and_a_browser_does(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay:
        token = await relay.user("robot")
        async with relay.socket(token) as socket:
            assert (await socket.send("robot", "note")).message_id == 1
        async with await upgrade(relay, ("Cookie", f"relay_session={token}"), ("Origin", relay.url)) as raw:
            assert b" 403 " in await raw.receive_some()


async def test_local_program_needs_no_tls_if_the_relay_listens_on_one_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostnames, "is_loopback", lambda _address: False)
    async with tls_relay(tmp_path) as relay:
        token = await relay.user("robot")
        async with relay.socket(token) as socket:
            assert (await socket.send("robot", "note")).message_id == 1
    # If it listens on all addresses, a peer's address says nothing.
    (tmp_path / "all").mkdir()
    async with tls_relay(tmp_path / "all", host="0.0.0.0") as relay:
        token = await relay.user("robot")
        async with await upgrade(relay, ("Authorization", f"Bearer {token}")) as raw:
            assert b" 403 " in await raw.receive_some()


async def test_a_file_is_uploaded_and_downloaded_over_tls(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8_000
    async with tls_relay(tmp_path) as relay:
        token = await relay.user("anna")
        async with secure_browser(relay, Authorization=f"Bearer {token}") as browser:
            attachment = (await browser.post("/files", content=content)).json()
            answer = await browser.get(attachment["url"], headers={"Range": "bytes=1000000-"})
    assert answer.content == content[1_000_000:]


async def test_hanging_handshake_times_out(tmp_path: Path) -> None:
    async with tls_relay(tmp_path, NetTuning(tls_handshake_seconds=0.2)) as relay:
        assert await read_all(await relay.raw(b"\x16\x03\x01\x02\x00\x01")) == b""


async def test_a_tls_connection_without_a_first_byte_times_out(tmp_path: Path) -> None:
    async with tls_relay(tmp_path, NetTuning(head_seconds=0.2)) as relay:
        assert await read_all(await relay.raw(b"")) == b""


async def test_a_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    async with tls_relay(tmp_path) as relay:

        async def serial() -> str:
            plain = await trio.open_tcp_stream("127.0.0.1", relay.port)
            stream = trio.SSLStream(plain, relay.trust, server_hostname="localhost", https_compatible=True)
            await stream.do_handshake()
            known = str(stream.getpeercert()["serialNumber"])
            await trio.aclose_forcefully(stream)
            return known

        before = await serial()
        Authority(tmp_path / "tls").issue(["localhost", "127.0.0.1"], dt.datetime.now(dt.UTC))
        assert relay.server.certificates is not None
        relay.server.certificates.refresh()
        assert await serial() != before
