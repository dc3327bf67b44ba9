"""Changes of a user that show in other users' chat lists: each goes to the users whose line it changes."""

from typing import Any

import msgspec
import pytest

from relay.core.delivery import chat_views, list_readers
from relay.core.delivery.hub import Hub
from relay.core.delivery.presence import Presence
from relay.core.delivery.subscriber import Subscriber
from relay.core.model import changes
from relay.keys import NO_DEVICE
from relay.protocol import control
from relay.store import kinds
from relay.store.entry import Entry
from tests.support.memory_log import T0, MemoryLog

USERS = ("alice", "bob", "carol", "dora")
CHANGES: dict[str, dict[str, Any]] = {
    "name": {"name": "Other"},
    "photo_url": {"photo_url": "/files/AAAA"},
    "admin": {"admin": True},
    "disabled": {"disabled": True},
    "removed": {"removed": True},
    "counts_from": {"disabled": False},
}
"""An admin's changes of a user, by field."""


class Ear:
    """An outlet and a connection that only note whether their device has to catch up."""

    is_behind = False
    waiting = (0, 0.0)

    def put(self, _frame: bytes) -> None:
        pass

    def offer(self, _frame: bytes) -> bool:
        return True

    def flush(self) -> None:
        pass

    def start_catch_up(self) -> None:
        self.is_behind = True

    def close(self, _code: int, _reason: str) -> None:
        pass


class House:
    """A log in memory with a hub, and one device of each user."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.log = MemoryLog(self.apply)
        self.state = self.log.state
        self.hub = Hub(self.state, lambda: T0, bytes, lambda: T0 / 1_000)
        self.log.add_users(*USERS)

    def apply(self, entry: Entry) -> None:
        self.state.apply(entry)
        self.entries.append(entry)
        self.hub.publish(entry)
        self.hub.flush()

    def arrive(self, user: str) -> Subscriber:
        ear = Ear()
        one = Subscriber(self.hub.next_number(), self.state.user_keys[user], NO_DEVICE, ear, ear, self.state.seq)
        self.hub.connect(one)
        assert self.hub.rejoin(one)
        one.listed_at = T0 / 1_000  # so that its next list waits, and the test can inspect it
        return one

    def lines(self, user: str) -> dict[int, bytes]:
        """Return the lines of a user's chat list, by the chat's key."""
        key, presence = self.state.user_keys[user], Presence()
        return {
            chat.key: msgspec.json.encode(chat_views.list_item(self.state, key, chat, member, None, presence))
            for chat, member in chat_views.listed(self.state, key)
        }


@pytest.fixture
def house() -> House:
    """Groups whose status waits for bob alone, for bob and carol, for nobody; one that bob wrote in; a dialog."""
    house = House()
    log = house.log
    for name in ("bob", "both", "nobody", "his"):
        log.group("alice", "bob", "carol", id_=f"g-{name}")
        log.new("bob" if name == "his" else "alice", f"g-{name}", name)
    log.read("carol", "g-bob")
    log.read("bob", "g-nobody")
    log.read("carol", "g-nobody")
    log.new("alice", "bob", "dialog")
    log.new("bob", "carol", "dialog")
    log.do(None, control.ChangeUser(id="bob", photo_url="/files/BBBB"))
    return house


def test_every_field_of_a_changed_user_is_tested() -> None:
    fields = {field.name for field in msgspec.structs.fields(changes.UserChanged)} - {"key"}
    assert set(CHANGES) == fields


@pytest.mark.parametrize("field", CHANGES)
def test_device_gets_each_line_that_a_user_change_affects(house: House, field: str) -> None:
    if field == "counts_from":
        house.log.do(None, control.ChangeUser(id="bob", disabled=True))
    others = [user for user in USERS if user != "bob"]
    before = {user: house.lines(user) for user in others}
    devices = {user: house.arrive(user) for user in others}
    start = len(house.entries)
    house.log.do(None, control.ChangeUser(id="bob", **CHANGES[field]))
    for user, device in devices.items():
        after = house.lines(user)
        changed = {chat for chat in before[user].keys() | after.keys() if before[user].get(chat) != after.get(chat)}
        assert changed <= set(device.owed), f"{user} is not told"
        notified = [
            entry
            for entry in house.entries[start:]
            if entry.kind in (kinds.CHATS, kinds.USER) and list_readers.changes_list(house.state, entry, device.user)
        ]
        assert {
            chat for entry in notified for chat in list_readers.changed_chats(house.state, entry, device.user)
        } == set(device.owed), f"{user} is told otherwise by a replay"
        assert bool(notified) == any(
            device.user in list_readers.chat_list_readers(house.state, entry) for entry in notified
        )


def test_removed_user_has_no_picture_in_the_lines_and_profiles_of_others(house: House) -> None:
    bob = house.state.users[house.state.user_keys["bob"]]
    assert b"/files/BBBB" in b"".join(house.lines("alice").values())
    house.log.do(None, control.ChangeUser(id="bob", removed=True))
    assert b"/files/BBBB" not in b"".join(house.lines("alice").values())
    assert chat_views.profile(bob).avatar_url is None


def test_disabling_a_member_updates_only_the_author_whose_receipt_completes(house: House) -> None:
    alice, carol, dora = map(house.arrive, ("alice", "carol", "dora"))
    house.log.do(None, control.ChangeUser(id="bob", disabled=True))
    assert house.state.group_keys["g-bob"] in alice.owed
    assert house.state.group_keys["g-nobody"] not in alice.owed, "bob had read it"
    assert not carol.owed
    assert not dora.owed
