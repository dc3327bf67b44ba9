"""The cursor of a connection follows acknowledgements, and costs little without them."""

from relay.core.delivery.subscriber import MAX_UNACKNOWLEDGED, AwaitedEvent, Subscriber
from relay.keys import ChatKey, DeviceKey, UserKey
from tests.support.hub_house import Ear

# Acknowledgements.


def subscriber(most_unacknowledged: int = MAX_UNACKNOWLEDGED) -> Subscriber:
    one = Subscriber(1, UserKey(1), DeviceKey(1), Ear(), Ear(), 10, most_unacknowledged=most_unacknowledged)
    for seq in (12, 15, 17):
        one.replayed(b'{"eventType":"new","payload":{}}', AwaitedEvent(seq, ChatKey(1), seq))
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
    assert one.acknowledge(15) == AwaitedEvent(15, ChatKey(1), 15)
    assert one.acknowledge(15) is None
    assert one.acknowledge(12) == AwaitedEvent(12, ChatKey(1), 12)
    assert one.acknowledge(12) is None
    assert one.cursor == 16


def test_a_client_that_never_acknowledges_costs_bounded_memory() -> None:
    one = subscriber(most_unacknowledged=3)
    one.replayed(b'{"eventType":"new","payload":{}}', AwaitedEvent(20, ChatKey(1), 20))
    for seq in (12, 15, 17, 20):
        one.acknowledge(seq)
    assert one.cursor == 11
