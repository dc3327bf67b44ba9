"""What a check of `relay doctor` is given and what it gives. Touches nothing."""

from pathlib import Path
from typing import Literal, NamedTuple

from relay.protocol import control
from relay.settings import Loaded

PATIENCE = 5.0
"""Seconds that a check may take."""

Level = Literal["good", "note", "bad"]


class Finding(NamedTuple):
    """What a check found; `advice` says what to do where it is not good."""

    check: str
    level: Level
    what: str
    advice: str = ""


class Patient(NamedTuple):
    """What is looked at."""

    data: Path
    status: control.Status | None
    settings: Loaded | None
