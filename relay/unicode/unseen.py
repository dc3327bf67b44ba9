"""Invisible characters: the one definition for names of people, chats, devices, hooks and files, and for texts. Pure.

By Unicode's tables: characters with the property Default_Ignorable_Code_Point, controls, spaces, codes without a
character or with a private one, and a few blank ones that have no such property (PROTOCOL.md, section 5, "Names").
"""

import re
import unicodedata

from relay.unicode.tables import HIDDEN, UNSEEN

_HIDDEN = re.compile(f"[{HIDDEN}\ud800-\udfff]")
_SEEN = re.compile(f"[^{UNSEEN}\ud800-\udfff]")
_GAP = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def can_be_seen(text: str) -> bool:
    """Return whether any character of a text can be seen."""
    return _SEEN.search(text) is not None


def is_blank(text: str) -> bool:
    """Return whether a message would show nothing: it has only spaces, controls and other invisible characters.

    Private codes and codes without a character count as shown here, unlike in names: fonts have signs for the ones, and
    a later version of Unicode may have letters for the others.
    """
    return not can_be_seen(text) and not any(map(_may_be_shown, text))


def _may_be_shown(character: str) -> bool:
    return unicodedata.category(character) in ("Cn", "Co") and _HIDDEN.search(character) is None


def without_hidden(text: str) -> str:
    """Remove characters that names must not have. Joiners and tags stay: languages and emoji need them."""
    return _HIDDEN.sub("", text)


def one_line(text: str, characters: int) -> str:
    """Turn a text into a name: in one line, nothing hidden, cut to its length; empty if nothing is visible.

    A valid name stays as it is: its spaces may be those of its language, or more than one.
    """
    fitting = text
    if len(text) > characters or _HIDDEN.search(text) is not None:
        fitting = without_hidden(_GAP.sub(_in_one_line, text)).strip()[:characters].rstrip()
    return fitting if can_be_seen(fitting) else ""


def _in_one_line(gap: re.Match[str]) -> str:
    """Give one space for a gap with a line break or another control in it, and other gaps as they are."""
    return gap[0] if _HIDDEN.search(gap[0]) is None else " "
