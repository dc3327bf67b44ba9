"""Acknowledgements of one connection: the cursor never passes a missing event, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from relay.core.delivery.subscriber import ALLOWANCE_STEP, MAX_UNACKNOWLEDGED, AwaitedEvent, Subscriber
from relay.core.limits.share import Share
from relay.core.tuning import LimitsTuning
from relay.keys import ChatKey, DeviceKey, UserKey


class Sink:
    """An outlet that takes everything."""

    full = False
    waiting = (0, 0.0)

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.behinds = 0

    def put(self, frame: bytes) -> None:
        self.frames.append(frame)

    def offer(self, frame: bytes) -> bool:
        if not self.full:
            self.put(frame)
        return not self.full

    def flush(self) -> None:
        return

    def start_catch_up(self) -> None:
        self.behinds += 1

    def close(self, code: int, reason: str) -> None:
        raise AssertionError


def _subscriber(sink: Sink, position: int = 0, most_unacknowledged: int = MAX_UNACKNOWLEDGED) -> Subscriber:
    subscriber = Subscriber(1, UserKey(1), DeviceKey(1), sink, sink, position, most_unacknowledged=most_unacknowledged)
    subscriber.live = True
    return subscriber


@given(data=st.data(), count=st.integers(1, 30))
def test_cursor_is_right_in_any_order_of_acknowledgements(data: st.DataObject, count: int) -> None:
    ids = sorted(data.draw(st.sets(st.integers(1, 100), min_size=count, max_size=count)))
    subscriber = _subscriber(Sink())
    for event_id in ids:
        subscriber.event(b"", AwaitedEvent(event_id, ChatKey(1), 0))
    acknowledged: set[int] = set()
    for event_id in data.draw(st.lists(st.sampled_from(ids), max_size=60)):
        subscriber.acknowledge(event_id)
        acknowledged.add(event_id)
        missing = [one for one in ids if one not in acknowledged]
        assert subscriber.cursor == (missing[0] - 1 if missing else ids[-1])


def test_a_reader_that_never_acknowledges_costs_bounded_memory() -> None:
    subscriber = _subscriber(Sink(), position=5, most_unacknowledged=10)
    for event_id in range(6, 100):
        subscriber.event(b"", AwaitedEvent(event_id, ChatKey(1), 0))
    assert subscriber.acknowledge(6) is None
    assert subscriber.acknowledge(99) is None
    assert subscriber.cursor == 5, "so that all of it is replayed to the next connection"


class Connection:
    """A connection as its user's share sees it."""

    waiting_bytes = 0

    def __init__(self, share: Share, number: int) -> None:
        sink = Sink()
        self.subscriber = Subscriber(number, UserKey(1), DeviceKey(number), sink, sink, 0, 1, share)
        self.subscriber.live = True
        self.settle_allowance = self.subscriber.settle_allowance
        share.holders.add(self)

    def abort(self) -> None:
        raise AssertionError

    def hear(self, first: int, count: int) -> None:
        for event_id in range(first, first + count):
            self.subscriber.event(b"", AwaitedEvent(event_id, ChatKey(1), 0))


def test_readers_that_never_acknowledge_cost_their_user_bounded_memory_over_all_connections() -> None:
    """At 32,768 a connection, the 32 connections of one user held 125 MB."""
    tuning = LimitsTuning()
    share = Share(tuning)
    connections = [Connection(share, number) for number in range(32)]
    # One after the other goes to its bound and acknowledges everything, so that all have been allowed as much.
    for one in connections:
        one.hear(1, 20_000)
        assert one.subscriber.unacknowledged == 20_000
        for event_id in range(1, 20_001):
            one.subscriber.acknowledge(event_id)
    for one in connections:
        one.hear(20_001, 20_000)
    held = [one.subscriber.unacknowledged for one in connections]
    assert sum(held) <= tuning.unacknowledged_events + ALLOWANCE_STEP
    assert max(held) == 20_000
    assert {one.subscriber.cursor for one in connections} == {20_000}


def test_full_outlet_falls_behind_before_the_event_it_could_not_take() -> None:
    sink = Sink()
    subscriber = _subscriber(sink)
    subscriber.event(b"one", AwaitedEvent(7, ChatKey(1), 0))
    sink.full = True
    subscriber.event(b"two", AwaitedEvent(9, ChatKey(1), 0))
    assert (sink.frames, sink.behinds) == ([b"one"], 1)
    assert (subscriber.live, subscriber.position) == (False, 8)


def test_lowered_count_during_a_replay_moves_the_cursor_past_no_event() -> None:
    """A prune's entry is after the remaining replay: the cursor may not pass the replay because of it."""
    subscriber = _subscriber(Sink(), position=10)
    subscriber.live = False
    subscriber.owe_count(300, chat=ChatKey(1))
    subscriber.replayed(b"", AwaitedEvent(11, ChatKey(1), 1))
    subscriber.replayed(b"", AwaitedEvent(12, ChatKey(1), 2))
    subscriber.acknowledge(11)
    assert subscriber.cursor == 11
    subscriber.owe_list(13, ChatKey(2), appears=False)
    subscriber.acknowledge(12)
    assert subscriber.cursor == 12, "the changed list is not sent yet"
    assert subscriber.owed_since == 13
