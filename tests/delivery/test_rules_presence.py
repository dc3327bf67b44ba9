"""Who is online and who is typing, with the time handed in (section 4)."""

import json
from typing import Any

import pytest

from relay.core.delivery.hub import Hub
from relay.core.delivery.subscriber import Receipt, Subscriber
from relay.core.delivery.typing import MAX_CHATS, SILENCE_SECONDS, Typists
from relay.core.rules import commands
from relay.protocol import control, requests
from relay.store import kinds
from tests.support.memory_log import T0, MemoryLog


class Ear:
    """An outlet that keeps what it is told."""

    waiting = (0, 0.0)

    def __init__(self) -> None:
        self.full = False
        self.heard: list[dict[str, Any]] = []
        self.is_behind = False
        self.closed: int | None = None

    def put(self, frame: bytes) -> None:
        self.heard.append(json.loads(frame))

    def offer(self, frame: bytes) -> bool:
        if not self.full:
            self.put(frame)
        return not self.full

    def flush(self) -> None:
        """All is out already."""

    def start_catch_up(self) -> None:
        self.is_behind = True

    def close(self, code: int, _reason: str) -> None:
        self.closed = code

    def take(self) -> list[tuple[str, Any]]:
        """What was heard since the last time, as (event, what of it matters)."""
        heard, self.heard = self.heard, []
        return [(frame["eventType"], _told(frame["payload"])) for frame in heard]


def _told(payload: dict[str, Any]) -> Any:
    if "stop" in payload or payload.keys() == {"userId", "chatId"}:
        return payload["userId"], payload["chatId"], payload.get("stop", False)
    return payload.get("messageId", payload.get("userId"))


class House:
    """A hub over a log in memory, and devices that come and go."""

    def __init__(self) -> None:
        self.log = MemoryLog(self.apply)
        self.now = T0
        self.hub = Hub(self.log.state, lambda: self.now, bytes, lambda: self.now / 1_000)
        self.log.add_users("User1", "User2", "User3", "User4")
        self.log.new("User1", "User2", "c1")
        self.log.group("User2", "User3")

    def apply(self, entry: Any) -> None:
        self.log.state.apply(entry)
        self.hub.publish(entry)
        self.hub.flush()

    def later(self, seconds: float = 1.0) -> None:
        """Let time go by, and have told what is due."""
        self.now += round(seconds * 1_000)
        self.hub.tick(self.now / 1_000)

    def arrive(self, user: str, device: int = 1) -> tuple[Subscriber, Ear]:
        ear = Ear()
        key = self.log.state.user_keys[user]
        subscriber = Subscriber(self.hub.next_number(), key, device, ear, ear, self.log.state.seq)
        self.hub.connect(subscriber)
        self.hub.rejoin(subscriber)
        return subscriber, ear


@pytest.fixture
def house() -> House:
    return House()


# Presence.


def test_presence_changes_go_to_everybody_who_shares_a_chat(house: House) -> None:
    _, two = house.arrive("User2")
    _, three = house.arrive("User3")
    _, four = house.arrive("User4")
    two.take()
    one, _ = house.arrive("User1")
    house.later()
    house.hub.disconnect(one)
    assert two.take() == [("online", "User1"), ("offline", "User1")]
    assert three.take() == [("online", "User2")]
    assert four.take() == []


def test_a_user_who_connects_gets_the_online_contacts(house: House) -> None:
    house.arrive("User1")
    house.arrive("User3")
    house.arrive("User4")
    _, two = house.arrive("User2")
    assert sorted(two.take()) == [("online", "User1"), ("online", "User3")]


def test_users_who_come_to_share_a_chat_get_each_others_presence(house: House) -> None:
    phone, one = house.arrive("User1")
    _, three = house.arrive("User3")
    _, four = house.arrive("User4")
    house.log.new("User1", "User4", "hello")
    assert (one.take(), four.take()) == ([("online", "User4")], [("online", "User1")])
    house.log.group("User3", "User1", "User2", id_="g-2")
    assert (one.take(), three.take(), four.take()) == ([("online", "User3")], [("online", "User1")], [])
    house.log.do("User1", requests.CreateChat(type="group", name="Those who know", participants=["User3"]), "g-3")
    assert (one.take(), three.take()) == ([], [])
    house.hub.background(phone)
    four.take()
    three.take()
    house.log.do("User3", commands.AddParticipants("g-2", ["User4"]))
    assert (one.take(), three.take(), four.take()) == ([], [("online", "User4")], [("online", "User3")])


