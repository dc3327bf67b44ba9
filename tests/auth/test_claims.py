"""Claims in a request bypass no check: tokens, hosts, origins, proxies, lengths, cookies."""

from pathlib import Path

import httpx
import pytest

from relay.net.http.proxies import Networks, client_address, was_forwarded
from relay.net.sockets.hostnames import same_origin
from relay.protocol import control
from relay.settings import AuthSection, HttpSection, Settings
from relay.unicode.addresses import split_host
from tests.support.http_relay import http_relay, read_all, upgrade

EVIL = {"Host": "evil.example", "Origin": "http://evil.example"}


async def test_unknown_bearer_token_bypasses_no_check(tmp_path: Path) -> None:
    async with http_relay(tmp_path, Settings(auth=AuthSection(open=True))) as relay, relay.browser() as browser:
        token = await relay.user("alarm")
        hook = await relay.ask("hook.add", control.AddHook(chat="alarm"))
        generated_id = {**EVIL, "Authorization": "Bearer made-up"}
        page, session, metrics = [
            (await browser.get(path, headers=generated_id)).status_code for path in ("/", "/session", "/metrics")
        ]
        signed_up = await browser.post("/session", json={"name": "Eve"}, headers=generated_id)
        origin = await browser.post("/session", json={"name": "Eve"}, headers=generated_id | {"Host": relay.host})
        of_a_hook = {**EVIL, "Authorization": f"Bearer {hook.url.rpartition('/')[2]}"}
        by_hook = await browser.get("/session", headers=of_a_hook)
        program = await browser.get("/session", headers={**EVIL, "Authorization": f"Bearer {token}"})
        assert relay.relay.state.user("Eve") is None
    assert (page, session, metrics) == (421, 421, 421)
    assert (signed_up.status_code, origin.status_code, by_hook.status_code) == (421, 403, 421)
    assert program.status_code == 200


async def test_revoked_bearer_token_bypasses_no_check(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        token = await relay.user("alarm")
        await relay.ask("device.revokeAll", control.RevokeDevicesRequest(user_id="alarm"))
        answer = await browser.get("/session", headers={**EVIL, "Authorization": f"Bearer {token}"})
    assert answer.status_code == 421


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost@evil.example", "evil.example@localhost", "localhost/x", "localhost#", "localhost?x=",
     "localhost:80:80", "localhost\\", "localhost..", "127.0.0.1..", "127.0.0.1.evil.example", "2130706433",
     "[::1]evil.example", "local host"],
)  # fmt: skip
async def test_host_header_with_more_than_a_name_is_refused(tmp_path: Path, host: str) -> None:
    async with http_relay(tmp_path) as relay:
        request = f"GET /session HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = await read_all(await relay.raw(request.encode()))
    assert answer.split()[1] in (b"421", b"400")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("LOCALHOST.", "localhost"),
        ("localhost:8765", "localhost"),
        ("[::1]:1", "::1"),
        ("[0:0::1]:1", "::1"),
        ("a@b", ""),
        ("a/b", ""),
        ("[::1]x", ""),
        ("localhost..", ""),
        ("localhost..:80", ""),
        (".localhost", ""),
        ("a..b", ""),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", ""),
        ("[fe80::1%25eth0]", "fe80::1"),
        ("localhost:65536", ""),
    ],
)
def test_host_header_is_reduced_to_its_name(host: str, name: str) -> None:
    assert split_host(host)[0] == name


