"""Which statements hold texts, which is released first, and when."""

from relay.store.log.bound_parameters import BoundParameters

MOST = 1_000


def test_a_statement_holds_only_what_it_wrote_last() -> None:
    held = BoundParameters(MOST)
    assert not held
    held.note("one", MOST + 1)
    assert held.too_much
    held.note("one", 1)
    assert held
    assert not held.too_much


def test_the_statement_that_holds_most_is_released_first() -> None:
    held = BoundParameters(MOST)
    for name, size in (("small", 1), ("large", MOST), ("middle", 2)):
        held.note(name, size)
    assert held.too_much
    assert held.largest() == "large"
    assert not held.too_much
    assert [held.largest(), held.largest()] == ["middle", "small"]
    assert not held
