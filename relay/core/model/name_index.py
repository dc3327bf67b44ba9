"""Users by the appearance of their names. Pure."""

from collections.abc import Set as AbstractSet

from relay.core.model.entities import User
from relay.keys import UserKey
from relay.unicode.lookalikes import looks


class NameIndex:
    """Users by the appearance of their ids and names. A name that no user has any more leaves nothing behind."""

    def __init__(self) -> None:
        self._users: dict[str, set[UserKey]] = {}

    def __len__(self) -> int:
        return len(self._users)

    def add(self, user: User) -> None:
        """Add a user under their id and name."""
        for name in _names(user):
            self._users.setdefault(name, set()).add(user.key)

    def discard(self, user: User) -> None:
        """Remove a user, who must have the id and name that they were added under."""
        for name in _names(user):
            users = self._users.get(name)
            if users is not None:
                users.discard(user.key)
                if not users:
                    del self._users[name]

    def find(self, seen: AbstractSet[str]) -> set[UserKey]:
        """Find the users whose id or name has one of these looks (`looks`)."""
        return set().union(*(self._users.get(look, ()) for look in seen))


def _names(user: User) -> frozenset[str]:
    return looks(user.id) | looks(user.name)