def test_a_user_is_online_while_one_of_their_devices_is(house: House) -> None:
    _, two = house.arrive("User2")
    phone, _ = house.arrive("User1", 1)
    laptop, _ = house.arrive("User1", 2)
    assert two.take() == [("online", "User1")]
    house.later()
    house.hub.disconnect(phone)
    assert two.take() == []
    house.hub.disconnect(laptop)
    assert two.take() == [("offline", "User1")]
    house.hub.disconnect(laptop)
    assert two.take() == []


def test_a_device_in_the_background_is_not_there(house: House) -> None:
    _, two = house.arrive("User2")
    phone, ear = house.arrive("User1", 1)
    two.take()
    house.later()
    house.hub.background(phone)
    house.hub.background(phone)
    assert two.take() == [("offline", "User1")]
    house.later()
    ear.take()
    house.log.new("User2", "User1", "c2")
    assert ear.take() == [("new", 2)]
    two.take()
    house.hub.foreground(phone)
    assert two.take() == [("online", "User1")]
    house.later()
    house.hub.background(phone)
    house.hub.disconnect(phone)
    assert two.take() == [("offline", "User1")]


def test_the_background_of_one_device_leaves_the_other(house: House) -> None:
    _, two = house.arrive("User2")
    phone, _ = house.arrive("User1", 1)
    house.arrive("User1", 2)
    two.take()
    house.hub.background(phone)
    assert two.take() == []


def test_last_seen_is_when_the_last_device_went(house: House) -> None:
    phone, _ = house.arrive("User1")
    key = house.log.state.user_keys["User1"]
    assert house.hub.presence.last(key) is None
    house.now += 5_000
    house.hub.disconnect(phone)
    house.now += 5_000
    assert house.hub.presence.last(key) == T0 + 5_000


def test_presence_is_dropped_for_a_connection_that_is_full(house: House) -> None:
    _, two = house.arrive("User2")
    two.full = True
    house.arrive("User1")
    assert two.take() == []


# Typing.


def test_a_typing_event_names_the_chat_as_its_reader_knows_it(house: House) -> None:
    _, one = house.arrive("User1")
    _, two = house.arrive("User2")
    _, three = house.arrive("User3")
    for ear in (one, two, three):
        ear.take()
    typist = house.log.state.user_keys["User2"]
    house.hub.start_typing(house.log.key("User2", "User1"), typist, 100.0)
    house.hub.start_typing(house.log.key("User2", "g-1"), typist, 100.0)
    assert one.take() == [("typing", ("User2", "User2", False))]
    assert three.take() == [("typing", ("User2", "g-1", False))]
    assert two.take() == []


def test_a_typist_falls_silent_after_six_seconds(house: House) -> None:
    assert SILENCE_SECONDS == 6.0
    _, one = house.arrive("User1")
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    house.hub.start_typing(chat, typist, 100.0)
    house.hub.start_typing(chat, typist, 104.0)
    one.take()
    house.hub.tick(109.9)
    assert one.take() == []
    house.hub.tick(110.0)
    house.hub.tick(120.0)
    assert one.take() == [("typing", ("User2", "User2", True))]


def test_a_message_ends_typing_before_it_is_published(house: House) -> None:
    _, one = house.arrive("User1")
    house.hub.start_typing(house.log.key("User2", "User1"), house.log.state.user_keys["User2"], 100.0)
    one.take()
    house.log.new("User2", "User1", "c2")
    assert one.take() == [("typing", ("User2", "User2", True)), ("new", 2)]


def test_a_message_elsewhere_does_not(house: House) -> None:
    _, one = house.arrive("User1")
    house.hub.start_typing(house.log.key("User2", "User1"), house.log.state.user_keys["User2"], 100.0)
    one.take()
    house.log.new("User2", "g-1", "c2")
    assert one.take() == []


def test_a_user_who_goes_offline_stops_typing(house: House) -> None:
    _, one = house.arrive("User1")
    two, _ = house.arrive("User2")
    house.later()
    house.hub.start_typing(house.log.key("User2", "User1"), house.log.state.user_keys["User2"], 100.0)
    one.take()
    house.hub.disconnect(two)
    assert one.take() == [("typing", ("User2", "User2", True)), ("offline", "User2")]


def test_a_stop_is_announced_once_and_only_for_a_user_who_typed(house: House) -> None:
    _, one = house.arrive("User1")
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    house.hub.stop_typing(chat, typist)
    house.hub.start_typing(chat, typist, 100.0)
    house.hub.stop_typing(chat, typist)
    house.hub.stop_typing(chat, typist)
    assert one.take() == [("typing", ("User2", "User2", False)), ("typing", ("User2", "User2", True))]


