"""Random exports of one workspace, imported repeatedly: people keep their identity, and no message is doubled."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import RequestRefused
from relay.cli.importers.formats.detect import open_source
from relay.cli.importers.importing import Importing
from relay.core.relay import Relay, open_relay
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.request_type import RequestType
from tests.support.foreign_exports import T0, Entries, folder, lines, message

CLIENT = object()


def bot(bot_id: str | None, name: str, text: str, seconds: float) -> Entries:
    return {**message(None, text, seconds), "subtype": "bot_message", "bot_id": bot_id, "username": name}


# Mattermost: an export identifies a user only by name.


def mattermost(*found: tuple[str, Any]) -> list[Entries]:
    return [{"type": "version", "version": 1}, *({"type": kind, kind: one} for kind, one in found)]


def team(name: str, channel: str, user: str, text: str) -> list[tuple[str, Any]]:
    place = {"team": name, "channel": channel}
    return [
        ("channel", {"team": name, "name": channel, "type": "P"}),
        ("user", {"username": user, "teams": [{"name": name, "channels": [{"name": channel}]}]}),
        ("post", {**place, "user": user, "message": text, "create_at": T0 * 1_000}),
    ]


# Random exports of one workspace, repeatedly.


async def bring(relay: Relay, source: Path) -> Importing:
    """Import into a running relay, and check that a dry run predicted the same."""

    async def ask(kind: RequestType[Any, Any], request: Any, /) -> Any:
        try:
            return await relay.admin.handle(kind.name, request, client=CLIENT)
        except RelayError as error:
            raise RequestRefused(error.error.code, error.error.message) from None

    planned = Importing(ask, open_source(source, room=2**40), T0, dry=True)
    doubts = await planned.identify({})
    await planned.run()
    importing = Importing(ask, open_source(source, room=2**40), T0)
    assert await importing.identify({}) == doubts
    assert all(one.unique for one in doubts)
    await importing.run()
    assert (importing.added, importing.here, importing.left) == (planned.added, planned.here, planned.left)
    assert importing.others == planned.others
    return importing


async def check_messages(relay: Relay, seen: dict[str, tuple[Any, ...]]) -> None:
    """Check that each message exists once, each author is one person, and each dialog belongs to its people.

    A message's text has the source's ids of its chat and its author; in a dialog also those of both people.
    """
    people: dict[str, str] = {}
    chats: dict[str, str] = {}
    found: list[control.Record] = []

    async def take(record: Any) -> None:
        found.append(record)

    await relay.admin.handle("export", control.Export(), take)
    found = [one for one in found if one.type == "message"]
    assert len({one.text for one in found}) == len(found)
    for one in found:
        _, chat, author, *pair = (one.text or "").split("|")
        where = (one.sender, one.chat, tuple(one.participants or ()))
        assert seen.setdefault(one.text or "", where) == where
        assert people.setdefault(author, one.sender or "") == one.sender
        if not pair:
            assert chats.setdefault(chat, one.chat or "") == one.chat
    for one in found:
        _, _, _, *pair = (one.text or "").split("|")
        if pair:
            known = {people[name] for name in pair[0].split("~") if name in people}
            assert known <= set(one.participants or ())
            assert len(one.participants or ()) == 2
    assert len(set(chats.values())) == len(chats)
    assert len(set(people.values())) == len(people)


def slack_story(rng: random.Random, root: Path) -> Callable[[], Path]:
    """A workspace whose people change their handles and whose programs change their names."""
    handles = ["max", "max", "Max", "max-2", "анна", "вера", "user", "anna.b", "", "m a x"]
    people = [f"U{number}" for number in range(8)]
    bots: list[str | None] = ["B1", "B2", None]
    days: dict[str, dict[str, list[Entries]]] = {}
    dms = [{"id": f"D{n}", "members": rng.sample(people, 2)} for n in range(6)]
    dms = list({frozenset(one["members"]): one for one in dms}.values())
    now = {one: rng.choice(handles) or one for one in people}
    number = 0
    for day in range(10, 16):
        for place in ("general", *(str(one["id"]) for one in dms)):
            for _ in range(rng.randrange(3)):
                number += 1
                at = (day - 14) * 86_400 + number
                members = next((one["members"] for one in dms if one["id"] == place), people)
                author = str(rng.choice(members))
                which = rng.random()
                if place == "general" and which < 0.3:
                    sender, name = rng.choice(bots), rng.choice(["GitHub", "Jenkins CI", "max"])
                    one = bot(sender, name, f"{number}|{place}|{sender or name}", at)
                elif place == "general" and which < 0.5:
                    stranger = rng.choice(["W1", "W2"])
                    profile = {"name": rng.choice(handles), "real_name": rng.choice(["Max", "Eva"])}
                    one = message(stranger, f"{number}|{place}|{stranger}", at, user_profile=profile)
                else:
                    pair = "" if place == "general" else f"|{'~'.join(map(str, members))}"
                    one = message(author, f"{number}|{place}|{author}{pair}", at)
                days.setdefault(f"2023-11-{day}", {}).setdefault(place, []).append(one)
    step = 0

    def export() -> Path:
        nonlocal step
        step += 1
        for one in people:
            if rng.random() < 0.2:
                now[one] = rng.choice(handles) or one
        first, last = sorted(rng.choices(range(10, 16), k=2))
        listed = [{"id": one, "name": now[one], "real_name": f"Person {one}"} for one in people]
        listed = rng.sample(listed, rng.randint(5, len(listed)))
        entries: Entries = {
            "users.json": listed,
            "channels.json": [{"id": "C1", "name": "general", "created": T0, "members": people}],
            "dms.json": rng.sample(dms, len(dms)),
        }
        for day in range(first, last + 1):
            for place, found in days.get(f"2023-11-{day}", {}).items():
                entries[f"{place}/2023-11-{day}.json"] = found
        return folder(root / f"{step}", entries)

    return export


def mattermost_story(rng: random.Random, root: Path) -> Callable[[], Path]:
    """A server with users and channels with similar names; each export has some of them."""
    people = ["max", "max.", "max-", "max-2", "anna", "a.b", "a-b"]
    places = [("a", "b-c"), ("a-b", "c"), ("a", "b"), ("a-b-c", "d"), ("a", "b-c-d")]
    teams: list[Entries] = [{"name": name, "channels": [{"name": channel}]} for name, channel in places]
    posts: list[tuple[tuple[str, str] | None, tuple[str, Any]]] = []
    for number in range(60):
        author, other = rng.sample(people, 2)
        post = {"user": author, "create_at": T0 * 1_000 + number}
        if rng.random() < 0.5:
            place = rng.choice(places)
            text = f"{number}|{'/'.join(place)}|{author}"
            posts.append((place, ("post", {**post, "team": place[0], "channel": place[1], "message": text})))
        else:
            pair = sorted((author, other))
            text = f"{number}|{'~'.join(pair)}|{author}|{'~'.join(pair)}"
            posts.append((None, ("direct_post", {**post, "channel_members": pair, "message": text})))

    def export() -> Path:
        some = rng.sample(places, rng.randint(1, len(places)))
        found: list[tuple[str, Any]] = [("channel", {"team": one, "name": name, "type": "P"}) for one, name in some]
        found += [("user", {"username": name, "teams": teams}) for name in rng.sample(people, rng.randint(2, 7))]
        first, last = sorted(rng.choices(range(61), k=2))
        found += [post for place, post in posts[first:last] if place is None or place in some]
        return lines(root, mattermost(*found))

    return export


@pytest.mark.parametrize("story", [slack_story, mattermost_story])
@pytest.mark.parametrize("seed", range(6))
async def test_random_exports_give_no_message_twice_nor_to_another_author_or_reader(
    story: Callable[[random.Random, Path], Callable[[], Path]],
    seed: int,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    export = story(random.Random(seed), tmp_path_factory.mktemp("exports"))
    seen: dict[str, tuple[Any, ...]] = {}
    async with open_relay(tmp_path) as relay:
        for _ in range(6):
            await bring(relay, export())
            await check_messages(relay, seen)
    assert len(seen) > 10
