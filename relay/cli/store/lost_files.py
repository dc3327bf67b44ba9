"""Words for uploaded files that a backup or an export does not have as they were."""

from collections.abc import Mapping
from pathlib import Path

from relay.cli.output import say
from relay.cli.paths import why_not_read
from relay.store.contents import Condition, Verdict

SHOWN_FILES = 10
"""Files named one by one."""


def report_lost(lost: Mapping[str, Verdict], data: Path, where: str) -> None:
    """Name the files that are not whole, each with its place.

    Args:
        lost: the files by name.
        data: the data directory.
        where: what lacks them: `backup` or `export`.
    """
    for name, verdict in list(lost.items())[:SHOWN_FILES]:
        say(f"{_found(verdict, data, where)}: {name}")
    if len(lost) > SHOWN_FILES:
        say(f"and {len(lost) - SHOWN_FILES} more: `relay check --all` names them")


def _found(verdict: Verdict, data: Path, where: str) -> str:
    if verdict.condition is Condition.MISSING:
        return f"missing in {data}, and so in the {where}"
    if verdict.condition is Condition.SPOILT:
        return f"spoilt in {data}, and so not whole in the {where}"
    why = f" ({why_not_read(verdict.error)})" if verdict.error else ""
    return f"cannot be read in {data}{why}, and so not in the {where}"


def lost_files(lost: Mapping[str, Verdict]) -> dict[str, list[str]]:
    """Return the names of the files by condition, as `--json` has them; empty if all are whole."""
    named: dict[str, list[str]] = {}
    for name, verdict in lost.items():
        named.setdefault(verdict.condition.value, []).append(name)
    return named
