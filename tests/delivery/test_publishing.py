"""The hub: events of entries on disk, remembered entries, and large chats."""

from typing import Any

import pytest

from relay.core.rules import commands
from relay.keys import DeviceKey, UserKey
from relay.protocol import codec, control, requests
from relay.store import kinds
from relay.store.command import Command
from tests.support.hub_house import House
from tests.support.memory_log import T0

# Recipients of an entry.


def test_an_event_goes_to_every_device_except_its_own(house: House) -> None:
    sender, sending = house.arrive("User1", DeviceKey(1))
    _, other = house.arrive("User1", DeviceKey(2))
    _, two = house.arrive("User2", DeviceKey(3))
    for ear in (sending, other, two):
        ear.take()
    said = requests.New(chat_id="User2", client_message_id="c2", message="x")
    key = house.log.state.user_keys["User1"]
    house.log.run(Command(T0, key, DeviceKey(1), said, sender.number))
    assert (sending.take(), other.take(), two.take()) == ([], [("new", 2)], [("new", 2)])


def test_a_message_is_delivered_to_everybody_but_its_author(house: House) -> None:
    other, _ = house.arrive("User1", DeviceKey(2))
    two, _ = house.arrive("User2", DeviceKey(3))
    house.log.new("User1", "User2", "c2")
    seq = house.log.state.seq
    receipts = [one.acknowledge(seq) for one in (other, two)]
    assert [receipt.message_id for receipt in receipts if receipt] == [0, 2]


def test_receipt_goes_to_the_authors_and_a_read_receipt_to_the_readers_other_devices(house: House) -> None:
    _, one = house.arrive("User1", DeviceKey(1))
    _, two = house.arrive("User2")
    for ear in (one, two):
        ear.take()
    house.log.dlvrd("User2", "User1")
    assert (one.take(), two.take()) == ([("dlvrd", 1)], [])
    house.log.read("User2", "User1")
    assert (one.take(), two.take()) == ([("read", 1)], [("read", 1)])
    house.log.read("User2", "User1", 1)
    assert (one.take(), two.take()) == ([], [])


def test_changed_chat_list_is_read_from_the_log_in_order(house: House) -> None:
    _, one = house.arrive("User1", DeviceKey(1))
    four, fourth = house.arrive("User4", DeviceKey(2))
    house.log.new("User4", "User1", "c1")
    assert one.is_behind
    assert fourth.is_behind
    assert not four.live


def test_a_revoked_device_is_disconnected(house: House) -> None:
    device = house.log.do(None, commands.AddDevice(house.log.state.user_keys["User1"], "phone", "hash")).device
    _, phone = house.arrive("User1", device)
    _, laptop = house.arrive("User1", DeviceKey(77))
    _, two = house.arrive("User2", DeviceKey(78))
    house.log.do(None, control.RevokeDevice(device_id=device))
    assert (phone.closed, laptop.closed) == (4401, None)
    house.log.do(None, control.ChangeUser(id="User1", disabled=True))
    assert (laptop.closed, two.closed) == (4401, None)


# Entries kept in memory.


def test_entries_read_earlier_are_refreshed_only_while_all_later_ones_are_in_memory(house: House) -> None:
    since = house.log.state.seq
    read = [entry for entry in house.log.entries if entry.kind == kinds.NEW]
    assert house.hub.recent.refresh(read, since)
    house.log.do("User1", requests.Edit(chat_id="User2", original_message_id=1, message="better"))
    assert house.hub.recent.refresh(read, since)
    assert [entry.message for entry in read] == ["better"]
    house.hub.tuning.recent_entries = 2
    house.log.new("User1", "User2", "c2")
    assert house.hub.recent.refresh(read, since)
    house.log.new("User1", "User2", "c3")
    assert not house.hub.recent.refresh(read, since)


# Large chats.


class Unwalked(dict[UserKey, Any]):
    """The members of a chat; they may be looked up but not iterated."""

    def __iter__(self) -> Any:
        raise AssertionError("all members of a chat were walked")

    keys = items = values = __iter__


def test_presence_is_announced_without_visiting_members_who_are_offline(house: House) -> None:
    """This once stalled the relay for a member of many large chats."""
    house.log.add_users("Newcomer")
    (_, two), (_, four) = house.arrive("User2"), house.arrive("User4")
    large = house.log.state.group_keys["g-1"]
    house.log.state.members[large] = Unwalked(house.log.state.members[large])
    house.log.group("User2", "User4", id_="g-new")
    assert ("online", "User4") in two.take()
    assert ("online", "User2") in four.take()
    three, ear = house.arrive("User3")
    assert ("online", "User2") in ear.take()
    assert ("online", "User3") in two.take()
    house.later()
    house.hub.disconnect(three)
    assert ("offline", "User3") in two.take()


