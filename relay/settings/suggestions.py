"""Which setting was meant by a name that is unknown. Pure."""

import difflib
from collections.abc import Iterable

LIKE = 0.6
"""How much a name must have in common with the one that was meant (difflib's ratio)."""

VERY_LIKE = 0.8
"""The same, where the section is another one."""

PART = 3
"""Characters from which on a part of a name stands for it."""


def nearest(key: str, known: Iterable[str]) -> str:
    """Name the setting, or at least the section, that was meant; empty where it cannot be told.

    The section decides first: what keys have in common with their section would make any of them near.
    """
    sections: dict[str, list[str]] = {}
    for one in known:
        section, _, name = one.rpartition(".")
        sections.setdefault(section, []).append(name)
    section, _, name = key.rpartition(".")
    meant = section if section in sections else _closest(section, sections, LIKE)
    if meant is not None:
        names = sections[meant]
        found = _closest(name, names, LIKE) or next((one for one in names if _is_part(name, one)), None)
        if found is not None:
            return f"{meant}.{found}".lstrip(".")
    for other, names in sections.items():
        if (found := _closest(name, names, VERY_LIKE)) is not None:
            return f"{other}.{found}".lstrip(".")
    table = _closest(key, sections, LIKE) if not section else meant if meant != section else None
    return f"[{table}]" if table else ""


def _closest(name: str, names: Iterable[str], least: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, [one for one in names if one], 1, least)), None)


def _is_part(name: str, other: str) -> bool:
    return min(len(name), len(other)) >= PART and (name in other or other in name)
