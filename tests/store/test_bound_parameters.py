"""Which statements hold texts, which is released first, and when."""

from relay.store.log import bound_parameters
from relay.store.log.bound_parameters import BoundParameters


def test_a_statement_holds_only_what_it_wrote_last() -> None:
    held = BoundParameters()
    assert not held
    held.note("one", bound_parameters.HELD_BYTES + 1)
    assert held.too_much
    held.note("one", 1)
    assert held
    assert not held.too_much


def test_the_statement_that_holds_most_is_released_first() -> None:
    held = BoundParameters()
    for name, size in (("small", 1), ("large", bound_parameters.HELD_BYTES), ("middle", 2)):
        held.note(name, size)
    assert held.too_much
    assert held.largest() == "large"
    assert not held.too_much
    assert [held.largest(), held.largest()] == ["middle", "small"]
    assert not held
