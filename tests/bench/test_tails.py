"""Receipts are decided without the store and in bounded memory, however many chats are busy."""

import tracemalloc
from sys import getsizeof

from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.core.model.tail import ALL_TAIL_BYTES, MESSAGE_BYTES, TAIL_BYTES
from relay.keys import ChatKey, DeviceKey, UserKey
from relay.store import kinds
from relay.store.entry import Entry

USER = UserKey(1)


def busy(chats: int, messages: int, most: int = ALL_TAIL_BYTES, client_id: str = "c") -> State:
    state = State()
    state.all_tail_bytes = most
    for key in map(ChatKey, range(1, chats + 1)):
        state.add_chat(
            Chat(key=key, id=f"g-{key}", type="group", owner=USER), {UserKey(1): Member(), UserKey(2): Member()}
        )
    seq = 0
    for message in range(1, messages + 1):
        for key in map(ChatKey, range(1, chats + 1)):
            seq += 1
            state.apply(Entry(seq, kinds.NEW, key, message, USER, DeviceKey(1), seq, client_id=f"{client_id}{seq}"))
    return state


def test_a_thousand_busy_chats_all_have_their_tail() -> None:
    assert len(busy(1_000, 3).tails) == 1_000


def counted(state: State) -> int:
    return sum(
        TAIL_BYTES + sum(MESSAGE_BYTES + getsizeof(client_id) for _, client_id in tail.messages.values())
        for tail in state.tails.values()
    )


def test_tails_stay_within_their_bounds() -> None:
    state = busy(30, 10, most=20_000)
    held = counted(state)
    assert 15_000 < held == state.tail_bytes <= 20_000
    chat, tail = next(iter(state.tails.items()))
    message = next(iter(tail.messages))
    state.apply(Entry(10_000, kinds.DELETE, ChatKey(chat), 11, USER, DeviceKey(1), 10_000, target=message, extra="1"))
    assert counted(state) == state.tail_bytes < held


def test_tails_with_long_client_ids_hold_no_more_memory_than_they_may() -> None:
    """A client id of 128 characters of which one is an emoji takes 588 bytes."""
    most = 1_000_000
    tracemalloc.start()
    try:
        state = busy(100, 50, most, "😀" + "x" * 120)
        with_tails = tracemalloc.get_traced_memory()[0]
        state.tails.clear()
        held = with_tails - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert most * 0.7 < held <= most


def test_a_bound_smaller_than_any_tail_leaves_none() -> None:
    state = busy(3, 3, most=100)
    assert (state.tails, state.tail_bytes) == ({}, 0)
