"""A site with many users and chats: lists stay quick."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from relay.core.relay import open_relay
from relay.core.rules import commands, decide
from relay.core.rules.commands import ADMIN
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control
from relay.store.command import Command
from relay.store.log.batch import prepare
from relay.store.log.schedule import SideWrites
from tests.support.command_line import done, running

USERS, CHATS = 1_000, 5_000


def what_made_them() -> Iterator[Command]:
    for number in range(USERS):
        yield Command(1, ADMIN, NO_DEVICE, control.AddUser(id=f"user{number}", name=f"User number {number}"))
        yield Command(1, ADMIN, NO_DEVICE, commands.AddDevice(UserKey(number + 1), "phone", f"{number}"))
    for number in range(CHATS):
        people = [f"user{(number + step) % USERS}" for step in range(10)]
        chat = control.MakeChat(name=f"Chat {number}", owner=people[0], participants=people)
        yield Command(1, ADMIN, NO_DEVICE, chat, generated_id=f"g-{number}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = tmp_path_factory.mktemp("many") / "data"
    where.mkdir()

    async def fill() -> None:
        async with open_relay(where) as relay:
            # All in one transaction: separate ones would take a minute on a slow disk.
            entries = []
            for command in what_made_them():
                draft = decide(relay.state, [command], {})
                for entry in draft.decisions[0].entries:
                    relay.state.apply(entry)
                    entries.append(entry)
            await relay.connections.writing.execute(*prepare(entries, [], SideWrites({}, 0)))

    trio.run(fill)
    with running(where):
        yield where


@pytest.mark.timing
@pytest.mark.parametrize(("what", "count"), [("user", USERS), ("chat", CHATS)])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_all_users_and_chats_are_listed_within_a_second(
    what: str, count: int, options: tuple[str, ...], data: Path
) -> None:
    done(what, "list", *options, data=data)
    before = time.perf_counter()
    ran = done(what, "list", *options, data=data)
    took = time.perf_counter() - before
    assert (len(ran.json) if options else ran.out.count("\n") - 1) == count
    assert took < 1, f"it took {took:.2f} s"
