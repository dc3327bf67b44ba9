"""Signing in over HTTP: invites, the cookie and its rights, and signing out."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from relay.core.auth.throttle import FREE_FAILURES
from relay.protocol import control, objects, requests
from relay.protocol.errors import RelayError
from relay.settings import AuthSection, Settings
from tests.support.http_relay import HttpRelay, close_code, http_relay, upgrade


async def signed_in(relay: HttpRelay, user_id: str = "anna", **what: Any) -> httpx.AsyncClient:
    """Return a browser that has used an invite."""
    browser = relay.browser()
    code = await relay.invite(user_id, new=True, **what)
    answer = await browser.post("/session", json={"invite": code, "label": "Test · here"})
    assert answer.status_code == 200, answer.text
    return browser


async def test_an_invite_signs_in_once(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser, relay.browser() as other:
        code = await relay.invite("anna", new=True, name="Anna")
        nobody = await browser.get("/session")
        entered = await browser.post("/session", json={"invite": code, "label": "Chromium"})
        known = await browser.get("/session")
        used = await other.post("/session", json={"invite": code})
    assert (nobody.status_code, nobody.json()["signIn"]) == (401, ["invite", "password"])
    assert entered.status_code == 200
    assert entered.json().keys() == {"token", "userId"}
    cookie = entered.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert known.status_code == 200
    who = known.json()
    assert who.pop("protocol")["versions"] == [1, 2]
    assert who | {"version": ""} == {"userId": "anna", "name": "Anna", "admin": False, "version": ""}
    assert used.status_code == 401
    assert used.json()["error"]["code"] == "unauthorized"


async def test_expired_or_forged_invite_is_refused(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    async with http_relay(tmp_path, clock=lambda: now) as relay, relay.browser() as browser:
        code = await relay.invite("anna", new=True)
        now += 73 * 3_600_000
        expired = await browser.post("/session", json={"invite": code})
        generated_id = await browser.post("/session", json={"invite": "a" * 22})
        empty = await browser.post("/session", json={"invite": ""})
        assert not relay.relay.state.devices
    for answer in (expired, generated_id, empty):
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


async def test_invite_made_with_a_clock_ahead_is_not_expired(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    async with http_relay(tmp_path, clock=lambda: now) as relay, relay.browser() as browser:
        now += 30 * 86_400_000
        await relay.user("anna")
        now -= 30 * 86_400_000
        code = await relay.invite("anna")
        assert (await browser.post("/session", json={"invite": code})).status_code == 200


async def test_invite_and_its_use_survive_a_restart(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        first, second = await relay.invite("anna", new=True), await relay.invite("anna")
        async with relay.browser() as browser:
            assert (await browser.post("/session", json={"invite": first})).status_code == 200
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        assert (await browser.post("/session", json={"invite": first})).status_code == 401
        assert (await browser.post("/session", json={"invite": second})).status_code == 200


async def test_store_has_no_code_and_no_token(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        code = await relay.invite("anna", new=True)
        token = (await browser.post("/session", json={"invite": code})).json()["token"]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"anna" in stored
    assert code.encode() not in stored
    assert token.encode() not in stored


async def test_invite_leads_to_its_group(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        await relay.user("boss")
        group = await relay.ask("chat.create", control.MakeChat(name="All", owner="boss"))
        code = await relay.invite("anna", new=True, chat_id=group.id)
        async with relay.browser() as browser:
            answer = await browser.post("/session", json={"invite": code})
            async with relay.socket(answer.json()["token"]) as socket:
                chats: list[objects.ChatListItem] = await socket.request(requests.CHATS, requests.ChatsRequest())
    assert answer.json()["chatId"] == group.id
    assert [chat.id for chat in chats] == [group.id]


async def test_invite_without_a_user_creates_one_when_used(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("boss", admin=True)
        async with relay.socket(token) as socket:
            invitation: requests.Invitation = await socket.request(
                requests.INVITE, requests.InviteRequest(name="Zoë Ødegård", chat_id="boss")
            )
            assert len(relay.relay.state.users) == 1
        async with relay.browser() as browser:
            answer = (await browser.post("/session", json={"invite": invitation.code})).json()
            known = (await browser.get("/session")).json()
    assert invitation.url == f"{relay.url}/#invite={invitation.code}"
    assert len(invitation.qr) == len(invitation.qr[0])
    assert set("".join(invitation.qr)) == {"0", "1"}
    assert answer["chatId"] == "boss"
    assert known["name"] == "Zoë Ødegård"
    assert known["userId"] == "Zoe.degard"


async def test_only_admins_invite(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.socket(await relay.user("anna")) as socket:
        with pytest.raises(RelayError, match="admins") as refused:
            await socket.request(requests.INVITE, requests.InviteRequest(name="Ben"))
    assert refused.value.error.code == "forbidden"


async def test_admin_chooses_the_user_and_the_chat_of_an_invite(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        boss = await relay.user("boss", admin=True)
        await relay.user("anna", name="Anna Berg")
        async with relay.socket(boss) as socket:
            crew: objects.ChatDetails = await socket.request(
                requests.CREATE_CHAT, requests.CreateChat(type="group", name="Crew", participants=[])
            )
            known: requests.Invitation = await socket.request(
                requests.INVITE, requests.InviteRequest(user_id="anna", chat_id=crew.chat_id)
            )
            unknown: requests.Invitation = await socket.request(requests.INVITE, requests.InviteRequest(name="Ben"))
        anna = (await browser.post("/session", json={"invite": known.code})).json()
        ben = (await browser.post("/session", json={"invite": unknown.code})).json()
        assert [user.name for user in relay.relay.state.users.values()] == ["boss", "Anna Berg", "Ben"]
    assert (anna["userId"], anna["chatId"]) == ("anna", crew.chat_id)
    assert (ben["userId"], ben.get("chatId")) == ("Ben", None)


@pytest.mark.parametrize(
    "change",
    [
        control.ChangeUser(id="boss", disabled=True),
        control.ChangeUser(id="boss", removed=True),
        control.ChangeUser(id="boss", admin=False),
    ],
)
async def test_an_invite_ends_with_its_makers_right(tmp_path: Path, change: control.ChangeUser) -> None:
    # zulip/zulip#20768.
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        boss = await relay.user("boss", admin=True)
        await relay.user("anna")
        async with relay.socket(boss) as socket:
            known: requests.Invitation = await socket.request(requests.INVITE, requests.InviteRequest(user_id="anna"))
            unknown: requests.Invitation = await socket.request(requests.INVITE, requests.InviteRequest(name="Ben"))
        await relay.ask("user.change", change)
        answers = [await browser.post("/session", json={"invite": one.code}) for one in (known, unknown)]
        assert [user.name for user in relay.relay.state.users.values()] == ["boss", "anna"]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert "may not invite any more" in answers[0].text


async def test_invite_opens_no_group_from_which_its_maker_was_removed(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        boss, anna = await relay.user("boss", admin=True), await relay.user("anna")
        async with relay.socket(anna) as owner, relay.socket(boss) as socket:
            crew: objects.ChatDetails = await owner.request(
                requests.CREATE_CHAT, requests.CreateChat(type="group", name="Crew", participants=["boss"])
            )
            await owner.request(requests.UPDATE_CHAT, requests.UpdateChat(chat_id=crew.chat_id, admins=["boss"]))
            invitation: requests.Invitation = await socket.request(
                requests.INVITE, requests.InviteRequest(name="Ben", chat_id=crew.chat_id)
            )
            await owner.request(
                requests.REMOVE_PARTICIPANTS, requests.Participants(chat_id=crew.chat_id, participants=["boss"])
            )
        answer = (await browser.post("/session", json={"invite": invitation.code})).json()
        (chat,) = relay.relay.state.chats.values()
        assert len(relay.relay.state.members[chat.key]) == 1
    assert (answer["userId"], answer.get("chatId")) == ("Ben", None)


@pytest.mark.parametrize("change", ["all", "password"])
async def test_signing_out_everywhere_ends_older_invites(tmp_path: Path, change: str) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await relay.user("anna")
        older, bens = await relay.invite("anna"), await relay.invite("ben", new=True)
        if change == "all":
            await relay.ask("device.revokeAll", control.RevokeDevicesRequest(user_id="anna"))
        else:
            words = control.SetPasswordRequest(id="anna", password="correct horse battery", sign_out=True)
            await relay.ask("user.password", words)
        newer = await relay.invite("anna")
        answers = [await browser.post("/session", json={"invite": code}) for code in (older, newer, bens)]
    assert [answer.status_code for answer in answers] == [401, 200, 200]


async def test_signing_out_ends_the_cookie_and_the_connection(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        browser = await signed_in(relay)
        token = browser.cookies["relay_session"]
        async with await upgrade(relay, ("Authorization", f"Bearer {token}")) as socket:
            await socket.receive_some()
            answer = await browser.delete("/session")
            assert await close_code(socket) == 4401
        browser.cookies.set("relay_session", token)
        gone = await browser.get("/session")
        await browser.aclose()
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert gone.status_code == 401


async def test_cookie_of_a_removed_or_disabled_user_is_invalid(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna, ben = await signed_in(relay, "anna"), await signed_in(relay, "ben")
        await relay.ask("user.change", control.ChangeUser(id="anna", removed=True))
        await relay.ask("user.change", control.ChangeUser(id="ben", disabled=True))
        statuses = [(await browser.get("/session")).status_code for browser in (anna, ben)]
        await relay.ask("user.change", control.ChangeUser(id="ben", disabled=False))
        back = await ben.get("/session")
        await anna.aclose()
        await ben.aclose()
    assert statuses == [401, 401]
    assert back.status_code == 200


async def test_browser_cookie_connects_only_from_the_relays_own_page(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        browser = await signed_in(relay)
        cookie = ("Cookie", f"other=1; relay_session={browser.cookies['relay_session']}")
        await browser.aclose()

        async def connect(*headers: tuple[str, str]) -> int:
            async with await upgrade(relay, *headers) as stream:
                return int((await stream.receive_some()).split()[1])

        assert await connect(cookie, ("Origin", relay.url)) == 101
        assert await connect(cookie, ("Origin", "http://evil.example")) == 403
        assert await connect(cookie) == 403
        assert await connect(("Origin", relay.url)) == 401
        assert await connect(("Cookie", "relay_session=made-up"), ("Origin", relay.url)) == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
async def test_foreign_page_changes_nothing(tmp_path: Path, origin: str | None) -> None:
    async with http_relay(tmp_path) as relay:
        browser = await signed_in(relay)
        del browser.headers["Origin"]
        headers = {} if origin is None else {"Origin": origin}
        answer = await browser.delete("/session", headers=headers)
        still = await browser.get("/session")
        await browser.aclose()
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert still.status_code == 200


async def test_sign_in_by_name_is_refused_unless_the_relay_is_open(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        answer = await browser.post("/session", json={"name": "Anna"})
    assert answer.status_code == 403


async def test_sign_in_by_a_free_name_works_on_an_open_relay(tmp_path: Path) -> None:
    async with http_relay(tmp_path, Settings(auth=AuthSection(open=True))) as relay, relay.browser() as browser:
        ways = (await browser.get("/session")).json()["signIn"]
        anna = await browser.post("/session", json={"name": " Anna  Bö "})
        name = (await browser.get("/session")).json()["name"]
        taken = await browser.post("/session", json={"name": "ANNA BÖ"})
        similar = await browser.post("/session", json={"name": "Anna Bo"})
        blank = await browser.post("/session", json={"name": "  "})
        chinese = await browser.post("/session", json={"name": "李雷"})
    assert ways == ["invite", "password", "open"]
    assert (anna.status_code, anna.json()["userId"]) == (200, "Anna.Bo")
    assert name == " Anna  Bö "
    assert taken.status_code == 409
    assert (similar.status_code, similar.json()["userId"]) == (200, "Anna.Bo2")
    assert blank.status_code == 400
    assert chinese.json()["userId"] == "guest"


async def test_devices_are_listed_and_a_revoked_one_is_signed_out_at_once(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        browser = await signed_in(relay)
        token = await relay.user("other")
        own = (await relay.ask("device.add", control.AddDeviceRequest(user_id="anna", label="bot"))).token
        cookie = ("Cookie", f"relay_session={browser.cookies['relay_session']}")
        async with (
            relay.socket(own) as socket,
            await upgrade(relay, cookie, ("Origin", relay.url)) as raw,
        ):
            await raw.receive_some()
            listed: list[requests.DeviceItem] = await socket.request(requests.DEVICES, requests.Nothing())
            devices = {one.label: one for one in listed}
            assert devices.keys() == {"Test · here", "bot"}
            assert devices["bot"].current
            assert not devices["Test · here"].current
            assert devices["bot"].online
            assert devices["Test · here"].online
            phone = devices["Test · here"].device_id
            async with relay.socket(token) as stranger:
                with pytest.raises(Exception, match="no device"):
                    await stranger.request(requests.REVOKE_DEVICE, requests.RevokeDeviceRequest(device_id=phone))
            await socket.request(requests.REVOKE_DEVICE, requests.RevokeDeviceRequest(device_id=phone))
            assert await close_code(raw) == 4401
            left: list[requests.DeviceItem] = await socket.request(requests.DEVICES, requests.Nothing())
        gone = await browser.get("/session")
        await browser.aclose()
    assert [one.label for one in left] == ["bot"]
    assert gone.status_code == 401


async def test_one_address_does_not_fill_an_open_relay_with_users(tmp_path: Path) -> None:
    async with http_relay(tmp_path, Settings(auth=AuthSection(open=True))) as relay, relay.browser() as browser:
        statuses = [
            (await browser.post("/session", json={"name": f"Name {number}"})).status_code for number in range(8)
        ]
        assert len(relay.relay.state.users) == FREE_FAILURES
    assert statuses == [200] * FREE_FAILURES + [429] * 3


async def test_only_the_cookie_of_a_disabled_user_is_told_that_they_are_disabled(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as nobody:
        anna, ben = await signed_in(relay, "anna"), await signed_in(relay, "ben")
        await relay.ask("user.change", control.ChangeUser(id="anna", disabled=True))
        await ben.delete("/session")
        told = await anna.get("/session")
        others = [await one.get("/session") for one in (ben, nobody)]
        for one in (anna, ben):
            await one.aclose()
    assert (told.status_code, told.json()["disabled"]) == (401, True)
    assert [one.json().get("disabled") for one in others] == [None, None]