def test_repeated_typing_is_announced_every_two_and_a_half_seconds(house: House) -> None:
    _, one = house.arrive("User1")
    one.take()
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    for tenth in range(1_000):
        house.hub.start_typing(chat, typist, 100.0 + tenth / 100)
    assert len(one.take()) == 4


def test_typing_that_keeps_stopping_is_announced_no_more_often(house: House) -> None:
    _, one = house.arrive("User1")
    one.take()
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    for tenth in range(1_000):
        house.hub.start_typing(chat, typist, 100.0 + tenth / 100)
        house.hub.stop_typing(chat, typist)
    assert one.take() == 4 * [("typing", ("User2", "User2", False)), ("typing", ("User2", "User2", True))]


def test_typing_that_resumes_soon_is_announced_a_little_later(house: House) -> None:
    _, one = house.arrive("User1")
    one.take()
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    house.hub.start_typing(chat, typist, 100.0)
    house.hub.stop_typing(chat, typist)
    one.take()
    house.hub.start_typing(chat, typist, 101.0)
    house.hub.tick(102.0)
    assert one.take() == []
    house.hub.tick(102.5)
    assert one.take() == [("typing", ("User2", "User2", False))]


def test_a_user_types_in_a_few_chats_at_a_time() -> None:
    typing = Typists()
    told = [typing.start(chat, 1, chat / 1_000) for chat in range(1_000)]
    assert told.count(True) == len(typing) == MAX_CHATS
    assert typing.start(1, 2, 1.0), "somebody else is none of it"
    typing.due(20.0)
    assert not typing


def test_frequent_presence_changes_are_announced_once_a_second(house: House) -> None:
    _, two = house.arrive("User2")
    phone, _ = house.arrive("User1")
    house.later()
    two.take()
    for _ in range(100):
        for _ in range(20):
            house.hub.background(phone)
            house.hub.foreground(phone)
        house.hub.background(phone)
        house.later(0.1)
        house.hub.foreground(phone)
    assert 0 < len(two.take()) <= 11
    house.later()
    house.later()
    assert two.take() in ([], [("online", "User1")])
    house.hub.background(phone)
    house.later()
    assert two.take()[-1] == ("offline", "User1")


# Who is told of what is on disk.


def test_an_event_goes_to_every_device_except_its_own(house: House) -> None:
    sender, sending = house.arrive("User1", 1)
    _, other = house.arrive("User1", 2)
    _, two = house.arrive("User2", 3)
    for ear in (sending, other, two):
        ear.take()
    said = requests.New(chat_id="User2", client_message_id="c2", message="x")
    key = house.log.state.user_keys["User1"]
    house.log.run(commands.Command(T0, key, 1, said, sender.number))
    assert (sending.take(), other.take(), two.take()) == ([], [("new", 2)], [("new", 2)])


def test_a_message_is_delivered_to_everybody_but_its_author(house: House) -> None:
    other, _ = house.arrive("User1", 2)
    two, _ = house.arrive("User2", 3)
    house.log.new("User1", "User2", "c2")
    seq = house.log.state.seq
    receipts = [one.acknowledge(seq) for one in (other, two)]
    assert [receipt.message_id for receipt in receipts if receipt] == [0, 2]


def test_a_mark_goes_to_the_authors_and_a_read_to_the_readers_other_devices(house: House) -> None:
    _, one = house.arrive("User1", 1)
    _, two = house.arrive("User2")
    for ear in (one, two):
        ear.take()
    house.log.dlvrd("User2", "User1")
    assert (one.take(), two.take()) == ([("dlvrd", 1)], [])
    house.log.read("User2", "User1")
    assert (one.take(), two.take()) == ([("read", 1)], [("read", 1)])
    house.log.read("User2", "User1", 1)
    assert (one.take(), two.take()) == ([], [])


def test_a_changed_chat_list_is_read_from_the_log_in_its_place(house: House) -> None:
    _, one = house.arrive("User1", 1)
    four, fourth = house.arrive("User4", 2)
    house.log.new("User4", "User1", "c1")
    assert one.is_behind
    assert fourth.is_behind
    assert not four.live


