"""Which names look alike to people: what somebody may call themselves is compared by this. Pure.

Not the whole of Unicode's confusables (UTS 39): letters of Greek and Cyrillic that look like Latin ones, width, case,
accents' forms, spaces and what cannot be seen.
"""

import functools
import unicodedata

_LOOKS_LIKE = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0456\u0458\u0455\u0445\u0443\u043a\u0501\u051b\u051d\u044c\u04cf\u0432\u043d\u043c\u0442\u04af\u04bb"
    "\u03b1\u03bf\u03c1\u03c5\u03bd\u03b9\u03ba\u03c4\u03c7\u03b5\u03b7i\u0131|10",
    "aceopljsxykdqwblbhmtyhaopuvlktxenllllo",
)
"""Letters of Cyrillic and of Greek and the Latin ones that they look like in either case; one stroke and one ring."""
_UNSEEN = frozenset({"\u034f", *map(chr, range(0xFE00, 0xFE10))})


@functools.lru_cache(maxsize=4_096)
def likeness(name: str) -> str:
    """Give what a name looks like: two names with the same are taken for each other."""
    folded = unicodedata.normalize("NFKC", name).casefold().translate(_LOOKS_LIKE)
    seen = "".join(one for one in folded if one not in _UNSEEN and unicodedata.category(one) not in ("Cf", "Cc"))
    return " ".join(seen.split()).replace("rn", "m")
