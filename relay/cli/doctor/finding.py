"""The input and the result of a check of `relay doctor`. Pure."""

from pathlib import Path
from typing import Literal, NamedTuple

from relay.protocol import control
from relay.settings import Loaded

CHECK_SECONDS = 5.0
"""How long a tool or a connection of a check may take."""

Level = Literal["good", "note", "bad"]


class Finding(NamedTuple):
    """The result of a check. `advice` says what to do unless the level is good."""

    check: str
    level: Level
    what: str
    advice: str = ""


class Subject(NamedTuple):
    """What a check examines: the data directory, the status of a relay on it, and the settings if they are valid."""

    data: Path
    status: control.Status | None
    settings: Loaded | None
