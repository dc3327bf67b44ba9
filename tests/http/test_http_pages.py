"""The web client's files as a browser gets them: cached, compressed, and under a policy that allows nothing else."""

import base64
import gzip
import hashlib
import http.client
import re
from pathlib import Path

import pytest
import trio

from relay.net.http.static import StaticFiles, accepts_gzip, policy
from tests.support.http_relay import http_relay, read_all

WEB = Path(__file__).parent.parent.parent / "relay" / "web"


async def test_the_page_has_a_content_security_policy_and_may_not_be_framed(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        page = await browser.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == (WEB / "index.html").read_bytes()
    (import_map,) = re.findall(rb'<script type="importmap">(.*?)</script>', page.content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(import_map).digest()).decode()
    assert page.headers["content-security-policy"] == (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; "
        f"script-src 'self' 'sha256-{digest}'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types service-worker"
    )
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"


def test_only_the_import_map_gets_a_hash_in_the_policy() -> None:
    index = b'<script type="importmap">{}</script><script>alert(1)</script>'
    assert policy(index).count("'sha256-") == 1


async def test_a_cached_file_is_answered_with_304(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        first = await browser.get("/")
        again = await browser.get("/", headers={"If-None-Match": first.headers["etag"]})
        other = await browser.get("/", headers={"If-None-Match": '"something-else"'})
    assert first.headers["cache-control"] == "no-cache"
    assert again.status_code == 304
    assert again.content == b""
    assert other.status_code == 200


async def test_a_file_is_immutable_under_its_own_stamp_and_missing_under_another(tmp_path: Path) -> None:
    stamp = hashlib.sha256((WEB / "app.js").read_bytes()).hexdigest()[:10]
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        stamped = await browser.get(f"/app.js?v={stamp}")
        wrong = await browser.get("/app.js?v=0123456789")
        plain = await browser.get("/app.js")
    assert "immutable" in stamped.headers["cache-control"]
    assert wrong.status_code == 404
    assert "immutable" not in wrong.headers.get("cache-control", "")
    assert plain.headers["cache-control"] == "no-cache"


async def test_vendored_files_are_immutable(tmp_path: Path) -> None:
    name = next(path.name for path in (WEB / "vendor").glob("preact-1*.js"))
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        page = await browser.get(f"/vendor/{name}")
    assert "immutable" in page.headers["cache-control"]


async def test_text_is_compressed_for_clients_that_accept_gzip(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        answers = {}
        for accepted in ("gzip", "identity", "gzip;q=0", "br, gzip;q=0.5"):
            async with relay.browser(headers={"Accept-Encoding": accepted}) as browser:
                request = browser.build_request("GET", "/actions/rooms.js")
                response = await browser.send(request, stream=True)
                answers[accepted] = (response.headers, b"".join([piece async for piece in response.aiter_raw()]))
    source = (WEB / "actions" / "rooms.js").read_bytes()
    for accepted in ("gzip", "br, gzip;q=0.5"):
        headers, body = answers[accepted]
        assert headers["content-encoding"] == "gzip"
        assert len(body) < len(source) / 2
        assert gzip.decompress(body) == source
    for accepted in ("identity", "gzip;q=0"):
        headers, body = answers[accepted]
        assert "content-encoding" not in headers
        assert body == source


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [("gzip", True), ("GZIP", True), ("*", True), ("", False), ("br", False), ("gzip; q=0", False), ("*;q=0", False)],
)
def test_gzip_is_used_only_if_accepted(accepted: str, takes: bool) -> None:
    assert accepts_gzip(accepted) is takes


def test_no_file_outside_the_folder_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("in")
    (tmp_path / "secret.html").write_text("out")
    (tmp_path / "web" / ".hidden.html").write_text("out")
    pages = StaticFiles(tmp_path / "web")
    assert set(pages.files) == {"/index.html"}


async def test_a_path_outside_the_folder_is_not_found(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        for path in ("/../relay.db", "/%2e%2e/relay.db", "/..%2frelay.db", "//etc/passwd", "/index.html/"):
            stream = await relay.raw(f"GET {path} HTTP/1.1\r\nHost: {relay.host}\r\nConnection: close\r\n\r\n".encode())
            assert (await read_all(stream)).startswith(b"HTTP/1.1 404"), path


async def test_head_returns_the_headers_of_get(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        head, get = await browser.head("/app.js"), await browser.get("/app.js")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_one_connection_serves_request_after_request(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:

        def talk() -> list[int]:
            connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=5)
            statuses, sockets = [], set()
            for path in ("/", "/app.js", "/nothing", "/healthz"):
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
                sockets.add(connection.sock.getsockname())
            connection.close()
            assert len(sockets) == 1
            return statuses

        assert await trio.to_thread.run_sync(talk) == [200, 200, 404, 200]


async def test_requests_sent_together_are_answered_in_order(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        first = f"GET /healthz HTTP/1.1\r\nHost: {relay.host}\r\n\r\n"
        last = f"GET /nothing HTTP/1.1\r\nHost: {relay.host}\r\nConnection: close\r\n\r\n"
        answers = await read_all(await relay.raw((first + last).encode()))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404"]


async def test_an_unsupported_method_is_answered_with_those_allowed(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        page = await browser.post("/app.js")
        session = await browser.put("/session")
        socket = await browser.post("/ws", headers={"Origin": f"http://{relay.host}"})
    assert (page.status_code, session.status_code, socket.status_code) == (405, 405, 405)
    assert set(session.headers["allow"].split(", ")) == {"HEAD", "GET", "POST", "DELETE"}
