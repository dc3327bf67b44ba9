"""Outgoing hooks: one chat only, no presence, limits on loops, outages of hours, rights that end at once."""

import datetime as dt
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from relay.core.hooks import loops
from relay.core.hooks.loops import MAX_ANSWERS, MAX_MESSAGES_IN_A_ROW, RECOVERY_MS, LoopBrake, TurnsInARow
from relay.core.model.changes import Hook
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.net.sockets.transport import StreamTransport
from relay.net.tls.authority import Authority
from relay.net.webhooks import outgoing as hooks
from relay.net.webhooks import post as hook_post
from relay.net.webhooks.post import PostFailed
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.entry import Entry
from tests.support.outgoing_hooks import Address, Place, opened, settled, until
from tests.support.sessions import T0


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Address:
    made = Address()
    monkeypatch.setattr(hooks, "post", made.post)
    return made


@pytest.fixture
async def place(tmp_path: Path, clock: MockClock, address: Address) -> AsyncIterator[Place]:
    async with opened(tmp_path) as one:
        yield one


# Only its own chat.


@pytest.mark.parametrize("as_user", [None, "ben"])
async def test_hook_gets_only_events_of_its_chat(place: Place, address: Address, as_user: str | None) -> None:
    made = await place.hook(user_id=as_user)
    private = await place.ask(
        "chat.create", control.MakeChat(name="private", owner="anna", participants=[made.user_id])
    )
    await place.say("anna", private.id, "in another group")
    await place.say("carol", made.user_id, "in a dialog")
    await place.say("anna", place.ops, "for all")
    await place.say("ben", place.ops, "from ben's own phone")
    await until(lambda: len(address.taken) == 2)
    await settled()
    assert address.texts == ["for all", "from ben's own phone"]


@pytest.mark.parametrize("out", [False, True])
async def test_a_hook_adds_nobody_to_a_chat_by_default(place: Place, *, out: bool) -> None:
    request = control.AddHook(chat=place.ops, user_id="carol", url="http://hook.example/" if out else None)
    with pytest.raises(RelayError, match=r"'carol' is not in 'ops': `relay chat add .* carol` first, or say --add"):
        await place.ask("hook.add", request)
    state = place.relay.state
    assert state.chat_key(state.user_keys["carol"], place.ops) is None
    assert await place.ask("hook.list", control.Empty()) == []
    await place.ask("hook.add", msgspec.structs.replace(request, add=True))
    assert state.chat_key(state.user_keys["carol"], place.ops) is not None


async def test_a_hook_makes_nobody_a_channel_admin_by_default(place: Place) -> None:
    made = await place.ask(
        "chat.create", control.MakeChat(name="news", owner="anna", type="channel", participants=["ben"])
    )
    request = control.AddHook(chat="news", user_id="ben")
    with pytest.raises(RelayError, match="'ben' may only read in 'news': --add makes them one of its admins"):
        await place.ask("hook.add", request)
    # Receiving events as a reader needs no right to write.
    await place.ask("hook.add", control.AddHook(chat="news", user_id="ben", url="http://hook.example/"))
    await place.ask("hook.add", control.AddHook(chat="news", user_id="anna"))
    shown = await place.ask("chat.show", control.OneChat(id=made.id))
    assert shown.admins == [], "an owner is made no admin, nor is a reader who is told"
    await place.ask("hook.add", msgspec.structs.replace(request, add=True))
    assert (await place.ask("chat.show", control.OneChat(id=made.id))).admins == ["ben"]


@pytest.mark.parametrize("gone", [{"disabled": True}, {"removed": True}])
async def test_a_hook_does_not_act_for_a_disabled_user(place: Place, gone: dict[str, bool]) -> None:
    await place.ask("user.change", msgspec.structs.replace(control.ChangeUser(id="ben"), **gone))
    with pytest.raises(RelayError, match="ben"):
        await place.ask("hook.add", control.AddHook(chat=place.ops, user_id="ben", add=True))
    assert await place.ask("hook.list", control.Empty()) == []