async def test_target_for_another_host_is_refused_and_one_for_this_host_is_served(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        answers = [
            await read_all(
                await relay.raw(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            )
            for target, host in (
                (f"http://{relay.host}/healthz", relay.host),
                (f"http://{relay.host}/session", "evil.example"),
                ("http://evil.example/session", "evil.example"),
            )
        ]
    assert [answer.split()[1] for answer in answers] == [b"200", b"400", b"421"]


async def test_repeated_content_length_ends_the_connection(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        smuggled = (
            f"POST /session HTTP/1.1\r\nHost: {relay.host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            f"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: {relay.host}\r\n\r\n"
        )
        answer = await read_all(await relay.raw(smuggled.encode()))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")


async def test_two_origins_are_refused_in_either_order(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        stream = await upgrade(
            relay,
            ("Cookie", f"relay_session={token}"),
            ("Origin", "http://evil.example"),
            ("Origin", relay.url),
        )
        assert (await read_all(stream)).startswith(b"HTTP/1.1 400")


async def test_cookie_split_over_two_headers_is_read(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        request = f"GET /session HTTP/1.1\r\nHost: {relay.host}\r\nCookie: a=b\r\nCookie: relay_session={token}\r\n"
        answer = await read_all(await relay.raw(f"{request}Connection: close\r\n\r\n".encode()))
    assert answer.startswith(b"HTTP/1.1 200")


def test_http_origin_is_refused_under_tls() -> None:
    assert same_origin("https://relay:8765", "relay:8765", secure=True)
    assert not same_origin("http://relay:8765", "relay:8765", secure=True)
    assert not same_origin("http://relay", "relay:443", secure=True)


async def test_page_behind_a_tls_proxy_counts_as_tls(tmp_path: Path) -> None:
    settings = Settings(http=HttpSection(public_url="https://chat.example.org", hosts=["chat.example.org"]))
    async with http_relay(tmp_path, settings) as relay, relay.browser() as browser:
        token = await relay.user("anna")
        host = {"Host": "chat.example.org", "Cookie": f"__Host-relay_session={token}"}
        plain = await browser.delete("/session", headers=host | {"Origin": "http://chat.example.org"})
        page = await browser.get("/", headers=host)
        right = await browser.delete("/session", headers=host | {"Origin": "https://chat.example.org"})
    assert (plain.status_code, right.status_code) == (403, 204)
    assert page.headers["strict-transport-security"] == "max-age=31536000"


async def test_address_in_public_url_is_one_of_the_relays(tmp_path: Path) -> None:
    settings = Settings(http=HttpSection(public_url="https://Chat.example.org"))
    async with http_relay(tmp_path, settings) as relay, relay.browser() as browser:
        ours = await browser.get("/", headers={"Host": "chat.example.org"})
        strange = await browser.get("/", headers={"Host": "evil.example.org"})
    assert (ours.status_code, strange.status_code) == (200, 421)


async def test_cookie_is_kept_past_a_proxy_without_tls(tmp_path: Path) -> None:
    # stonith404/pingvin-share#618: the sign-in page again and again, and a spent invite.
    settings = Settings(http=HttpSection(public_url="https://chat.example.org"))
    async with http_relay(tmp_path, settings) as relay, relay.browser() as browser:
        here = await browser.post("/session", json={"invite": await relay.invite("anna", new=True)})
        known = await browser.get("/session")
        out = await browser.delete("/session")
        by_proxy = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
        there = await browser.post("/session", json={"invite": await relay.invite("anna")}, headers=by_proxy)
    assert "Secure" not in here.headers["set-cookie"]
    assert (known.status_code, known.json()["userId"]) == (200, "anna")
    assert (out.status_code, out.headers["set-cookie"].startswith("relay_session=; Max-Age=0")) == (204, True)
    assert there.headers["set-cookie"].startswith("__Host-relay_session=")


# Proxies.


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host", "x-forwarded-proto", "CF-Connecting-IP"],
)
async def test_metrics_are_refused_to_clients_of_a_proxy(tmp_path: Path, header: str) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        assert (await browser.get("/metrics")).status_code == 200
        assert (await browser.get("/metrics", headers={header: "x"})).status_code == 403


async def test_metrics_are_refused_under_a_name_for_others(tmp_path: Path) -> None:
    settings = Settings(http=HttpSection(hosts=["chat.example.org"]))
    async with http_relay(tmp_path, settings) as relay, relay.browser() as browser:
        assert (await browser.get("/metrics", headers={"Host": "chat.example.org"})).status_code == 403


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", "10.0.0.1", "203.0.113.7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.9", "198.51.100.9"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.9, 10.9.0.1", "198.51.100.9"),
        ("127.0.0.1", "6.6.6.6, nonsense, 10.9.0.1", "10.9.0.1"),
        ("127.0.0.1", "198.51.100.9:1234", "198.51.100.9"),
        ("127.0.0.1", "[2001:db8::9]:443", "2001:db8::9"),
        ("127.0.0.1", "::ffff:198.51.100.9", "198.51.100.9"),
        ("local", "198.51.100.9", "198.51.100.9"),
    ],
)
def test_client_address_behind_proxies_is_the_last_trusted_one(peer: str, forwarded: str, address: str) -> None:
    assert client_address(peer, forwarded, Networks(["127.0.0.1", "10.9.0.0/16", "local"])) == address


def test_forwarding_headers_reveal_a_proxy() -> None:
    assert was_forwarded([b"x-forwarded-anything"])
    assert not was_forwarded([b"host", b"x-forward", b"accept"])


async def test_one_visitor_behind_a_trusted_proxy_does_not_lock_out_others(tmp_path: Path) -> None:
    async def guess(browser: httpx.AsyncClient, address: str) -> int:
        body = {"userId": "anna", "password": "a wrong one"}
        return (await browser.post("/session", json=body, headers={"X-Forwarded-For": address})).status_code

    trusting = Settings(http=HttpSection(trusted_proxies=["127.0.0.1"]))
    async with http_relay(tmp_path, trusting) as relay, relay.browser() as browser:
        from_one = [await guess(browser, "198.51.100.1") for _ in range(7)]
        from_another = await guess(browser, "198.51.100.2")
    async with http_relay(tmp_path / "2") as relay, relay.browser() as browser:
        believed = [await guess(browser, f"198.51.100.{number}") for number in range(7)]
    assert (from_one[0], from_one[-1], from_another) == (401, 429, 401)
    assert believed[-1] == 429


# Cookies and headers.


async def test_signing_out_makes_the_browser_forget_its_data(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await browser.post("/session", json={"invite": await relay.invite("anna", new=True)})
        page = await browser.get("/")
        gone = await browser.delete("/session")
    assert gone.headers["clear-site-data"] == '"storage"'
    assert "microphone=()" in page.headers["permissions-policy"]
    assert "strict-transport-security" not in page.headers


async def test_cookie_from_before_tls_is_exchanged_and_never_replaces_the_new_one(tmp_path: Path) -> None:
    settings = Settings(http=HttpSection(public_url="https://chat.example.org", hosts=["chat.example.org"]))
    async with http_relay(tmp_path, settings) as relay, relay.browser() as browser:
        old, other = await relay.user("anna"), await relay.user("eve")
        host = {"Host": "chat.example.org"}
        exchanged = await browser.get("/session", headers=host | {"Cookie": f"relay_session={old}"})
        both = {"Cookie": f"relay_session={other}; __Host-relay_session={old}"}
        tossed = await browser.get("/session", headers=host | both)
    cookies = exchanged.headers.get_list("set-cookie")
    assert cookies[0].startswith(f"__Host-relay_session={old}; Max-Age=")
    assert cookies[0].endswith("Path=/; HttpOnly; SameSite=Strict; Secure")
    assert cookies[1].startswith("relay_session=; Max-Age=0")
    assert tossed.json()["userId"] == "anna"
