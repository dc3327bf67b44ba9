"""The end of a right ends the work under it at once, even if neither side sends anything."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from tests.support.http_relay import HttpRelay, close_code, http_relay, upgrade
from tests.support.sessions import House, go_by, house

SOON = 1.0
"""Seconds within which everything has to end."""
LARGE = 30 * 2**20
"""More than the kernel buffers for a client that does not read."""

End = Callable[[HttpRelay], Awaitable[Any]]


async def revoked(relay: HttpRelay) -> None:
    await relay.ask("device.revokeAll", control.RevokeDevicesRequest(user_id="ben"))


async def disabled(relay: HttpRelay) -> None:
    await relay.ask("user.change", control.ChangeUser(id="ben", disabled=True))


async def removed(relay: HttpRelay) -> None:
    await relay.ask("user.change", control.ChangeUser(id="ben", removed=True))


async def taken_out(relay: HttpRelay) -> None:
    await relay.ask("chat.remove", control.ChatUsers(id="crew", participants=["ben"]))


async def deleted(relay: HttpRelay) -> None:
    await relay.ask("chat.delete", control.OneChat(id="crew"))


AWAY: tuple[End, ...] = (revoked, disabled, removed)


def _head(relay: HttpRelay, token: str, request: str, *more: str) -> bytes:
    lines = [f"{request} HTTP/1.1", f"Host: {relay.host}", f"Authorization: Bearer {token}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("end", AWAY)
async def test_open_socket_is_closed_when_its_right_ends(tmp_path: Path, end: End) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("ben")
        async with await upgrade(relay, ("Authorization", f"Bearer {token}")) as stream:
            await trio.testing.wait_all_tasks_blocked(0.05)
            await end(relay)
            with trio.fail_after(SOON):
                assert await close_code(stream) == 4401


@pytest.mark.parametrize("end", AWAY)
async def test_stalled_upload_ends_with_its_right(tmp_path: Path, end: End) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("ben")
        stream = await relay.raw(_head(relay, token, "POST /files", "Content-Length: 1000000") + b"some of it")
        async with stream:
            await trio.testing.wait_all_tasks_blocked(0.05)
            await end(relay)
            with trio.fail_after(SOON):
                answer = await stream.receive_some(65_536)
        assert answer.startswith(b"HTTP/1.1 401")
        ben = relay.relay.state.user("ben")
        assert ben is not None
        assert ben.stored == 0
        assert [one for one in (tmp_path / "files").rglob("*") if one.is_file()] == []


@pytest.mark.parametrize("end", [*AWAY, taken_out, deleted])
async def test_unread_download_ends_with_its_right(tmp_path: Path, end: End) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        await relay.ask("chat.create", control.MakeChat(name="crew", owner="anna", participants=["ben"]))
        headers = {"Authorization": f"Bearer {anna}"}
        file = (await browser.post("/files", content=bytes(LARGE), headers=headers)).json()
        async with relay.socket(anna) as socket:
            (group,) = [one for one in relay.relay.state.chats.values() if one.id]
            await socket.request(
                requests.NEW, requests.New(chat_id=group.id or "", client_message_id="1", attachments=[file])
            )
        async with await relay.raw(_head(relay, ben, f"GET {file['url']}")):
            with trio.fail_after(5):
                while not len(relay.server.router.places.users):
                    await trio.sleep(0.01)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(relay.server.router.places.users) == 1, "it waits for somebody to read"
            await end(relay)
            with trio.fail_after(SOON):
                while len(relay.server.router.places.users):
                    await trio.sleep(0.01)


@pytest.mark.parametrize("how", ["message deleted", "edited out", "pruned", "sent again", "deleted at the start"])
async def test_unread_download_ends_when_its_message_loses_the_file(tmp_path: Path, how: str) -> None:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(http_relay(tmp_path))
        token = await relay.user("anna")
        browser = await stack.enter_async_context(relay.browser())
        anna = await stack.enter_async_context(relay.socket(token))
        ben = await relay.user("ben")
        await relay.ask("chat.create", control.MakeChat(name="crew", owner="anna", participants=["ben"]))
        (group,) = [one.id or "" for one in relay.relay.state.chats.values() if one.id]
        headers = {"Authorization": f"Bearer {token}"}
        file = (await browser.post("/files", content=bytes(LARGE), headers=headers)).json()
        new = requests.New(chat_id=group, client_message_id="1", message="look", attachments=[file])
        sent = await anna.request(requests.NEW, new)
        if how == "sent again":
            await anna.request(requests.NEW, requests.New(chat_id=group, client_message_id="2", attachments=[file]))

        def under_way() -> int:
            return len(relay.server.router.places.users)

        async with await relay.raw(_head(relay, ben, f"GET {file['url']}")):
            with trio.fail_after(5):
                while not under_way():
                    await trio.sleep(0.01)
            await trio.sleep(0 if how == "deleted at the start" else 0.5)
            match how:
                case "edited out":
                    edit = requests.Edit(
                        chat_id=group,
                        client_message_id="3",
                        original_message_id=sent.message_id,
                        message="x",
                        attachments=[],
                    )
                    await anna.request(requests.EDIT, edit)
                case "pruned":
                    await relay.ask("prune", control.Prune(max_bytes=1))
                case _:
                    await anna.request(
                        requests.DELETE,
                        requests.Delete(chat_id=group, client_message_id="3", original_message_id=sent.message_id),
                    )
            await trio.sleep(SOON)
            answer = await browser.head(file["url"], headers={"Authorization": f"Bearer {ben}"})
            assert (answer.status_code, under_way()) == ((200, 1) if how == "sent again" else (404, 0))
            if how in ("message deleted", "edited out"):
                held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
                assert not [one for one in held if one.startswith(str(tmp_path / "files"))], "its space is free"


@pytest.mark.parametrize("how", ["removed", "bot removed", "bot disabled", "taken out", "chat deleted"])
async def test_stalled_hook_post_ends_with_its_right(tmp_path: Path, how: str) -> None:
    async with http_relay(tmp_path) as relay:
        await relay.user("anna")
        await relay.ask("chat.create", control.MakeChat(name="ops", owner="anna"))
        hook = await relay.ask("hook.add", control.AddHook(chat="ops"))
        ends: dict[str, tuple[str, Any]] = {
            "removed": ("hook.remove", control.RemoveHook(device_id=hook.device_id)),
            "bot removed": ("user.change", control.ChangeUser(id=hook.user_id, removed=True)),
            "bot disabled": ("user.change", control.ChangeUser(id=hook.user_id, disabled=True)),
            "taken out": ("chat.remove", control.ChatUsers(id="ops", participants=[hook.user_id])),
            "chat deleted": ("chat.delete", control.OneChat(id="ops")),
        }
        path = hook.url.removeprefix(relay.url)
        head = f"POST {path} HTTP/1.1\r\nHost: {relay.host}\r\nContent-Length: 1000\r\n\r\nsome".encode()
        async with await relay.raw(head) as stream:
            await trio.testing.wait_all_tasks_blocked(0.05)
            await relay.ask(*ends[how])
            with trio.fail_after(SOON):
                status = 503 if how == "bot disabled" else 404
                assert (await stream.receive_some(65_536)).startswith(b"HTTP/1.1 %d" % status)


# Typing and presence.


@pytest.mark.parametrize("how", ["removed", "left", "no admin of the channel", "disabled", "revoked"])
async def test_typing_stops_when_the_right_to_write_ends(tmp_path: Path, how: str) -> None:
    async with house(tmp_path, "anna", "ben") as made, made.device("anna") as anna, made.device("ben") as ben:
        kind = "channel" if how.startswith("no admin") else "group"
        chat = (await anna.request("createChat", type=kind, name="Crew", participants=["ben"]))["chatId"]
        await anna.request("updateChat", chatId=chat, admins=["ben"])
        await ben.frame(type="event", timestamp=1, eventType="typing", payload={"chatId": chat})
        assert "stop" not in (await anna.until("typing"))["payload"]
        ask = made.relay.admin.handle
        match how:
            case "removed":
                await anna.ask("removeParticipants", chatId=chat, participants=["ben"])
            case "left":
                await ben.ask("leaveChat", chatId=chat)
            case "disabled":
                await ask("user.change", control.ChangeUser(id="ben", disabled=True))
            case "revoked":
                await ask("device.revokeAll", control.RevokeDevicesRequest(user_id="ben"))
            case _:
                await anna.ask("updateChat", chatId=chat, admins=[])
        with trio.fail_after(SOON):
            assert (await anna.until("typing"))["payload"] == {"userId": "ben", "chatId": chat, "stop": True}


@pytest.fixture
def clock() -> MockClock:
    """Real time with jumps on demand."""
    return MockClock(rate=1.0)


@pytest.mark.parametrize("how", ["removed", "disabled", "revoked"])
async def test_disconnected_user_is_offline(tmp_path: Path, clock: MockClock, how: str) -> None:
    async with house(tmp_path, "anna", "ben") as made, made.device("anna") as anna:
        chat = (await anna.request("createChat", type="group", name="Crew", participants=["ben"]))["chatId"]
        async with made.device("ben"):
            await anna.until("online")
            await go_by(clock, 1.1)
            ask = made.relay.admin.handle
            match how:
                case "removed":
                    await anna.ask("removeParticipants", chatId=chat, participants=["ben"])
                case "disabled":
                    await ask("user.change", control.ChangeUser(id="ben", disabled=True))
                case _:
                    await ask("device.revokeAll", control.RevokeDevicesRequest(user_id="ben"))
            with trio.fail_after(SOON):
                assert (await anna.until("offline"))["payload"]["userId"] == "ben"


# Invite codes.


async def _invited(made: House, chat: str | None = None) -> str:
    """Let ben, an admin of the relay, invite somebody new; return the code."""
    async with made.device("ben") as ben:
        asked = {"name": "Dora"} if chat is None else {"name": "Dora", "chatId": chat}
        code: str = (await ben.request("invite", **asked))["code"]
        return code


async def _enters(made: House, code: str) -> bool:
    try:
        await made.relay.service.signing_in.by_invite(code, "phone", "10.0.0.1")
    except RelayError as error:
        assert error.error.code == "unauthorized"
        return False
    return True


@pytest.mark.parametrize("change", [{}, {"disabled": True}, {"removed": True}, {"admin": False}])
async def test_an_invite_ends_when_its_maker_may_no_longer_invite(tmp_path: Path, change: Any) -> None:
    async with house(tmp_path, "anna", "ben") as made:
        ask = made.relay.admin.handle
        await ask("user.change", control.ChangeUser(id="ben", admin=True))
        code = await _invited(made)
        if change:
            await ask("user.change", control.ChangeUser(id="ben", **change))
        assert await _enters(made, code) == (not change)


@pytest.mark.parametrize("gone", [False, True])
async def test_invite_opens_no_group_that_its_maker_has_left(tmp_path: Path, *, gone: bool) -> None:
    async with house(tmp_path, "anna", "ben") as made:
        ask = made.relay.admin.handle
        await ask("user.change", control.ChangeUser(id="ben", admin=True))
        crew = await ask("chat.create", control.MakeChat(name="crew", owner="anna", participants=["ben"]))
        assert isinstance(crew, control.ChatInfo)
        async with made.device("anna") as anna:
            await anna.request("updateChat", chatId=crew.id, admins=["ben"])
        code = await _invited(made, crew.id)
        if gone:
            await ask("chat.remove", control.ChatUsers(id=crew.id, participants=["ben"]))
        assert await _enters(made, code)
        shown = await ask("chat.show", control.OneChat(id=crew.id))
        assert isinstance(shown, control.ChatInfo)
        assert len(shown.participants) == (1 if gone else 3)


async def test_invite_of_a_disabled_user_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, "anna") as made:
        ask = made.relay.admin.handle
        invite = await ask("invite", control.AddInvite(user_id="anna"))
        await ask("user.change", control.ChangeUser(id="anna", disabled=True))
        assert not await _enters(made, invite.code)  # type: ignore[attr-defined]


async def test_temporary_token_ends_with_its_user(tmp_path: Path) -> None:
    async with house(tmp_path, "anna") as made:
        user = made.relay.state.user("anna")
        assert user is not None
        client = await made.enter(made.relay.service.tokens.issue_temporary(user.key))
        await made.relay.admin.handle("user.change", control.ChangeUser(id="anna", disabled=True))
        with trio.fail_after(SOON):
            assert await client.closed() == 4401
