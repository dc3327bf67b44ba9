"""Finds leftovers of restores, backups and upgrades in a data directory: unfinished, put aside, or missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from relay.cli.output import size
from relay.store.data_dir import empty, opening
from relay.store.files import directory, replacing

LACKS = {
    **dict.fromkeys(directory.NEEDED, "No command uses the store before that."),
    "backups": "No backup is written there before that.",
    "tls": "No backup and no restore is made before that, and the relay's own certificate cannot be used.",
}
"""The tasks that are impossible while a part of the data directory cannot be reached."""


class Left(NamedTuple):
    """One finding; see `doctor.Finding`."""

    level: Literal["note", "bad"]
    what: str
    advice: str


def examine(data: Path) -> Iterator[Left]:
    """Examine a data directory. Changes nothing."""
    reached = True
    for name in directory.LINKED:
        try:
            directory.check_links(data, (name,))
        except directory.UnusablePart as error:
            yield Left("bad", directory.about_file(error), LACKS[name])
            reached = reached and name not in directory.NEEDED
    if not reached:
        return
    interrupted = replacing.interrupted(data)
    for _, command in interrupted:
        yield Left("bad", f"a {command} was interrupted", "The next start of the relay finishes it.")
    if not interrupted:
        try:
            empty.refuse(data / "relay.db")
        except empty.EmptiedStore as error:
            yield Left("bad", str(error), "`relay restore` puts a backup in place, or `relay restore --undo`.")
        except directory.UnusablePart:
            # It is listed above.
            pass
    for path in opening.leftovers(data):
        if path.name not in {plan.committed for plan, _ in interrupted}:
            yield Left(
                "note",
                f"{path} was left by a command that was killed ({size(_bytes(path))})",
                "The next start of the relay, or the next backup, removes it.",
            )
    yield from _kept(data)


def _kept(data: Path) -> Iterator[Left]:
    """List the stores that restores and repairs put aside."""
    for plan, command in replacing.OF_THE_STORE:
        kept = replacing.kept(data, plan)
        if kept:
            names = ", ".join(path.name for path in kept)
            yield Left(
                "note",
                f"stores from before a {command} are kept: {names} ({size(sum(map(_bytes, kept)))})",
                f"Once nobody needs them: rm -r {' '.join(map(str, kept))}",
            )


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
