"""Which names look alike to people: what somebody may call themselves is compared by this. Pure.

Not the whole of Unicode's confusables (UTS 39): letters of Greek and Cyrillic that look like Latin ones, width, case,
accents' forms, spaces and what cannot be seen.
"""

import functools
import unicodedata

_LOOKS_LIKE = str.maketrans("асеоріјѕхукԁԛԝьӏвнмтүһαορυνικτχεηiı|10", "aceopljsxykdqwblbhmtyhaopuvlktxenllllo")
"""Letters of Cyrillic and of Greek and the Latin ones that they look like in either case; one stroke and one ring."""
_UNSEEN = frozenset({"\u034f", *map(chr, range(0xFE00, 0xFE10))})


@functools.lru_cache(maxsize=4_096)
def likeness(name: str) -> str:
    """Give what a name looks like: two names with the same are taken for each other."""
    folded = unicodedata.normalize("NFKC", name).casefold().translate(_LOOKS_LIKE)
    seen = "".join(one for one in folded if one not in _UNSEEN and unicodedata.category(one) not in ("Cf", "Cc"))
    return " ".join(seen.split()).replace("rn", "m")