def test_a_revoked_device_is_disconnected(house: House) -> None:
    device = house.log.do(None, commands.AddDevice(house.log.state.user_keys["User1"], "phone", "hash")).device
    _, phone = house.arrive("User1", device)
    _, laptop = house.arrive("User1", 77)
    _, two = house.arrive("User2", 78)
    house.log.do(None, control.RevokeDevice(device_id=device))
    assert (phone.closed, laptop.closed) == (4401, None)
    house.log.do(None, control.ChangeUser(id="User1", disabled=True))
    assert (laptop.closed, two.closed) == (4401, None)


# What is remembered.


def test_no_more_is_remembered_than_may_be_however_long_the_texts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.core.delivery.recent.MAX_ENTRIES", 5)
    monkeypatch.setattr("relay.core.delivery.recent.MAX_CHARACTERS", 30)
    for n in range(8):
        house.log.new("User1", "User2", f"short {n}", "x")
    assert [entry.message_id for entry in house.hub.recent.entries] == [5, 6, 7, 8, 9]
    for n in range(4):
        house.log.new("User1", "User2", f"long {n}", "x" * 10)
    assert [entry.message_id for entry in house.hub.recent.entries] == [11, 12, 13]
    house.log.do("User1", requests.Edit(chat_id="User2", original_message_id=12, message="y"))
    house.log.new("User1", "User2", "after", "x" * 9)
    assert [entry.message_id for entry in house.hub.recent.entries] == [12, 13, 14, 15], (
        "an edit counts as what it left"
    )