async def test_edits_and_deletions_are_posted_too(place: Place, address: Address) -> None:
    await place.hook()
    async with place.house.device("anna") as anna:
        said = await anna.request("new", chatId=place.ops, clientMessageId="1", message="a")
        await anna.request("edit", chatId=place.ops, originalMessageId=said["messageId"], message="b")
        await anna.request("delete", chatId=place.ops, originalMessageId=said["messageId"])
        await until(lambda: len(address.taken) == 3)
    assert [event["eventType"] for event in address.taken] == ["new", "edit", "delete"]


async def test_hook_for_a_person_neither_makes_them_online_nor_delivers_messages(
    place: Place, address: Address
) -> None:
    async with place.house.device("anna") as anna:
        await anna.rest()
        await place.hook(user_id="ben")
        await settled()
        sent = await anna.request("new", chatId="ben", clientMessageId="1", message="for ben alone")
        await anna.request("new", chatId=place.ops, clientMessageId="2", message="for ops")
        await until(lambda: address.texts == ["for ops"])
        await settled()
        events = [frame["eventType"] for frame in await anna.rest() if frame["type"] == "event"]
        assert set(events) <= {"chats"}
        (shown,) = await anna.request("messages", chatId="ben")
        assert (shown["messageId"], shown["status"]) == (sent["messageId"], "undelivered")


async def test_first_message_of_a_dialog_begun_after_the_hook_is_posted(place: Place, address: Address) -> None:
    made = await place.hook("anna")
    await place.say("anna", made.user_id, "first")
    await place.say("anna", made.user_id, "second")
    await until(lambda: address.texts == ["first", "second"])


async def test_a_message_right_after_the_hook_was_added_is_posted(place: Place) -> None:
    state, cursors = place.relay.state, place.relay.log.cursors
    begins: list[int | None] = []

    def watch(entry: Entry) -> None:
        if entry.kind == kinds.DEVICE:
            key = max(state.devices)
            begins.append(entry.seq - cursors[key][0] if key in cursors else None)

    # Its start is known at the moment the hook exists, before its task does.
    place.relay.hub.watchers.append(watch)
    await place.hook()
    assert begins == [0]


async def test_message_during_the_look_up_of_a_dialog_is_not_skipped(place: Place) -> None:
    made = await place.hook("anna")
    delivery = hooks.Delivery(place.relay, place.relay.state.devices[made.device_id])
    delivery.idle = True
    before = place.relay.log.cursors[made.device_id]
    delivery.check()
    delivery.wake(Entry(1_000, kinds.NEW, ChatKey(1), 1, UserKey(1), NO_DEVICE, T0))
    assert place.relay.log.cursors[made.device_id] == before


# Loops.


async def test_a_hook_does_not_get_the_messages_of_its_own_bot(place: Place, address: Address) -> None:
    outgoing = await place.hook()
    incoming = await place.hook_in(user_id=outgoing.user_id)
    other = await place.hook_in()
    await place.say(outgoing.user_id, place.ops, "echo", device=incoming.device_id)
    await place.say(other.user_id, place.ops, "alarm", device=other.device_id)
    await until(lambda: address.texts == ["alarm"])


