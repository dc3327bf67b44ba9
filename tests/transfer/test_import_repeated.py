"""A repeated import, and one into a relay in use."""

from pathlib import Path
from typing import Any

import trio

from relay.client import connect
from relay.protocol import objects, requests
from tests.support.command_line import done, running
from tests.support.foreign_exports import (
    DAY,
    T0,
    brought,
    folder,
    group,
    message,
    records,
    texts,
    two_people_talk,
    workspace,
)

# Repeats, and imports into a relay in use.


def test_a_repeated_import_restores_no_member(tmp_path: Path) -> None:
    # mattermost/mattermost#9821 and #8348, RocketChat/Rocket.Chat#8435 and #3123.
    source, data = folder(tmp_path / "slack", workspace()), tmp_path / "data"
    brought(source, data)
    done("chat", "remove", "general", "ben", data=data)
    done("user", "disable", "anna", data=data)
    done("user", "enable", "anna", data=data)
    came = brought(source, data)
    assert came["added"] == {"users": 0, "chats": 0, "messages": 0, "files": 0}
    assert came["here"] == {"users": 2, "chats": 1, "messages": 2}
    assert came["left"] == {"people who were not added to chats that exist here already (`relay chat add`)": 1}
    assert group(data)["participants"] == ["anna"]
    more = workspace(more={"general/2023-11-15.json": [message("U2", "three", 90_000)]})
    came = brought(folder(tmp_path / "more", more), data)
    assert (came["added"]["messages"], came["here"]["messages"]) == (1, 2)
    assert group(data)["participants"] == ["anna"]
    assert texts(data) == ["one", "two", "three"]


def test_chat_deleted_here_is_not_created_again(tmp_path: Path) -> None:
    source, data = folder(tmp_path / "slack", workspace()), tmp_path / "data"
    brought(source, data)
    done("chat", "delete", "general", "--yes", data=data)
    came = brought(source, data)
    assert came["added"] == {"users": 0, "chats": 0, "messages": 0, "files": 0}
    assert came["left"] == {"chats that were deleted here": 1, "messages of chats that stay behind": 2}


def test_unread_messages_of_a_relay_in_use_stay_unread(tmp_path: Path) -> None:
    source, data = folder(tmp_path / "slack", workspace()), tmp_path / "data"
    brought(source, data)
    done("device", "add", "ben", data=data)
    done("send", "--as", "anna", "general", "have you read this?", data=data)
    more = workspace(more={"general/2023-11-13.json": [message("U2", "older", -90_000)]})
    brought(folder(tmp_path / "more", more), data)
    assert seen(data, "anna", "slack-C1") == {
        "one": (T0, "read"),
        "two": (T0 + 1, "read"),
        "have you read this?": (None, "undelivered"),
        "older": (T0 - 90_000, "read"),
    }


def seen(data: Path, user: str, chat: str) -> dict[str, tuple[int | None, str]]:
    """A member's view of a chat: each message's time in seconds, and its status."""
    token = done("device", "add", user, data=data).out.strip()
    with running(data) as relay:

        async def ask() -> Any:
            async with connect(relay.url, token) as client:
                return await client.request(requests.MESSAGES, requests.Messages(chat_id=chat))

        found = trio.run(ask)
    return {one.message: (one.created_at // 1_000 if one.created_at < 1.75e12 else None, one.status) for one in found}


def test_imported_dates_are_shown_everywhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "add", "anna", data=data)
    done("send", "--as", "anna", "anna", "in use", data=data)
    root = f"{T0:.6f}"
    day = [message("U1", "root"), message("U2", "reply", 1, thread_ts=root)]
    token = done("device", "add", "anna", data=data).out.strip()
    with running(data) as relay:

        async def ask() -> Any:
            async with connect(relay.url, token) as client:
                source = folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day}))
                await trio.to_thread.run_sync(brought, source, data)
                wanted = requests.Messages(chat_id="slack-C1")
                messages: list[objects.Message] = await client.request(requests.MESSAGES, wanted)
                chats: list[objects.ChatListItem] = await client.request(requests.CHATS, requests.ChatsRequest())
                return messages, chats

        messages, chats = trio.run(ask)
    (chat,) = (one for one in chats if one.id == "slack-C1")
    assert [one.created_at for one in messages] == [T0 * 1_000, T0 * 1_000 + 1_000]
    assert messages[1].reply_to.created_at == T0 * 1_000
    assert chat.last_message_time == T0 * 1_000 + 1_000
    assert chat.missed is None


def test_former_members_stay_out_and_keep_their_messages(tmp_path: Path) -> None:
    # In a relay's own export: bob could once read messages from after his removal.
    data, there = tmp_path / "data", tmp_path / "there"
    for user in ("alice", "bob", "carol"):
        done("user", "add", user, data=data)
    done("chat", "create", "secret", "bob", "carol", "--owner", "alice", data=data)
    for user in ("bob", "carol"):
        done("send", "--as", user, "secret", f"by {user}", data=data)
        done("chat", "remove", "secret", user, data=data)
    done("send", "--as", "alice", "secret", "after bob was thrown out", data=data)
    (tmp_path / "out.jsonl").write_text(done("export", data=data).out)
    brought(tmp_path / "out.jsonl", there)
    assert group(there)["participants"] == ["alice"]
    assert [one["sender"] for one in records(there, "message")] == ["bob", "carol", "alice"]


def test_the_order_of_joining_survives_an_import(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    for user in ("alice", "bob", "carol"):
        done("user", "add", user, data=data)
    done("chat", "create", "ops", "carol", "--owner", "alice", data=data)
    done("chat", "add", "ops", "bob", data=data)
    (tmp_path / "out.jsonl").write_text(done("export", data=data).out)
    done("import", tmp_path / "out.jsonl", data=there)
    for where in (data, there):
        assert group(where)["participants"] == ["alice", "carol", "bob"]
        done("user", "remove", "alice", "--yes", data=where)
        assert group(where)["owner"] == "carol"


def test_messages_that_retention_removed_recently_are_not_imported_again(tmp_path: Path) -> None:
    found, data = two_people_talk(tmp_path, "relay", "anna", "ben"), tmp_path / "data"
    brought(found, data)
    done("prune", "--max-bytes", "1", "--yes", data=data)
    assert texts(data) == []
    came = brought(found, data)
    assert (came["here"]["messages"], came["left"], texts(data)) == (1, {}, [])
