"""Hints: the commands in the relay's texts, spelled so that they can be typed as they stand.

A text names a command in backticks, `relay user enable anna`, wherever it is written. The printing code passes it to
`as_typed`, which spells the program as it was started and adds the data directory of this command.
"""

import re
from contextvars import ContextVar
from pathlib import Path

from relay.typed_command import line

WITHOUT_DATA = ("bench", "config check", "help", "schema", "version")
"""Commands that take no `--data`."""
_COMMAND = re.compile(r"`relay ([a-z][^`]*)`")
_data: ContextVar[Path | None] = ContextVar("data", default=None)
"""The directory that `--data` of this command names."""


def note_data(data: Path | None) -> Path | None:
    """Note the data directory that hints must name, and return it."""
    _data.set(data)
    return data


def as_typed(text: str) -> str:
    """Spell each command in backticks as it can be typed here.

    Args:
        text: a message, in which commands stand as `relay COMMAND ...`.
    """

    def spell(found: re.Match[str]) -> str:
        return f"`{line(found[1], _data.get() if _takes_data(found[1]) else None)}`"

    return _COMMAND.sub(spell, text)


def _takes_data(words: str) -> bool:
    named = "--data" in words or "--help" in words
    return not named and not f"{words} ".startswith(tuple(f"{one} " for one in WITHOUT_DATA))
