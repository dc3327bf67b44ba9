"""Bounds on one user's use of the relay, in bytes and in counts, whatever their clients send."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.delivery.subscriber import LIST_SECONDS
from relay.core.limits import request_weights
from relay.core.limits.fairness import Account
from relay.core.limits.share import COMMANDS_PER_BATCH
from relay.core.rules import commands
from relay.core.tuning import ServiceTuning, Tuning
from relay.keys import NO_DEVICE, ChatKey, DeviceKey, UserKey
from relay.net.websocket.frames import TEXT
from relay.protocol import codec
from relay.protocol.errors import RelayError
from relay.store.command import Command
from tests.support.client_frames import client_frame
from tests.support.sessions import House, Refused, house

LONG = "x" * 60_000


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3", frame_bytes=262_144) as opened:
        yield opened


def text_frame(payload: bytes) -> bytes:
    return client_frame(TEXT, payload)


def request(number: int, name: str, **payload: Any) -> bytes:
    return text_frame(codec.encode({"type": "request", "id": number, "payloadType": name, "payload": payload}))


async def fill(relay: House, count: int) -> None:
    async with relay.device("User1") as one:
        for number in range(count):
            await one.request("new", chatId="User1", clientMessageId=str(number), message=LONG)


async def test_pipelined_requests_are_answered_only_as_far_as_the_outbox_has_room(
    relay: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(relay, 8)
    answers = 0
    real = codec.response

    def counted(*arguments: Any) -> bytes:
        nonlocal answers
        answers += 1
        return real(*arguments)

    monkeypatch.setattr(codec, "response", counted)
    client = await relay.open("User1", lockstep=True)
    async with trio.open_nursery() as nursery:
        ask = b"".join(request(number, "messages", chatId="User1") for number in range(50))
        nursery.start_soon(client.raw, ask)
        await trio.testing.wait_all_tasks_blocked(0.05)
        (subscriber,) = relay.relay.hub.presence.subscribers[relay.relay.state.user_keys["User1"]]
        assert answers <= 2
        assert subscriber.outlet.waiting[0] < 2 * 8 * len(LONG) + relay.server.tuning.outbox_bytes
        nursery.cancel_scope.cancel()


async def test_several_connections_of_one_user_together_stay_within_their_share(relay: House) -> None:
    await fill(relay, 4)
    relay.relay.tuning.limits.waiting_bytes = 600_000
    key = relay.relay.state.user_keys["User1"]
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            client = await relay.open("User1", lockstep=True)
            nursery.start_soon(client.raw, request(1, "messages", chatId="User1") * 3)
        await trio.testing.wait_all_tasks_blocked(0.05)
        waiting = sum(one.outlet.waiting[0] for one in relay.relay.hub.presence.subscribers[key])
        assert 240_000 < waiting < 600_000 + 5 * len(LONG)
        nursery.cancel_scope.cancel()


async def test_unfinished_messages_of_one_user_are_bounded_over_all_connections(relay: House) -> None:
    relay.relay.tuning.limits.pieces_bytes = 300_000
    shares = relay.relay.service.limits.shares
    half = text_frame(b'{"type":"request"' + b" " * 200_000)[:100_000]
    clients = [await relay.open("User1") for _ in range(6)]
    for client in clients:
        await client.raw(half)
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert 200_000 <= shares.pieces_bytes <= 300_000
    codes = []
    for client in clients:
        with trio.move_on_after(0.2):
            codes.append(await client.closed())
    assert codes == [1013] * 3
    async with relay.device("User2") as other:
        await other.request("profile")


async def test_single_unfinished_message_may_be_as_large_as_a_frame(relay: House) -> None:
    relay.relay.tuning.limits.pieces_bytes = 50_000
    frame = text_frame(b'{"type":"request","id":1,"payloadType":"profile"' + b" " * 90_000 + b"}")
    async with relay.device("User1") as one:
        await one.raw(frame[:70_000])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await one.raw(frame[70_000:])
        assert (await one.receive())["payload"]["id"] == "User1"


async def test_with_too_many_unfinished_messages_the_largest_holder_is_closed(relay: House) -> None:
    relay.relay.tuning.limits.all_pieces_bytes = 250_000
    half = text_frame(b'{"type":"request"' + b" " * 200_000)[:100_000]
    greedy = [await relay.open("User1") for _ in range(2)]
    for client in greedy:
        await client.raw(half)
    async with relay.device("User2") as modest:
        await trio.testing.wait_all_tasks_blocked(0.01)
        await modest.raw(text_frame(b" " * 60_000)[:59_000])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert relay.relay.service.limits.shares.pieces_bytes < 250_000
        assert await greedy[0].closed() == 1013
        await modest.raw(text_frame(b" " * 60_000)[59_000:])


async def test_finished_message_is_no_longer_counted(relay: House) -> None:
    async with relay.device("User1") as one:
        frame = text_frame(b'{"type":"request","id":1,"payloadType":"profile"' + b" " * 90_000 + b"}")
        await one.raw(frame[:70_000])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert relay.relay.service.limits.shares.pieces_bytes == 70_000
        await one.raw(frame[70_000:])
        assert (await one.receive())["payload"]["id"] == "User1"
        assert relay.relay.service.limits.shares.pieces_bytes == 0
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(relay.relay.service.limits.shares) == 0


async def test_connections_of_one_user_are_bounded_and_leave_others_theirs(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", connections_per_user=3) as relay:
        clients = [await relay.open("User1") for _ in range(3)]
        with pytest.raises(Refused) as refused:
            await relay.open("User1")
        assert refused.value.status == 503
        assert b"3 connections" in refused.value.body
        await relay.open("User2")
        await clients[0].close()
        await clients[0].closed()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await relay.open("User1")


async def test_a_user_who_keeps_connecting_is_rate_limited(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", requests_per_second=1_000.0) as relay:
        statuses = []
        for _ in range(100):
            try:
                client = await relay.open("User1")
            except Refused as refused:
                statuses.append(refused.status)
                continue
            await client.close()
            await client.closed()
        assert len(statuses) > 20
        assert set(statuses) == {503}
        await relay.open("User2")


async def test_groups_made_by_one_user_are_bounded_per_day(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", groups_per_day=3) as relay, relay.device("User1") as one:
        for number in range(3):
            await one.request("createChat", type="group", name=str(number), participants=["User2"])
        refused = await one.refused("createChat", type="group", name="4", participants=["User2"])
        assert refused["code"] == "rate_limited"
        assert 28_000_000 < refused["retryAfter"] <= 28_800_000


async def test_large_answers_count_as_many_requests(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", requests_per_second=100.0, burst=1_000) as relay:
        await fill(relay, 4)
        clock.jump(15)
        async with relay.device("User1") as one:
            asked = 0
            while "payload" in await one.answer(await one.ask("messages", chatId="User1")):
                asked += 1
            assert 5 <= asked <= 12
            clock.jump(15)
            await one.request("messages", chatId="User1")


async def test_messages_below_a_step_of_bytes_count_as_one_up_to_the_burst(tmp_path: Path, clock: MockClock) -> None:
    async with (
        house(tmp_path, "User1", requests_per_second=0.01, burst=200) as relay,
        relay.device("User1") as one,
    ):
        for number in range(199):
            text = "x" * (100 if number % 10 else 1_900)
            await one.request("new", chatId="User1", clientMessageId=str(number), message=text)
        long = "x" * request_weights.REQUEST_BYTES
        assert (await one.refused("new", chatId="User1", clientMessageId="long", message=long))[
            "code"
        ] == "rate_limited"
        await one.request("new", chatId="User1", clientMessageId="last", message="x")
        assert (await one.refused("new", chatId="User1", clientMessageId="more", message="x"))["code"] == "rate_limited"


async def test_temporary_tokens_are_bounded_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    async with house(tmp_path, "User1", tuning=Tuning(service=ServiceTuning(temporary_tokens=3))) as relay:
        tokens_of = relay.relay.service.tokens
        issued = [tokens_of.issue_temporary(UserKey(1)) for _ in range(5)]
        assert [tokens_of.authenticate(token) is not None for token in issued] == [False, False, True, True, True]


# The chat list.


async def rename(client: Any, chat: str, count: int) -> None:
    for number in range(count):
        await client.request("updateChat", chatId=chat, name=f"name {number}")


async def test_an_unknown_version_is_refused(relay: House) -> None:
    with pytest.raises(Refused) as refused:
        await relay.open("User1", path="/ws?v=9")
    assert refused.value.status == 400


async def test_every_message_refused_on_a_full_disk_is_answered(relay: House) -> None:
    async with relay.device("User1") as one:
        relay.relay.log.spare(lambda _command: True)
        for number in range(3 * COMMANDS_PER_BATCH):
            await one.ask("new", chatId="User2", clientMessageId=str(number), message="x")
        for _ in range(3 * COMMANDS_PER_BATCH):
            assert (await one.receive())["error"]["code"] == "storage_full"


async def test_a_chat_list_held_up_by_a_full_disk_is_sent_once_there_is_room(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
        await two.until("chats")
        await rename(one, chat, 3)
        await one.request("new", chatId=chat, clientMessageId="1", message="at once")
        await two.event("new")
        relay.relay.log.spare(lambda _command: True)
        clock.jump(LIST_SECONDS)
        await two.quiet()
        relay.relay.log.spare(None)
        assert (await two.until("chats"))["payload"][0]["name"] == "name 2"


async def test_writer_time_is_charged_to_the_user_whose_request_holds_it_alone(
    relay: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[int] = []
    monkeypatch.setattr(
        relay.relay.engine, "charge", lambda batch, seconds: charged.append(len(batch)) if seconds > 0 else None
    )
    async with relay.device("User1") as one:
        await one.request("new", chatId="User1", clientMessageId="0", message="makes the chat, alone")
        charged.clear()
        await one.request("new", chatId="User1", clientMessageId="1", message="x")
        assert charged == []
        await one.request("edit", chatId="User1", originalMessageId=1, message="y")
        assert charged == [1]
        await one.request("new", chatId="User1", clientMessageId="2", message="x", replyTo=1)
        assert charged == [1, 1]


async def test_user_who_sends_to_many_at_once_waits_until_it_is_paid_off(
    tmp_path: Path, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of requests allows the same on average, but others wait for a burst."""
    rests: list[float] = []
    monkeypatch.setattr(Account, "rest", lambda _account, seconds: rests.append(seconds))
    async with house(tmp_path, *(f"User{n}" for n in range(12)), requests_per_second=1.0, burst=25) as relay:
        for number in range(1, 12):
            await relay.open(f"User{number}")
        async with relay.device("User0") as one:
            people = [f"User{n}" for n in range(1, 12)]
            chat = (await one.request("createChat", type="group", name="x", participants=people))["chatId"]
            assert rests == []
            received = 0
            there = [one for some in relay.relay.hub.presence.subscribers.values() for one in some]
            for number in range(20):
                # The changes of their chats are replayed to them first.
                with trio.fail_after(5):
                    while not all(one.live for one in there):
                        await trio.sleep(0.01)
                await one.request("new", chatId=chat, clientMessageId=str(number), message="x")
                received += 11
                if rests:
                    break
            assert 25 < received < 80
            assert 0 < rests[0] < 2


