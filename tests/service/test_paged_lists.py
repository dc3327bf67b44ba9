"""Every paged list returns each item exactly once, whatever is written between two pages.

All writes have the same millisecond, or each its own. Items that exist from the first page to the last come once; items
that came or went meanwhile come at most once.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from relay.core.tuning import DeliveryTuning, ServiceTuning, Tuning
from relay.keys import UnixMs
from relay.protocol import control
from tests.support.sessions import T0, Client, House, house

PEOPLE = ("Anna", "Ben", "Cem")
FIRST = 24
"""Messages, people and groups at the beginning."""


class Life:
    """Activity in a relay while a user reads a list page by page."""

    def __init__(self, house: House, random: Random, everybody: dict[str, Client], step: int = 0) -> None:
        self.house = house
        self.random = random
        self.everybody = everybody
        self.groups: list[str] = []
        self.count = 0
        self.at = T0
        self.step = step
        """Milliseconds between two writes."""

    async def ask(self, name: str, request: Any) -> Any:
        """Make a request as the machine's admin."""
        return await self.house.relay.admin.handle(name, request)

    async def say(self, who: str, chat_id: str) -> None:
        """Send a message that a long and a short query find."""
        self.count += 1
        text = f"needle {self.count}"
        await self.everybody[who].request("new", chatId=chat_id, clientMessageId=text, message=text)

    async def make_group(self) -> None:
        """Make a group."""
        self.count += 1
        made = await self.everybody["Ben"].request(
            "createChat", type="group", name=f"Crew {self.count}", participants=["Anna", "Cem"]
        )
        self.groups.append(made["chatId"])

    async def add_user(self) -> None:
        """Make a user with a random position in the order, and add them to the first group, or another one."""
        self.count += 1
        user = f"{self.random.choice('AMZ')}{self.count}"
        await self.ask("user.add", control.AddUser(id=user))
        group = self.random.choice((self.groups[0], self.random.choice(self.groups[:FIRST])))
        await self.ask("chat.add", control.ChatUsers(id=group, participants=[user]))

    async def begin(self) -> None:
        """Create some of everything."""
        await self.make_group()
        for _ in range(FIRST):
            await self.say("Anna", "Ben")
            await self.make_group()
            await self.add_user()

    async def go_on(self) -> None:
        """Do some of the possible actions between two pages."""
        for _ in range(self.random.randrange(1, 5)):
            self.at += self.step
            act = self.random.choice((self._say, self._say_in_group, self._change, self.make_group, self.add_user))
            await act()
        await self._leave()

    async def _say(self) -> None:
        await self.say(*self.random.choice((("Anna", "Ben"), ("Ben", "Anna"))))

    async def _say_in_group(self) -> None:
        # Mostly the last one of the list, which then becomes the first.
        await self.say("Ben", self.random.choice(self.groups[: FIRST // 2]))

    async def _change(self) -> None:
        client = self.everybody["Anna"]
        target = self.random.randrange(1, 2 * FIRST)
        name = self.random.choice(("edit", "delete"))
        more = {"message": "needle, edited"} if name == "edit" else {}
        await client.answer(await client.ask(name, chatId="Ben", originalMessageId=target, **more))

    async def _leave(self) -> None:
        if self.random.random() < 0.3 and len(self.groups) > 2:
            gone = self.groups.pop(self.random.randrange(1, len(self.groups)))
            await self.ask("chat.remove", control.ChatUsers(id=gone, participants=["Anna"]))


async def pages(client: Client, life: Life, name: str, cursor: str, **payload: Any) -> list[Any]:
    """Read all pages of a list, with activity between two."""
    found: list[Any] = []
    more: dict[str, Any] = {}
    while True:
        answer = await client.answer(await client.ask(name, **payload, **more))
        assert "payload" in answer, answer
        found.append(answer["payload"])
        if not answer.get("more"):
            return found
        more = {cursor: answer["next"]}
        await life.go_on()


Read = Callable[[Client, Life], Awaitable[list[Any]]]
"""Reads a list page by page, and returns keys of its items."""


def search(text: str, **where: str) -> Read:
    """Search everywhere, or in one chat."""

    async def read(client: Client, life: Life) -> list[Any]:
        found = await pages(client, life, "search", "before", query=text, count=5, **where)
        return [(one["chatId"], one["messageId"]) for page in found for one in page]

    return read


async def users(client: Client, life: Life) -> list[Any]:
    return [one["id"] for page in await pages(client, life, "users", "after", count=5) for one in page]


async def chats(client: Client, life: Life) -> list[Any]:
    return [one["id"] for page in await pages(client, life, "chats", "after") for one in page]


async def participants(client: Client, life: Life) -> list[Any]:
    found = await pages(client, life, "chat", "after", chatId=life.groups[0])
    return [one["id"] for page in found for one in page["meta"]["participants"]]


async def messages_down(client: Client, life: Life) -> list[Any]:
    found: list[Any] = []
    more: dict[str, Any] = {}
    while True:
        answer = await client.answer(await client.ask("messages", chatId="Ben", count=5, **more))
        found += [one["messageId"] for one in answer["payload"]]
        if not answer.get("more"):
            return found
        more = {"endId": answer["payload"][0]["messageId"]}
        await life.go_on()


async def messages_up(client: Client, life: Life) -> list[Any]:
    found: list[Any] = []
    while True:
        answer = await client.answer(await client.ask("messages", chatId="Ben", count=9, startId=len(found) + 1))
        found += [one["messageId"] for one in answer["payload"]]
        if not answer.get("more"):
            return found
        await life.go_on()


async def audit(_client: Client, life: Life) -> list[Any]:
    found: list[Any] = []
    before = None
    while True:
        page = await life.ask("audit.list", control.Audit(count=7, before=before))
        found += [one.id for one in page]
        if len(page) < 7:
            return found
        before = page[-1].id
        await life.go_on()


LISTS: dict[str, Read] = {
    "messages, the latest first": messages_down,
    "messages, the first first": messages_up,
    "search": search("needle"),
    "search in one chat": search("needle", chatId="Ben"),
    "search for a short text": search("ne"),
    "users": users,
    "chats of version 2": chats,
    "participants": participants,
    "audit": audit,
}


@pytest.mark.parametrize("name", LISTS)
async def test_paged_list_returns_each_item_once_whatever_is_written_between_pages(tmp_path: Path, name: str) -> None:
    tuning = Tuning(
        delivery=DeliveryTuning(list_page_chats=5, list_page_bytes=1_500), service=ServiceTuning(page_bytes=600)
    )
    read = LISTS[name]
    for seed, step in enumerate((0, 1)):
        data = tmp_path / str(seed)
        data.mkdir()
        lives: list[Life] = []

        def now(lives: list[Life] = lives) -> UnixMs:
            return lives[0].at if lives else T0

        async with house(data, *PEOPLE, tuning=tuning, clock=now) as made:
            everybody = {who: await made.open(who, path="/ws?v=2") for who in PEOPLE[:2]}
            life = Life(made, Random(seed), everybody, step)
            lives.append(life)
            await life.begin()
            client = everybody["Anna"]
            before = await _at_once(read, client, life)
            found = await read(client, life)
            after = await _at_once(read, client, life)
            twice = {one for one in found if found.count(one) > 1}
            assert not twice, f"{name}, seed {seed}"
            assert set(before) & set(after) <= set(found), f"{name}, seed {seed}"


async def _at_once(read: Read, client: Client, life: Life) -> list[Any]:
    """Read a list without other activity."""

    async def nothing() -> None:
        """Do nothing."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(life, "go_on", nothing)
        return await read(client, life)


async def test_export_has_each_message_once_and_describes_everybody_it_names(tmp_path: Path) -> None:
    async with house(tmp_path, *PEOPLE) as made:
        life = Life(made, Random(0), {who: await made.open(who, path="/ws?v=2") for who in PEOPLE[:2]})
        await life.begin()
        records: list[control.Record] = []

        async def take(record: object) -> None:
            assert isinstance(record, control.Record)
            records.append(record)
            if len(records) % 2 == 0:
                await life.go_on()

        exported = await made.relay.admin.handle("export", control.Export(), take)
        users = [one.id for one in records if one.type == "user"]
        assert len(users) == len(set(users)) == exported.users  # type: ignore[attr-defined]
        named: set[str | None] = {one.sender for one in records if one.sender}
        for chat in (one for one in records if one.type == "chat"):
            named |= {chat.owner, *(chat.participants or ())}
        assert named <= set(users)
        said = [one.client_message_id for one in records if one.type == "message"]
        assert len(said) == len(set(said))
        assert {f"needle {number}" for number in range(2, 3 * FIRST, 3)} <= set(said)
