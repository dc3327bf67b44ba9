"""The members and the owner of an imported chat: those whom the source states, and the admin's choice. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from relay.core.model.counting import Standing, can_act
from relay.core.model.entities import PEOPLE_OF_TYPE, SHARED_TYPES
from relay.protocol.errors import RelayError


class Participant(Standing, Protocol):
    """A person in an imported chat: a user here, or one who would be imported before it."""

    @property
    def id(self) -> str:
        """Their user id."""


P = TypeVar("P", bound=Participant)


def find_participants(find: Callable[[str], P | None], ids: Iterable[str]) -> list[P]:
    """Find the people of a chat, each once.

    Raises:
        RelayError: `not_found`, one of them is not here.
    """
    found = []
    for user_id in dict.fromkeys(ids):
        participant = find(user_id)
        if participant is None:
            raise RelayError("not_found", f"participants: there is no user {user_id!r} here")
        found.append(participant)
    return found


def check_new_id(chat_id: str, *, taken: bool) -> None:
    """Refuse a chat if a user or another chat has its id.

    Raises:
        RelayError: `conflict`.
    """
    if taken:
        raise RelayError.conflict(f"the id {chat_id!r} is taken")


def choose_members(kind: str, people: Sequence[P]) -> list[P]:
    """List the future members of a chat. A removed user is in no group, whatever an export says.

    Raises:
        RelayError: `bad_request`, see `check_type`.
    """
    check_type(kind, len(people))
    return [one for one in people if kind not in SHARED_TYPES or not one.removed]


def find_keeper(
    find: Callable[[str], P | None], kind: str, members: Sequence[P], owner: str | None, keeper: str | None
) -> P | None:
    """Find the user whom the admin named as owner, if a group needs one; None if it does not, or nobody is named.

    Args:
        find: finds a person by id.
        kind: the type of the chat; a dialog has its two people and nobody else.
        members: the members of the chat.
        owner: the id of the owner that the export states.
        keeper: the id of the named user.

    Raises:
        RelayError: `not_found`, there is no such user; `forbidden`, they cannot sign in.
    """
    has_owner = any(can_act(one) or one.id == owner for one in members)
    if keeper is None or has_owner or kind not in SHARED_TYPES:
        return None
    found = find(keeper)
    if found is None:
        raise RelayError.no_user(keeper)
    if not can_act(found):
        raise RelayError.forbidden(f"{keeper!r} cannot sign in, and so cannot own a chat")
    return found


def check_type(kind: str, people: int) -> None:
    """Refuse a chat of an unknown type, or with a number of people that its type does not allow.

    Args:
        kind: the type of the chat: `group`, `channel`, `dialog`, …
        people: how many people it has.

    Raises:
        RelayError: `bad_request`.
    """
    if kind not in SHARED_TYPES and kind not in PEOPLE_OF_TYPE:
        raise RelayError.bad_field("kind", f"the relay keeps no chats of the type {kind!r}")
    expected = PEOPLE_OF_TYPE.get(kind, people)
    if people != expected:
        counted = f"{expected} {'person' if expected == 1 else 'people'}"
        raise RelayError.bad_field("participants", f"a chat of the type {kind!r} has {counted}, this one has {people}")


def choose_owner(members: Sequence[Participant], owner: str | None, founder: str | None, admins: Sequence[str]) -> str:
    """Choose the owner of a chat: the owner that the export states, else the first person who can sign in.

    The order is founder, admins, members in order of joining, as when an owner leaves. Bots and people who may not sign
    in are never chosen.

    Args:
        members: the members of the chat, in order of joining.
        owner: the id of the owner that the export states.
        founder: the id of the user who created the chat.
        admins: ids of its admins, as the export lists them.

    Raises:
        RelayError: `forbidden`, none of the members can sign in.
    """
    if owner is not None and owner in {one.id for one in members}:
        return owner
    able = [one.id for one in members if can_act(one)]
    for candidate in (founder, *admins, *able):
        if candidate is not None and candidate in able:
            return candidate
    raise RelayError.forbidden("none of its members can sign in, so it would have no owner")