async def test_a_loop_of_two_hooks_ends_and_is_logged(
    place: Place, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    await place.hook()
    back = await place.hook_in()

    async def answer(event: dict[str, Any]) -> None:
        await place.say(back.user_id, place.ops, f"re: {event['id']}", device=back.device_id)

    address.answers = answer
    with caplog.at_level(logging.WARNING):
        await place.say("anna", place.ops, "hello")
        await until(lambda: "held back" in caplog.text)
        await settled()
        assert len(address.taken) == 1 + MAX_MESSAGES_IN_A_ROW
        # A person's message passes at once, and the other side learns that something is missing.
        address.answers = None
        await place.say("anna", place.ops, "is somebody there?")
        await until(lambda: address.texts[-1] == "is somebody there?")
    assert address.skipped[-1] == 1
    assert "messages of programs were held back" in caplog.text


def test_person_ends_a_row_and_another_message_passes_after_some_time() -> None:
    row = TurnsInARow()
    assert sum(row.passes(T0) for _ in range(500)) == MAX_MESSAGES_IN_A_ROW
    # The times are the log's: events that waited for hours are not a storm, even if posted within a second.
    assert sum(row.passes(T0 + RECOVERY_MS * number) for number in range(1, 50)) == 49
    assert not row.passes(T0 + RECOVERY_MS * 49)
    row.person()
    assert row.passes(T0 + RECOVERY_MS * 49)
    # A clock that was set back stops nothing for good.
    assert sum(row.passes(0) for _ in range(500)) == MAX_MESSAGES_IN_A_ROW - 1
    assert row.passes(RECOVERY_MS)


async def test_bots_that_answer_each_other_are_slowed_down_and_a_burst_of_one_bot_is_not(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    for bot in ("ping", "pong"):
        await place.ask("user.add", control.AddUser(id=bot, bot=True))
        await place.house.add_device(bot)
        await place.ask("chat.add", control.ChatUsers(id=place.ops, participants=[bot]))
    async with place.house.device("ping") as ping, place.house.device("pong") as pong:

        async def say(client: Any, number: int) -> dict[str, Any]:
            asked = await client.ask("new", chatId=place.ops, clientMessageId=str(number), message=f"ball {number}")
            return await client.answer(asked)  # type: ignore[no-any-return]

        for number in range(MAX_ANSWERS + 50):
            assert "payload" in await say(ping, number), number
        refused: dict[str, Any] = {}
        with caplog.at_level(logging.WARNING):
            for number in range(2 * MAX_ANSWERS):
                answer = await say(pong if number % 2 == 0 else ping, 1_000 + number)
                if "error" in answer:
                    refused = answer["error"]
                    break
        assert MAX_ANSWERS <= number < MAX_ANSWERS + 60
        assert refused["code"] == "rate_limited"
        assert 0 < refused["retryAfter"] <= 1_000
        assert "programs answer each other" in caplog.text
        # A person's message in between makes it a conversation.
        await place.say("anna", place.ops, "stop")
        assert "payload" in await say(ping, 5_000)


async def test_programs_that_respect_retry_after_answer_once_a_second(place: Place) -> None:
    answering, state = LoopBrake(place.relay.state), place.relay.state
    anna, ben = state.user("anna"), state.user("ben")
    assert anna is not None
    assert ben is not None
    chat = state.chats[state.group_keys[place.ops]]
    now, taken = 0.0, 0
    speaker, listener = anna, ben
    while now < 1_000:
        try:
            answering.check(speaker.key, place.ops, now)
        except RelayError as error:
            now += (error.error.retry_after or 0) / 1_000
        else:
            taken += 1
            chat.newest_by = speaker.key
            speaker, listener = listener, speaker
    assert MAX_ANSWERS + 990 <= taken <= MAX_ANSWERS + 1_010


async def post(place: Place, url: str, text: str) -> bytes:
    """Post to an incoming hook over a connection in memory; return the answer's head."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.house.server.serve, StreamTransport(theirs))
        head = f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n"
        await ours.send_all(f"{head}{text}".encode())
        answer = bytes(await ours.receive_some(65_536))
        await ours.aclose()
        nursery.cancel_scope.cancel()
    return answer.partition(b"\r\n\r\n")[0]


async def test_hooks_that_answer_each_other_get_429(place: Place) -> None:
    place.relay.service.answering = loops.LoopBrake(place.relay.state, 3)
    one, other = await place.hook_in(), await place.hook_in(user_id="ben")
    answers = [await post(place, made.url, "ball") for made in (one, other) * 4]
    # A hook without an answer posts alone, which is not a loop.
    assert [answer[9:12] for answer in answers] == [b"200"] * 4 + [b"429", b"200"] * 2
    assert b"retry-after: 1" in answers[4].lower()


async def test_posts_of_a_hook_do_not_use_up_the_requests_of_its_user(place: Place) -> None:
    made = await place.hook_in(user_id="ben")
    limits = place.relay.settings.limits
    limits.requests_per_second, limits.burst = 0.01, 3
    answers = [await post(place, made.url, "flood") for _ in range(4)]
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"200", b"429"]
    async with place.house.device("ben") as ben:
        await ben.request("new", chatId=place.ops, clientMessageId="1", message="I may")


# Rights.


async def remove(place: Place, made: Any) -> None:
    await place.ask("hook.remove", control.RemoveHook(device_id=made.device_id))


async def disable(place: Place, made: Any) -> None:
    await place.ask("user.change", control.ChangeUser(id=made.user_id, disabled=True))


async def remove_user(place: Place, made: Any) -> None:
    await place.ask("user.change", control.ChangeUser(id=made.user_id, removed=True))


async def delete_chat(place: Place, _made: Any) -> None:
    await place.ask("chat.delete", control.OneChat(id=place.ops))


async def take_out(place: Place, made: Any) -> None:
    await place.ask("chat.remove", control.ChatUsers(id=place.ops, participants=[made.user_id]))


@pytest.mark.parametrize("end", [remove, disable, remove_user, delete_chat, take_out])
async def test_a_running_post_is_cut_off_when_the_hook_loses_its_right(
    place: Place, address: Address, end: Callable[[Place, Any], Awaitable[None]]
) -> None:
    made = await place.hook()
    address.hangs = True
    await place.say("anna", place.ops, "under way")
    await place.say("anna", place.ops, "waits")
    await until(lambda: address.tries)
    began = trio.current_time()
    await end(place, made)
    await until(lambda: address.cut_off)
    assert trio.current_time() - began < 1.0
    address.hangs = False
    await settled()
    assert address.taken == []


async def test_hook_of_a_returning_user_gets_only_later_events(place: Place, address: Address) -> None:
    made = await place.hook()
    await place.say("anna", place.ops, "before")
    await until(lambda: address.texts == ["before"])
    await take_out(place, made)
    await place.say("anna", place.ops, "meanwhile")
    await place.ask("chat.add", control.ChatUsers(id=place.ops, participants=[made.user_id]))
    await place.say("anna", place.ops, "after")
    await until(lambda: len(address.texts) == 2)
    assert address.texts == ["before", "after"]


async def test_receiver_that_never_completes_its_answer_is_given_up() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        hook = Hook(chat="x", url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}/", secret="s")
        with trio.fail_after(5), pytest.raises(PostFailed, match="interim responses"):
            await hook_post.post(hook, b"{}", 1, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_response_before_the_end_of_the_body_counts(
    secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy refuses an overlong request after the head, and hangs up."""

    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1_000)
        await stream.send_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        if secure:
            made = Authority(tmp_path / "tls")
            made.make(["localhost", "127.0.0.1"], dt.datetime.now(dt.UTC))
            theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            theirs.load_cert_chain(made.leaf, made.leaf_key)
            ours = ssl.create_default_context(cafile=str(made.certificate))
            monkeypatch.setattr(hook_post, "context", lambda _day: ours)
            (listener,) = await nursery.start(
                partial(trio.serve_ssl_over_tcp, host="127.0.0.1", https_compatible=True), refuse, 0, theirs
            )
            port = listener.transport_listener.socket.getsockname()[1]
        else:
            (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), refuse, 0)
            port = listener.socket.getsockname()[1]
        hook = Hook(chat="x", url=f"http{'s' if secure else ''}://127.0.0.1:{port}/", secret="s")
        for _ in range(5):
            with trio.fail_after(5), pytest.raises(PostFailed, match="413") as refused:
                await hook_post.post(hook, b"x" * 10_000_000, 1, 1)
            assert refused.value.final
        nursery.cancel_scope.cancel()