def test_entries_read_earlier_are_refreshed_only_while_all_later_ones_are_in_memory(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = house.log.state.seq
    read = [entry for entry in house.log.entries if entry.kind == kinds.NEW]
    assert house.hub.recent.refresh(read, since)
    house.log.do("User1", requests.Edit(chat_id="User2", original_message_id=1, message="better"))
    assert house.hub.recent.refresh(read, since)
    assert [entry.message for entry in read] == ["better"]
    monkeypatch.setattr("relay.core.delivery.recent.MAX_ENTRIES", 2)
    house.log.new("User1", "User2", "c2")
    assert house.hub.recent.refresh(read, since)
    house.log.new("User1", "User2", "c3")
    assert not house.hub.recent.refresh(read, since)


# Acknowledgements.


def subscriber() -> Subscriber:
    one = Subscriber(1, 1, 1, Ear(), Ear(), 10)
    for seq in (12, 15, 17):
        one.replayed(b'{"eventType":"new","payload":{}}', Receipt(seq, 1, seq))
    return one


def test_the_cursor_follows_acknowledgements_without_gaps() -> None:
    one = subscriber()
    assert one.cursor == 11, "there is none before that"
    one.acknowledge(15)
    assert one.cursor == 11
    one.acknowledge(12)
    assert one.cursor == 16
    one.acknowledge(17)
    assert one.cursor == 17


def test_an_acknowledgement_counts_once_and_only_for_a_sent_event() -> None:
    one = subscriber()
    assert one.acknowledge(99) is None
    assert one.acknowledge(15) == Receipt(15, 1, 15)
    assert one.acknowledge(15) is None
    assert one.acknowledge(12) == Receipt(12, 1, 12)
    assert one.acknowledge(12) is None
    assert one.cursor == 16


def test_a_client_that_never_acknowledges_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.core.delivery.subscriber.MAX_UNACKNOWLEDGED", 3)
    one = subscriber()
    one.replayed(b'{"eventType":"new","payload":{}}', Receipt(20, 1, 20))
    for seq in (12, 15, 17, 20):
        one.acknowledge(seq)
    assert one.cursor == 11


def test_users_who_no_longer_share_a_chat_go_offline_for_each_other(house: House) -> None:
    """Else somebody who went away meanwhile was online for good to those they come back to."""
    (_, two), (_, three) = house.arrive("User2"), house.arrive("User3")
    two.take()
    three.take()
    house.log.do("User2", commands.RemoveParticipants("g-1", ["User3"]))
    assert ("offline", "User3") in two.take()
    assert ("offline", "User2") in three.take()


def test_users_who_share_another_chat_stay_online_for_each_other(house: House) -> None:
    house.log.new("User3", "User2", "d1")
    (_, two), (_, three) = house.arrive("User2"), house.arrive("User3")
    two.take()
    three.take()
    house.log.do("User2", commands.DeleteChat("g-1"))
    assert not [one for one in (*two.take(), *three.take()) if one[0] == "offline"]


# Large chats.


class Unwalked(dict[int, Any]):
    """The members of a chat, who may be looked up and not be walked."""

    def __iter__(self) -> Any:
        raise AssertionError("all members of a chat were walked")

    keys = items = values = __iter__


def test_who_is_online_is_announced_without_a_walk_through_members_who_are_not_connected(house: House) -> None:
    """A member of many large chats stopped the relay for as long as that took."""
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


def test_newcomers_to_a_large_chat_are_announced_some_pairs_a_tick(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once it stopped the relay for more than a second."""
    monkeypatch.setattr("relay.core.delivery.announcements.SLICE_PAIRS", 20)
    people = [f"Guest{number}" for number in range(30)]
    house.log.add_users(*people)
    ears = [house.arrive(user)[1] for user in people]
    house.log.group("User1", *people, id_="g-many")

    def told() -> int:
        return sum(event == "online" for ear in ears for event, _ in ear.take())

    assert told() == 0
    most = total = 0
    while house.hub.announcements.pending:
        house.later(0.2)
        most = max(most, now := told())
        total += now
    assert total == 30 * 29, "each is told of each other one, once"
    assert most <= 2 * (20 + 30)


def test_members_of_a_deleted_large_chat_go_offline_some_pairs_a_tick(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"Guest{number}" for number in range(30)]
    house.log.add_users(*people)
    house.log.group("User1", *people, id_="g-many")
    ears = [house.arrive(user)[1] for user in people]
    house.later()
    for ear in ears:
        ear.take()
    made = 0
    real = type(house.hub.announcements)._offline

    def counted(*arguments: Any) -> bytes:
        nonlocal made
        made += 1
        return real(*arguments)

    monkeypatch.setattr("relay.core.delivery.announcements.SLICE_PAIRS", 20)
    monkeypatch.setattr(type(house.hub.announcements), "_offline", counted)
    house.log.do("User1", commands.DeleteChat("g-many"))
    while house.hub.announcements.pending:
        house.later(0.2)
    assert [len([event for event, _ in ear.take() if event == "offline"]) for ear in ears] == [29] * 30
    assert made < 30 * 29, "a frame is made for many"


@pytest.mark.parametrize("way", ["disconnect", "background"])
@pytest.mark.parametrize("shares_again", [False, True])
def test_a_user_who_leaves_while_pairs_of_a_deleted_chat_wait_is_offline_for_all_its_members(
    house: House, monkeypatch: pytest.MonkeyPatch, way: str, shares_again: bool
) -> None:
    monkeypatch.setattr("relay.core.delivery.announcements.SLICE_PAIRS", 20)
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


def test_typing_in_a_dialog_is_not_sent_to_a_user_who_cleared_it(house: House) -> None:
    _, one = house.arrive("User1")
    chat, user = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    one.take()
    house.log.do("User1", commands.DeleteChat("User2"))
    house.hub.start_typing(chat, user, house.now / 1_000)
    assert one.take() == [], "the chat is not in their list"
    house.log.new("User2", "User1", "c-back")
    house.hub.start_typing(chat, user, house.now / 1_000 + 3)
    assert ("User2", "User2", False) in [what for event, what in one.take() if event == "typing"]


class SlicedHouse(House):
    """A house whose entries are sent in slices, one member each, as far as a test goes on with them."""

    origin = 0

    def apply(self, entry: Any) -> None:
        entry.origin = self.origin
        self.log.state.apply(entry)
        self.rest = self.hub.publish(entry)
        self.entry = entry


def sliced(monkeypatch: pytest.MonkeyPatch) -> SlicedHouse:
    house = SlicedHouse()
    monkeypatch.setattr("relay.core.delivery.hub.SLICE_CONNECTIONS", 1)
    monkeypatch.setattr("relay.core.delivery.hub.SLICE_MEMBERS", 1)
    return house


def test_a_chat_list_that_is_owed_waits_until_an_entry_has_gone_to_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the list took the id of the entry, and the entry was taken for sent."""
    house = sliced(monkeypatch)
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
    wanted: list[int] = []
    house.hub.list_changes.request_entry = lambda user, _chat: wanted.append(user)
    house.later(2.0)
    assert three.user in wanted, "its list comes after the entry"


def test_a_connection_knows_its_own_entry_before_it_goes_to_anybody_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    house = sliced(monkeypatch)
    house.arrive("User2")
    three, _ = house.arrive("User3")
    three.fall_behind(three.position)
    house.origin = three.number
    house.log.new("User3", "g-1", "c2")
    assert house.rest is not None
    next(house.rest, None)
    assert house.entry.seq in three.own_entries
