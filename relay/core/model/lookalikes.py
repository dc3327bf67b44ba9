"""Which names look alike to people: what users may call themselves is compared by this. Pure.

Not the whole of Unicode's confusables (UTS 39): Greek and Cyrillic letters that look like Latin ones, width, case,
forms of accents, spaces, and characters that cannot be seen.
"""

import functools
import unicodedata

from relay.core.model.entities import User
from relay.keys import UserKey

CACHED_NAMES = 1_024
"""Names whose likeness is kept. One name of 128 characters may fold to 2,300 (U+FDFA to 18), so about 5 MB at most."""
_LOOKS_LIKE = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0456\u0458\u0455\u0445\u0443\u043a\u0501\u051b\u051d\u044c\u04cf\u0432\u043d\u043c\u0442\u04af\u04bb"
    "\u03b1\u03bf\u03c1\u03c5\u03bd\u03b9\u03ba\u03c4\u03c7\u03b5\u03b7i\u0131|10",
    "aceopljsxykdqwblbhmtyhaopuvlktxenllllo",
)
"""Cyrillic and Greek letters, and the Latin ones that they look like in either case; one stroke and one ring."""
_UNSEEN = frozenset({"\u034f", *map(chr, range(0xFE00, 0xFE10))})


@functools.lru_cache(maxsize=CACHED_NAMES)
def likeness(name: str) -> str:
    """Give what a name looks like: two names of the same likeness are taken for each other."""
    folded = unicodedata.normalize("NFKC", name).casefold().translate(_LOOKS_LIKE)
    seen = "".join(one for one in folded if one not in _UNSEEN and unicodedata.category(one) not in ("Cf", "Cc"))
    return " ".join(seen.split()).replace("rn", "m")


class NameIndex:
    """Users by what their ids and names look like. Nothing is kept of a name that no user has any more."""

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

    def find(self, name: str) -> set[UserKey]:
        """Find the users whose id or name people would take for this name."""
        return set(self._users.get(likeness(name), ()))


def _names(user: User) -> set[str]:
    return {likeness(user.id), likeness(user.name)}
