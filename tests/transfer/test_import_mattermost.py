"""Exports of Mattermost: channels, groups, and posts without ids."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.cli.importers.order import in_order
from tests.support.foreign_exports import (
    T0,
    brought,
    bulk,
    folder,
    group,
    lines,
    message,
    post,
    records,
    texts,
    workspace,
)


def test_former_members_of_a_private_channel_are_not_members(tmp_path: Path) -> None:
    # mattermost/mattermost#9821, #10319.
    found = bulk(post("I was here", "gone"), post("and I am", "ben"), post("deleted user", "nobody-knows"))
    came = brought(lines(tmp_path, found), tmp_path / "data")
    assert sorted(group(tmp_path / "data")["participants"]) == ["anna", "ben"]
    assert came["added"]["messages"] == 3
    people = {user["id"]: user.get("disabled", False) for user in records(tmp_path / "data", "user")}
    assert people == {"anna": False, "ben": False, "gone": True, "nobody-knows": True}


def test_mattermost_channel_that_nobody_lists_has_no_members(tmp_path: Path) -> None:
    posts = [
        {**post("old", "ben"), "channel": "old", "replies": [{"user": "anna", "message": "so", "create_at": T0}]},
        {**post("carl joined", "carl"), "channel": "old", "type": "system_join_channel"},
    ]
    found = bulk(*posts, users=("anna", "ben", "carl"))
    found.insert(1, {"type": "channel", "channel": {"team": "t", "name": "old", "display_name": "Old", "type": "P"}})
    came = brought(lines(tmp_path, found), tmp_path / "data")
    assert (came["ownerless"], came["added"]["messages"]) == (["Old"], 0)
    assert [chat["name"] for chat in records(tmp_path / "data", "chat")] == ["Town"]


class Item(msgspec.Struct):
    at: int
    number: int


@pytest.mark.parametrize("count", [0, 6, 7, 21, 22, 101, 500])
def test_more_items_than_fit_in_memory_are_sorted_and_equal_ones_keep_their_order(count: int) -> None:
    items = [Item(number * 37 % 101, number) for number in range(count)]
    found = list(in_order(items, Item, lambda one: (one.at,), run_items=7, most_runs=3))
    assert found == sorted(items, key=lambda one: one.at)


def test_unordered_messages_of_an_export_come_in_order(tmp_path: Path) -> None:
    posts = [post(str(number), at=T0 * 1_000 + number * 37 % 101) for number in range(101)]
    brought(lines(tmp_path, bulk(*posts)), tmp_path / "data")
    dates = [one["at"] for one in records(tmp_path / "data", "message")]
    assert len(dates) == 101
    assert dates == sorted(dates)


def test_two_groups_with_the_same_beginning_of_their_names_stay_two(tmp_path: Path) -> None:
    people = [f"somebody-with-a-long-name-{number}" for number in range(4)]
    groups = [people[:3], people[:2] + people[3:]]
    posts = [
        {"type": "direct_post", "direct_post": {
            "channel_members": one, "user": one[0], "message": f"to {number}", "create_at": T0}}
        for number, one in enumerate(groups)
    ]  # fmt: skip
    found = [*bulk(users=tuple(people)), *posts]
    assert brought(lines(tmp_path, found), tmp_path / "data")["added"]["chats"] == 3


@pytest.mark.parametrize(
    "places",
    [
        (("a", "b-c"), ("a-b", "c")),
        (("acme-corporation", f"customer-support-germany-escalations-{n}") for n in (1, 2)),
    ],
)
def test_two_channels_with_similar_ids_stay_two(places: Iterable[tuple[str, str]], tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    for user, (team, channel) in zip(("anna", "ben"), places, strict=True):
        teams = [{"name": team, "channels": [{"name": channel}]}]
        found += [
            {"type": "channel", "channel": {"team": team, "name": channel, "type": "P"}},
            {"type": "user", "user": {"username": user, "teams": teams}},
            {"type": "post", "post": {**post(f"of {user}", user), "team": team, "channel": channel}},
        ]
    brought(lines(tmp_path, [{"type": "version", "version": 1}, *found]), tmp_path / "data")
    chats = {chat["id"]: chat["participants"] for chat in records(tmp_path / "data", "chat")}
    said = {one["chat"]: one["text"] for one in records(tmp_path / "data", "message")}
    assert sorted((chats[chat], said[chat]) for chat in chats) == [(["anna"], "of anna"), (["ben"], "of ben")]


def test_two_groups_whose_joined_names_are_equal_stay_two(tmp_path: Path) -> None:
    groups = [["a-b", "c", "d"], ["a", "b-c", "d"]]
    posts = [
        {"type": "direct_post", "direct_post": {
            "channel_members": one, "user": one[0], "message": f"to {number}", "create_at": T0}}
        for number, one in enumerate(groups)
    ]  # fmt: skip
    found = [*bulk(users=("a-b", "a", "b-c", "c", "d")), *posts]
    assert brought(lines(tmp_path, found), tmp_path / "data")["added"]["chats"] == 3


def test_a_later_export_adds_only_new_messages(tmp_path: Path) -> None:
    # mattermost/docs#9154: a trial import, weekly exports, and a final one on the last day.
    at = T0 * 1_000
    replies = [{"user": "ben", "message": f"reply {number}", "create_at": at + number} for number in range(1, 4)]
    first = bulk(post("one", replies=replies[:2]), post("two", "ben", at + 10))
    brought(lines(tmp_path, first), tmp_path / "data")
    # A new user comes before the posts, and a reply was deleted.
    later = bulk(
        post("one", replies=replies[1:]),
        post("two", "ben", at + 10),
        post("three", "carl", at + 20),
        users=("anna", "ben", "carl"),
    )
    came = brought(lines(tmp_path, later), tmp_path / "data")
    assert (came["added"]["messages"], came["here"]["messages"]) == (2, 3)
    assert sorted(texts(tmp_path / "data")) == ["one", "reply 1", "reply 2", "reply 3", "three", "two"]


def test_same_text_at_the_same_time_in_two_channels_is_two_messages(tmp_path: Path) -> None:
    direct = {"channel_members": ["anna", "ben"], "user": "anna", "message": "hello", "create_at": T0 * 1_000}
    found = [*bulk(post("hello"), post("hello, too")), {"type": "direct_post", "direct_post": direct}]
    assert brought(lines(tmp_path, found), tmp_path / "data")["added"]["messages"] == 3


def test_file_larger_than_one_request_is_imported_completely(tmp_path: Path) -> None:
    content = bytes(range(256)) * 50_000
    folder(tmp_path / "data", {"big.bin": content, "empty.bin": b""})
    found = bulk(post("look", attachments=[{"path": "big.bin"}, {"path": "empty.bin"}, {"path": "missing.bin"}]))
    came = brought(lines(tmp_path, found), tmp_path / "relay")
    assert (came["added"]["files"], came["left"]) == (2, {"files": 1})
    kept = sorted(file.read_bytes() for file in (tmp_path / "relay" / "files").rglob("*") if file.is_file())
    assert kept == [b"", content]
    came = brought(lines(tmp_path, found), tmp_path / "relay")
    assert came["added"]["files"] == 0


def test_message_listed_twice_is_counted_once(tmp_path: Path) -> None:
    entries = workspace(more={"general/2023-11-15.json": [message("U2", "two", 1), message("U1", "three", 2)]})
    entries["groups.json"] = entries["channels.json"]
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert (came["added"]["chats"], came["added"]["messages"], came["here"]["messages"]) == (1, 3, 1)


def _talk(root: str, reply: str, program: str) -> list[dict[str, Any]]:
    answer = {"user": "ben", "message": reply, "create_at": T0 * 1_000 + 1}
    posted = post("", at=T0 * 1_000 + 2, props={"attachments": [{"text": program}]})
    return bulk(post(root, replies=[answer]), posted)


def test_post_that_was_edited_between_two_exports_comes_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    brought(lines(tmp_path, _talk("teh plan", "anser", "yellow")), data)
    came = brought(lines(tmp_path, _talk("the plan", "answer", "green")), data)
    assert (came["added"]["messages"], came["here"]["messages"]) == (0, 3)
    assert texts(data) == ["teh plan", "anser", "yellow"]


def test_posts_of_one_author_in_the_same_millisecond_all_come_and_only_once(tmp_path: Path) -> None:
    posts = [post("a"), post("b"), post("c"), post("b"), post("a", "ben")]
    came = brought(lines(tmp_path, bulk(*posts)), tmp_path / "data")
    # The same post may be in an export twice.
    assert (came["added"]["messages"], came["here"]["messages"]) == (4, 1)
    posts[2] = post("c, edited")
    came = brought(lines(tmp_path, bulk(*posts)), tmp_path / "data")
    assert (came["added"]["messages"], came["here"]["messages"]) == (0, 5)


def test_malformed_line_stays_behind_alone(tmp_path: Path) -> None:
    found = bulk(post("one"), post("bad", props=None, message=[1]), post("two", at=T0 * 1_000 + 5))
    came = brought(lines(tmp_path, found), tmp_path / "data")
    assert texts(tmp_path / "data") == ["one", "two"]
    assert came["left"] == {"records (line 7: post.message: expected `str | null`, got `array`)": 1}
