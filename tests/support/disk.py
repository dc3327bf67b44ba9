"""An open relay on a real file, without its network, and helpers for tests of the store."""

import random
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from relay.client import Client
from relay.core.relay import Relay
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.keys import NO_DEVICE
from relay.outcomes import Decidable
from relay.protocol import control, objects, requests
from relay.protocol.errors import RelayError
from relay.store.command import Command

T0 = 1_767_225_600_000


def command(relay: Relay, user: str | None, request: Decidable, generated_id: str = "") -> Command:
    """Make a command of a user or an admin."""
    key = ADMIN if user is None else relay.state.user_keys[user]
    return Command(relay.clock(), key, NO_DEVICE, request, generated_id=generated_id)


def new(relay: Relay, user: str, chat_id: str, client_id: str, text: str = "hello") -> Command:
    """Make the command of a message."""
    return command(relay, user, requests.New(chat_id=chat_id, client_message_id=client_id, message=text))


async def answers(relay: Relay, *batch: Command) -> list[Any]:
    """Append commands in one turn, and wait for their answers."""
    got: dict[int, Any] = {}
    done = trio.Event()

    def taker(number: int) -> Any:
        def take(answer: object) -> None:
            got[number] = answer
            if len(got) == len(batch):
                done.set()

        return take

    for number, one in enumerate(batch):
        relay.log.append(one, taker(number))
    await done.wait()
    return [got[number] for number in range(len(batch))]


async def say(relay: Relay, user: str, chat_id: str, client_id: str, text: str = "hello") -> Any:
    """Send one message and wait for its answer."""
    (answer,) = await answers(relay, new(relay, user, chat_id, client_id, text))
    return answer


async def people(relay: Relay, *ids: str) -> None:
    """Make users, each with a device whose key is the number of the user."""
    for user_id in ids:
        await answers(relay, command(relay, None, control.AddUser(id=user_id)))
        key = relay.state.user_keys[user_id]
        await answers(relay, command(relay, None, commands.AddDevice(key, "phone", f"hash of {user_id}")))


def failures(answers: list[Any]) -> list[str]:
    """Return the error codes among answers."""
    return [answer.error.code for answer in answers if isinstance(answer, RelayError)]


async def until(true: Callable[[], object]) -> None:
    """Wait for a condition, for a short time."""
    with trio.fail_after(5):
        while not true():
            await trio.sleep(0.005)


async def settled(relay: Relay, clock: MockClock) -> None:
    """Wait until all background work is done: snapshot, index."""
    clock.jump(120)
    log = relay.log
    await until(
        lambda: not (log.side_writes_due or log.index_behind) and log.background.next_at() > trio.current_time()
    )


def commits(data: Path) -> int:
    """The number of transactions in the write-ahead log: the last frame of each has the size of the file after it.

    Source: the SQLite file format, section 4.1. Only while nothing was checkpointed.
    """
    wal = (data / "relay.db-wal").read_bytes()
    page_size, _, salt = struct.unpack_from(">II8s", wal, 8)
    count = 0
    for offset in range(32, len(wal) - 24, 24 + page_size):
        _, size_after, frame_salt = struct.unpack_from(">II8s", wal, offset)
        if frame_salt != salt:
            break
        count += size_after > 0
    return count


def rows(data: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Read from a relay's file like any other program."""
    with sqlite3.connect(data / "relay.db") as connection:
        found = connection.execute(sql, parameters).fetchall()
    connection.close()
    return found


async def talk(relay: Relay, chance: random.Random, steps: int) -> None:
    """Do a bit of everything."""
    users = ("User1", "User2", "User3")
    for _ in range(steps):
        user, other = chance.sample(users, 2)
        key = relay.state.user_keys[user]
        match chance.randrange(10):
            case 0:
                await answers(relay, command(relay, user, requests.CreateChat(
                    type="group", name="Crew", participants=[other]), f"g-{relay.state.seq}"))  # fmt: skip
            case 1 | 2:
                chats = sorted(relay.state.chats_of[key])
                if chats:
                    mark = chance.choice((commands.MarkRead, commands.MarkDelivered))
                    await answers(relay, command(relay, user, mark(chance.choice(chats), None)))
            case 3:
                original = chance.randrange(1, 9)
                await answers(relay, command(relay, user, requests.Delete(
                    chat_id=other, original_message_id=original)))  # fmt: skip
            case 4:
                await answers(relay, command(relay, user, commands.DeleteChat(other)))
            case 5:
                groups = [chat.id for chat in relay.state.chats.values() if chat.id]
                if groups:
                    await answers(relay, command(relay, user, commands.LeaveChat(chance.choice(groups))))
            case _:
                groups = [chat.id for chat in relay.state.chats.values() if chat.id]
                chat_id = chance.choice([other, user, *groups])
                await answers(relay, new(relay, user, chat_id, f"c{relay.state.seq}"))


async def history(client: Client) -> list[str | None]:
    """Read a whole dialog with User2, in pages: one answer is bounded."""
    found: list[str | None] = []
    start = 1
    while True:
        request = requests.Messages(chat_id="User2", start_id=start, count=20)
        page: list[objects.Message] = await client.request(requests.MESSAGES, request)
        if not page:
            return found
        found += [message.message for message in page]
        start = page[-1].message_id + 1
