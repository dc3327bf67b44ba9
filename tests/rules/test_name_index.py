"""Users by name: look-ups, and former names that take no memory."""

from relay.core.model.entities import User
from relay.core.model.name_index import NameIndex
from relay.keys import UserKey
from relay.protocol import requests
from relay.unicode.lookalikes import looks
from tests.support.memory_log import MemoryLog


def test_a_former_name_takes_no_memory() -> None:
    log = MemoryLog()
    log.add_users("User1")
    for n in range(500):
        log.do("User1", requests.ProfileRequest(name=f"Anna {n}"))
    names = vars(log.state)["_names"]
    assert isinstance(names, NameIndex)
    assert len(names) == 2, "their id and their present name"
    assert log.state.users_named("anna 499") == {1}
    assert log.state.users_named("Anna 0") == set()


def test_two_users_with_one_name_are_found_until_both_are_renamed() -> None:
    first, second = (User(key=UserKey(key), id=f"u{key}", name="Anna") for key in (1, 2))
    index = NameIndex()
    index.add(first)
    index.add(second)
    assert index.find(looks("Anna")) == {1, 2}
    index.discard(first)
    assert index.find(looks("ANNA")) == {2}
    index.discard(second)
    assert index.find(looks("Anna")) == set()
    assert len(index) == 0