def test_newcomers_to_a_large_chat_are_announced_in_portions(house: House) -> None:
    """All at once, this stalled the relay for more than a second."""
    house.hub.tuning.slice_pairs = 20
    people = [f"Guest{number}" for number in range(30)]
    house.log.add_users(*people)
    ears = [house.arrive(user)[1] for user in people]
    house.log.group("User1", *people, id_="g-many")

    def online_events() -> int:
        return sum(event == "online" for ear in ears for event, _ in ear.take())

    assert online_events() == 0
    most = total = 0
    while house.hub.announcements.pending:
        house.later(0.2)
        most = max(most, now := online_events())
        total += now
    assert total == 30 * 29, "each is told of each other one, once"
    assert most <= 2 * (20 + 30)


def test_members_of_a_deleted_large_chat_go_offline_in_portions(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [f"Guest{number}" for number in range(30)]
    house.log.add_users(*people)
    house.log.group("User1", *people, id_="g-many")
    ears = [house.arrive(user)[1] for user in people]
    house.later()
    for ear in ears:
        ear.take()
    made, encode = 0, codec.event

    def counted(name: str, *rest: Any, **options: Any) -> bytes:
        nonlocal made
        made += name == "offline"
        return encode(name, *rest, **options)

    house.hub.tuning.slice_pairs = 20
    monkeypatch.setattr(codec, "event", counted)
    house.log.do("User1", commands.DeleteChat("g-many"))
    while house.hub.announcements.pending:
        house.later(0.2)
    assert [len([event for event, _ in ear.take() if event == "offline"]) for ear in ears] == [29] * 30
    assert made < 30 * 29, "a frame is made for many"


@pytest.mark.parametrize("way", ["disconnect", "background"])
@pytest.mark.parametrize("shares_again", [False, True])
def test_user_who_leaves_with_offline_pairs_waiting_is_offline_for_all_members(
    house: House, way: str, shares_again: bool
) -> None:
    house.hub.tuning.slice_pairs = 20
    people = [f"Guest{number}" for number in range(30)]
    house.log.add_users(*people)
    house.log.group("User1", *people, id_="g-many")
    devices = [house.arrive(user) for user in people]
    house.later()
    for _, ear in devices:
        ear.take()
    house.log.do("User1", commands.DeleteChat("g-many"))
    leaver, _ = devices[-1]
    getattr(house.hub, way)(leaver)
    if shares_again:
        house.log.group("User1", *people[-3:], id_="g-few")
    while house.hub.announcements.pending:
        house.later(0.2)
    last_heard = [[event for event, user in ear.take() if user == "Guest29"][-1:] for _, ear in devices[:-1]]
    assert last_heard == [["offline"]] * 29


class SlicedHouse(House):
    """A relay that sends entries in slices of one member each, each at the test's request."""

    origin = 0

    def apply(self, entry: Any) -> None:
        entry.origin = self.origin
        self.log.state.apply(entry)
        self.rest = self.hub.publish(entry)
        self.entry = entry


def sliced() -> SlicedHouse:
    house = SlicedHouse()
    house.hub.tuning.slice_connections = house.hub.tuning.slice_members = 1
    return house


def test_chat_list_waits_until_an_entry_has_gone_to_everybody() -> None:
    """Otherwise the list would take the id of the entry, and the entry would count as sent."""
    house = sliced()
    two, _ = house.arrive("User2")
    three, ear = house.arrive("User3")
    two.listed_at = three.listed_at = house.now / 1_000
    house.log.do("User2", requests.UpdateChat(chat_id="g-1", name="other"))
    for _step in house.rest or ():
        pass
    assert three.live
    assert three.owed
    house.log.new("User2", "g-1", "c2")
    assert house.rest is not None
    next(house.rest, None)
    house.later(2.0)
    for _step in house.rest:
        pass
    assert house.entry.seq in [event.get("id") and int(event["id"]) for event in ear.heard]
    wanted = house.later(2.0)
    assert three.user in [user for user, _chat in wanted], "its list comes after the entry"


def test_connection_knows_its_own_entry_before_it_is_sent_in_slices() -> None:
    house = sliced()
    house.arrive("User2")
    three, _ = house.arrive("User3")
    three.fall_behind(three.position)
    house.origin = three.number
    house.log.new("User3", "g-1", "c2")
    assert house.rest is not None
    next(house.rest, None)
    assert house.entry.seq in three.own_entries
