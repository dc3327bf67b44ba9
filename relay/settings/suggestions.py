"""Suggests a setting for an unknown name. Pure."""

import difflib
from collections.abc import Iterable

SIMILARITY = 0.6
"""The minimum similarity of a suggested name to the unknown one (difflib's ratio)."""

HIGH_SIMILARITY = 0.8
"""The same for a name of another section."""

PART_CHARACTERS = 3
"""The minimum characters of a part of a name that suggests the whole."""


def nearest(key: str, known: Iterable[str]) -> str:
    """Suggest a setting, or at least a section; empty if nothing is similar.

    The section decides first: keys of one section are all similar to each other.

    Args:
        key: the unknown one, `section.name` or a name alone.
        known: all keys, `section.name`.
    """
    sections: dict[str, list[str]] = {}
    for one in known:
        section, _, name = one.rpartition(".")
        sections.setdefault(section, []).append(name)
    section, _, name = key.rpartition(".")
    meant = section if section in sections else _closest(section, sections, SIMILARITY)
    if meant is not None:
        names = sections[meant]
        found = _closest(name, names, SIMILARITY) or next((one for one in names if _is_part(name, one)), None)
        if found is not None:
            return f"{meant}.{found}".lstrip(".")
    for other, names in sections.items():
        if (found := _closest(name, names, HIGH_SIMILARITY)) is not None:
            return f"{other}.{found}".lstrip(".")
    table = _closest(key, sections, SIMILARITY) if not section else meant if meant != section else None
    return f"[{table}]" if table else ""


def _closest(name: str, names: Iterable[str], least: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, [one for one in names if one], 1, least)), None)


def _is_part(name: str, other: str) -> bool:
    return min(len(name), len(other)) >= PART_CHARACTERS and (name in other or other in name)
