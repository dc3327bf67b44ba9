"""Presence and typing, with the time as an argument (PROTOCOL.md, section 4)."""

from relay.core.delivery.typing import MAX_CHATS, TYPING_SECONDS, Typists
from relay.core.rules import commands
from relay.keys import ChatKey, DeviceKey, UserKey
from relay.protocol import requests
from tests.support.hub_house import House
from tests.support.memory_log import T0

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


def test_connecting_user_gets_the_online_contacts(house: House) -> None:
    house.arrive("User1")
    house.arrive("User3")
    house.arrive("User4")
    _, two = house.arrive("User2")
    assert sorted(two.take()) == [("online", "User1"), ("online", "User3")]


def test_connecting_user_sees_a_contact_as_online_who_left_within_the_last_second(house: House) -> None:
    """If that contact comes back in time, nothing more is announced."""
    one, _ = house.arrive("User1")
    house.hub.disconnect(one)
    _, two = house.arrive("User2")
    house.arrive("User1")
    house.later()
    assert two.take() == [("online", "User1")]


def test_users_whose_first_chat_is_created_get_each_others_presence(house: House) -> None:
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


def test_contact_removed_from_the_only_common_chat_within_a_second_goes_offline(
    house: House,
) -> None:
    _, two = house.arrive("User2")
    three, _ = house.arrive("User3")
    house.hub.disconnect(three)
    house.log.do("User2", commands.RemoveParticipants("g-1", ["User3"]))
    house.later()
    assert two.take() == [("online", "User3"), ("offline", "User3")]


def test_user_added_within_a_second_of_leaving_is_online_for_the_group(house: House) -> None:
    _, two = house.arrive("User2")
    four, _ = house.arrive("User4")
    house.hub.disconnect(four)
    house.log.do("User2", commands.AddParticipants("g-1", ["User4"]))
    house.arrive("User4")
    house.later()
    assert two.take() == [("online", "User4")]


def test_a_user_is_online_while_one_of_their_devices_is(house: House) -> None:
    _, two = house.arrive("User2")
    phone, _ = house.arrive("User1", DeviceKey(1))
    laptop, _ = house.arrive("User1", DeviceKey(2))
    assert two.take() == [("online", "User1")]
    house.later()
    house.hub.disconnect(phone)
    assert two.take() == []
    house.hub.disconnect(laptop)
    assert two.take() == [("offline", "User1")]
    house.hub.disconnect(laptop)
    assert two.take() == []


def test_user_with_only_background_devices_is_offline(house: House) -> None:
    _, two = house.arrive("User2")
    phone, ear = house.arrive("User1", DeviceKey(1))
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


def test_background_of_one_device_leaves_the_other_online(house: House) -> None:
    _, two = house.arrive("User2")
    phone, _ = house.arrive("User1", DeviceKey(1))
    house.arrive("User1", DeviceKey(2))
    two.take()
    house.hub.background(phone)
    assert two.take() == []


def test_last_seen_is_when_the_last_device_left(house: House) -> None:
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


def test_typing_event_names_the_chat_by_its_readers_id(house: House) -> None:
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


def test_typing_ends_after_six_seconds(house: House) -> None:
    assert TYPING_SECONDS == 6.0
    _, one = house.arrive("User1")
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    house.hub.start_typing(ChatKey(chat), typist, 100.0)
    house.hub.start_typing(ChatKey(chat), typist, 104.0)
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


def test_message_in_another_chat_does_not_end_typing(house: House) -> None:
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
    house.hub.stop_typing(ChatKey(chat), typist)
    house.hub.start_typing(ChatKey(chat), typist, 100.0)
    house.hub.stop_typing(ChatKey(chat), typist)
    house.hub.stop_typing(ChatKey(chat), typist)
    assert one.take() == [("typing", ("User2", "User2", False)), ("typing", ("User2", "User2", True))]


def test_repeated_typing_is_announced_every_two_and_a_half_seconds(house: House) -> None:
    _, one = house.arrive("User1")
    one.take()
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    for tenth in range(1_000):
        house.hub.start_typing(ChatKey(chat), typist, 100.0 + tenth / 100)
    assert len(one.take()) == 4


def test_typing_that_keeps_stopping_is_announced_no_more_often(house: House) -> None:
    _, one = house.arrive("User1")
    one.take()
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    for tenth in range(1_000):
        house.hub.start_typing(ChatKey(chat), typist, 100.0 + tenth / 100)
        house.hub.stop_typing(ChatKey(chat), typist)
    assert one.take() == 4 * [("typing", ("User2", "User2", False)), ("typing", ("User2", "User2", True))]


def test_typing_that_resumes_soon_is_announced_a_little_later(house: House) -> None:
    _, one = house.arrive("User1")
    one.take()
    chat, typist = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    house.hub.start_typing(ChatKey(chat), typist, 100.0)
    house.hub.stop_typing(ChatKey(chat), typist)
    one.take()
    house.hub.start_typing(ChatKey(chat), typist, 101.0)
    house.hub.tick(102.0)
    assert one.take() == []
    house.hub.tick(102.5)
    assert one.take() == [("typing", ("User2", "User2", False))]


def test_a_user_types_in_a_few_chats_at_a_time() -> None:
    typing = Typists()
    announced = [typing.start(ChatKey(chat), UserKey(1), chat / 1_000) for chat in range(1_000)]
    assert announced.count(True) == len(typing) == MAX_CHATS
    assert typing.start(ChatKey(1), UserKey(2), 1.0), "somebody else is none of it"
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


def test_users_who_no_longer_share_a_chat_go_offline_for_each_other(house: House) -> None:
    """Otherwise a user who left meanwhile would stay online for those who share a chat with them again."""
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


def test_typing_in_a_dialog_is_not_sent_to_a_user_who_cleared_it(house: House) -> None:
    _, one = house.arrive("User1")
    chat, user = house.log.key("User2", "User1"), house.log.state.user_keys["User2"]
    one.take()
    house.log.do("User1", commands.DeleteChat("User2"))
    house.hub.start_typing(ChatKey(chat), user, house.now / 1_000)
    assert one.take() == [], "the chat is not in their list"
    house.log.new("User2", "User1", "c-back")
    house.hub.start_typing(ChatKey(chat), user, house.now / 1_000 + 3)
    assert ("User2", "User2", False) in [what for event, what in one.take() if event == "typing"]
