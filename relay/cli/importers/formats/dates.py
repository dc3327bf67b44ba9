"""Dates in exports: seconds, milliseconds or finer units, as numbers or texts. Pure functions."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from relay.protocol.base import LATEST_DATE_MS, JsonValue

_UNITS: Sequence[tuple[float, float]] = ((1e11, 1e3), (1e14, 1), (1e17, 1e-3), (math.inf, 1e-6))
"""Units of dates in milliseconds, each for dates below the number: 1e11 seconds would be the year 5138."""


def moment(value: JsonValue) -> int | None:
    """Read a date, in Unix milliseconds; None if it is not a date: -1, 0, a word, or after the year 9999."""
    if isinstance(value, str):
        number = _number(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        return None
    if number is None or not math.isfinite(number) or number <= 0:
        return None
    factor = next(factor for below, factor in _UNITS if number < below)
    # A number of whole milliseconds stays exact.
    found = value if isinstance(value, int) and factor == 1 else int(number * factor)
    return found if 0 < found <= LATEST_DATE_MS else None


def _number(text: str) -> float | None:
    """Read a number, or an ISO 8601 date as Unix seconds; UTC if it names no zone."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        there = datetime.fromisoformat(text)
        return (there if there.tzinfo else there.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
