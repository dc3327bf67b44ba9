"""Memory of the latest entries: bounded in bytes, whatever holds them."""

import tracemalloc
from collections.abc import Callable
from sys import getsizeof

import msgspec
import pytest

from relay.core.model import changes
from relay.core.model.held import ENTRY_BYTES
from relay.core.model.recent import RecentEntries
from relay.core.model.state import State
from relay.core.tuning import DeliveryTuning
from relay.keys import ChatKey, DeviceKey, UserKey
from relay.protocol.objects import Attachment, AttachmentMeta, ReplyTo
from relay.protocol.requests import Edit
from relay.store import kinds
from relay.store.entry import Covered, Entry, Extra, covered_column
from tests.support.hub_house import House

BOUND = 4 * 2**20
CHAT, USER, DEVICE = ChatKey(1), UserKey(1), DeviceKey(1)


def entry(seq: int, kind: int = kinds.NEW, **fields: object) -> Entry:
    return Entry(seq, kind, CHAT, seq, USER, DEVICE, 1_767_225_600_000 + seq, client_key=2**60 + seq, **fields)  # type: ignore[arg-type]


def with_text(seq: int) -> Entry:
    return entry(seq, message="x" * 20_000 + str(seq))


def with_emoji(seq: int) -> Entry:
    return entry(seq, message="x" * 20_000 + "😀" + str(seq))


def with_client_id(seq: int) -> Entry:
    return entry(seq, client_id="😀" * 120 + str(seq), message="hi")


def with_attachments(seq: int, mark: str = "x") -> Entry:
    meta = AttachmentMeta(extension=f"e{seq}" * 20, mimetype=f"m{seq}" * 20, width=500, height=500, size=2**40)
    attachments = [
        Attachment(
            type="file", id=f"{n} {seq}", filename=f"{n} {seq}", url=f"http://{mark}/{n}/{seq}".ljust(2_000), meta=meta
        )
        for n in range(32)
    ]
    extra = Extra(attachments=attachments).column()
    assert extra is not None
    return entry(seq, extra=extra, attachments=msgspec.json.decode(extra, type=Extra).attachments)


def with_emoji_in_attachments(seq: int) -> Entry:
    return with_attachments(seq, "😀")


def with_edited_attachments(seq: int) -> Entry:
    changed = with_attachments(seq)
    changed.kind, changed.target, changed.extra = kinds.EDIT, seq, None
    return changed


def with_quote(seq: int) -> Entry:
    quoted = ReplyTo(
        message_id=1,
        client_message_id="😀" * 100 + str(seq),
        message="x😀" * 499 + str(seq),
        sender="u",
        created_at=seq,
    )
    return entry(seq, message="hi", reply_to=quoted, target=1)


def with_forwarded(seq: int) -> Entry:
    return entry(seq, message="hi", forwarded=f"{seq}" * 1_000)


def with_members(seq: int) -> Entry:
    users = [UserKey(n) for n in range(1_000, 4_000)]
    return entry(seq, kinds.CHATS, extra=changes.encode(changes.MembersRemoved(users=users, name="Crew 😀")))


def with_authors(seq: int) -> Entry:
    covered = tuple(Covered(UserKey(1_000 + n), seq * 1_000 + n, f"client id {seq} {n}") for n in range(500))
    read = entry(seq, kinds.READ, extra=covered_column(covered), covered=covered)
    read.covers(UserKey(1_001))
    return read


LARGE: list[Callable[[int], Entry]] = [
    with_text,
    with_emoji,
    with_client_id,
    with_attachments,
    with_emoji_in_attachments,
    with_edited_attachments,
    with_quote,
    with_forwarded,
    with_members,
    with_authors,
]


@pytest.mark.parametrize("make", LARGE)
def test_entries_hold_no_more_bytes_than_the_bound_whatever_is_large_in_them(make: Callable[[int], Entry]) -> None:
    recent = RecentEntries(State(), DeliveryTuning(recent_entries=100_000, recent_bytes=BOUND))
    tracemalloc.start()
    try:
        recent.add(make(1))
        one = tracemalloc.get_traced_memory()[0]
        for seq in range(2, 3 * BOUND // one + 2):
            recent.add(make(seq))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < BOUND * 1.02
    # The bound is used, too: what is counted is not much more than what is held.
    assert held > BOUND * 0.4


def test_no_field_of_an_entry_is_forgotten_here() -> None:
    """A field that can be large and is not counted is a bound that bounds nothing."""
    small = {"seq", "kind", "chat", "message_id", "actor", "device", "at", "target", "client_key", "said_at"}
    small |= {"original_at", "deleted", "origin", "held"}
    filled = {name for make in LARGE for name in Entry.__struct_fields__ if getattr(make(1), name)}
    assert set(Entry.__struct_fields__) - small <= filled


def test_all_recent_entries_at_their_bound_leave_room_in_what_one_member_may_cost() -> None:
    tuning = DeliveryTuning()
    assert tuning.recent_bytes <= 16 * 2**20
    # Ordinary messages are bounded by their number: a text of 2,000 characters leaves them all in memory.
    assert tuning.recent_entries * (ENTRY_BYTES + 2_100) < tuning.recent_bytes


def test_recent_entries_are_bounded_in_number_and_bytes(house: House) -> None:
    recent, tuning = house.hub.recent, house.hub.tuning
    tuning.recent_entries = 5
    for n in range(8):
        house.log.new("User1", "User2", f"short {n}", "x")
    assert [one.message_id for one in recent.entries] == [5, 6, 7, 8, 9]
    tuning.recent_bytes = 3 * (ENTRY_BYTES + getsizeof("x" * 1_000))
    for n in range(4):
        house.log.new("User1", "User2", f"long {n}", "x" * 1_000)
    assert [one.message_id for one in recent.entries] == [11, 12, 13]
    house.log.do("User1", Edit(chat_id="User2", original_message_id=12, message="y"))
    assert [one.message_id for one in recent.entries] == [12, 13, 14], "an edit counts as what it left"
    house.log.do("User1", Edit(chat_id="User2", original_message_id=13, message="z" * 2_000))
    assert [one.message_id for one in recent.entries] == [14, 15], "a text that an edit makes longer counts at once"


def test_an_entry_larger_than_the_bound_is_not_kept_and_those_after_it_are(house: House) -> None:
    recent, tuning = house.hub.recent, house.hub.tuning
    tuning.recent_bytes = 10_000
    house.log.new("User1", "User2", "long", "x" * 10_000)
    assert not recent.entries
    assert recent.after(house.log.state.seq - 1) is None
    house.log.new("User1", "User2", "short")
    assert [one.seq for one in recent.entries] == [house.log.state.seq]
    assert recent.after(house.log.state.seq - 2) is None