async def test_refusal_keeps_nothing_of_its_batch_in_memory(relay: House) -> None:
    """Its traceback kept the frames with all looked-up facts: 90 MB for a hundred refused edits of a long message."""
    user = relay.relay.state.user_keys["User1"]
    draft = relay.relay.engine.decide([Command(1, user, DeviceKey(1), commands.LeaveChat("g-none"))], {})
    (decision,) = draft.decisions
    assert isinstance(decision.answer, RelayError)
    assert decision.answer.__traceback__ is None


async def test_one_users_edits_over_many_connections_are_appended_one_by_one(relay: House) -> None:
    """Each is a commit of its own, and somebody else's message must not wait for all of them."""
    appended: list[str] = []
    relay.relay.hub.watchers.append(lambda entry: appended.append(entry.message or ""))
    held, go_on = trio.Event(), trio.Event()

    async def hold(_writing: Any) -> None:
        held.set()
        await go_on.wait()

    async with relay.device("User2") as two, trio.open_nursery() as nursery:
        devices = [await relay.open("User1") for _ in range(6)]
        await devices[0].request("new", chatId="User2", clientMessageId="0", message="original")
        await two.until("new")
        nursery.start_soon(partial(relay.relay.log.run_exclusive, hold, hurried=True))
        await held.wait()
        appended.clear()
        for number, device in enumerate(devices):
            await device.ask("edit", chatId="User2", originalMessageId=1, message=f"edit {number}")
        await trio.testing.wait_all_tasks_blocked(0.01)
        await two.ask("new", chatId="User1", clientMessageId="1", message="hello")
        await trio.testing.wait_all_tasks_blocked(0.01)
        go_on.set()
        with trio.fail_after(5):
            while len([text for text in appended if text]) < 7:
                await trio.sleep(0.01)
        assert [text for text in appended if text].index("hello") <= 1


async def test_only_created_groups_count_for_the_day(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", groups_per_day=2) as relay, relay.device("User1") as one:
        for _ in range(5):
            assert (await one.refused("createChat", type="group", name="x", participants=["Nobody"]))["code"] != (
                "rate_limited"
            )
        for _ in range(2):
            await one.request("createChat", type="group", name="x", participants=["User2"])
        refused = await one.refused("createChat", type="group", name="x", participants=["User2"])
        assert refused["code"] == "rate_limited"


async def test_authors_in_an_import_are_not_charged_for_it(relay: House) -> None:
    limits, user = relay.relay.service.limits, relay.relay.state.user_keys["User1"]
    imported = Command(0, user, NO_DEVICE, commands.ReserveSeq(ChatKey(1)), importer=True)
    limits.charge_writer([imported], 5.0)
    assert limits.fairness.of(user).paid_at == float("-inf")
    limits.charge_writer([Command(0, user, NO_DEVICE, commands.ReserveSeq(ChatKey(1)))], 0.3)
    now = limits.fairness.time()
    assert limits.fairness.of(user).paid_at - now > 0.3 * 2 / 0.2 - 0.5, "long work is charged whole"
