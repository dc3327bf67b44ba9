"""Statements that hold texts, and the order and time of their release."""

from relay.store.log.bound_parameters import BoundParameters

MOST = 1_000


def test_statement_holds_only_its_latest_values() -> None:
    held = BoundParameters(MOST)
    assert not held
    held.note("one", MOST + 1)
    assert held.too_much
    held.note("one", 1)
    assert held
    assert not held.too_much


def test_statement_with_the_most_bytes_is_released_first() -> None:
    held = BoundParameters(MOST)
    for name, size in (("small", 1), ("large", MOST), ("middle", 2)):
        held.note(name, size)
    assert held.too_much
    assert held.largest() == "large"
    assert not held.too_much
    assert [held.largest(), held.largest()] == ["middle", "small"]
    assert not held
