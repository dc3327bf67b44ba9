"""Receipts are decided without the store and in bounded memory, however many chats are busy."""

from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.core.model.tail import ALL_TAIL_MESSAGES
from relay.keys import ChatKey, DeviceKey, UserKey
from relay.store import kinds
from relay.store.entry import Entry

USER = UserKey(1)


def busy(chats: int, messages: int, most: int = ALL_TAIL_MESSAGES) -> State:
    state = State()
    state.all_tail_messages = most
    for key in map(ChatKey, range(1, chats + 1)):
        state.add_chat(
            Chat(key=key, id=f"g-{key}", type="group", owner=USER), {UserKey(1): Member(), UserKey(2): Member()}
        )
    seq = 0
    for message in range(1, messages + 1):
        for key in map(ChatKey, range(1, chats + 1)):
            seq += 1
            state.apply(Entry(seq, kinds.NEW, key, message, USER, DeviceKey(1), seq, client_id=f"c{seq}"))
    return state


def test_a_thousand_busy_chats_all_have_their_tail() -> None:
    assert len(busy(1_000, 3).tails) == 1_000


def test_tails_stay_within_their_bounds() -> None:
    state = busy(30, 10, most=100)
    held = sum(len(tail.messages) for tail in state.tails.values())
    assert held == state.tailed <= 100
    chat, tail = next(iter(state.tails.items()))
    message = next(iter(tail.messages))
    state.apply(Entry(10_000, kinds.DELETE, ChatKey(chat), 11, USER, DeviceKey(1), 10_000, target=message, extra="1"))
    assert state.tailed == held - 1
