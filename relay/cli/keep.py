"""`relay check`, `backup`, `restore` and `prune`: keeping what was said, and for how long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Console

from relay.cli.door import ask
from relay.cli.files import cannot_read, cannot_write, check_target
from relay.cli.options import Data, Json, Yes
from relay.cli.output import Failure, as_json, confirm, progress, size, when
from relay.core import commands
from relay.core.asking import decided
from relay.core.check import Finding
from relay.core.check import check as check_store
from relay.core.relay import open_relay
from relay.protocol import control
from relay.settings import data_directory
from relay.store import backup as backups
from relay.store.faults import FAULTS, what_to_do
from relay.store.lock import Locked

SEEN = 1_000_000
"""How far above all that devices can have seen event ids go on after a restore."""


def _store(data: Path) -> Path:
    path = data / backups.STORE
    if not path.exists():
        raise Failure(f"there is no relay in {data}: name its directory with --data")
    return path


@contextmanager
def _plain_faults(data: Path) -> Iterator[None]:
    """Say in one line what is in the way of the store."""
    try:
        yield
    except FAULTS as error:
        raise Failure(what_to_do(error, data)) from None


def check(data: Data = None, json: Json = False) -> None:
    """Prove that the file is whole and everything in it adds up; a relay may run meanwhile.

    Example: relay check
    """
    where = data_directory(data)
    _store(where)
    console = Console(stderr=True)
    findings: list[Finding] = []
    with _plain_faults(where), console.status("") as status:
        findings = trio.run(check_store, where, status.update)
    if json:
        as_json([{"what": finding.what, "ok": not finding.wrong, "wrong": finding.wrong} for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok   ' if not finding.wrong else 'WRONG'}  {finding.what}")
            for fault in finding.wrong:
                print(f"         {fault}")
    if any(finding.wrong for finding in findings):
        if not json:
            print("Restore a backup (relay restore FILE), or keep the file and ask for help.")
        raise typer.Exit(1)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Write everything into one file; a relay may run meanwhile.

    Example: relay backup /media/usb/relay.tar
    """
    where = data_directory(data)
    _store(where)
    check_target(file, where)
    try:
        with _plain_faults(where), progress("copying") as advance:
            end = backups.back_up(where, file, _pages(advance))
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(where / backups.FILES):
            raise cannot_read(error.filename, error) from None
        raise cannot_write(file, error) from None
    written = file.stat().st_size
    if json:
        as_json({"file": str(file), "bytes": written, "lastEvent": end.seq, "lastTimestamp": end.at})
    else:
        print(f"{file}: {written / 1e6:.1f} MB, up to {when(end.at)}")


def _pages(advance: Callable[[int], None]) -> backups.Progress:
    """Tell how many more pages are copied, of how many there are."""
    before = 0

    def report(done: int, _all: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return report


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What relay backup wrote.", show_default=False)],
    force: Annotated[
        bool, typer.Option("--force", help="Also where the present store has more than the backup.")
    ] = False,
    yes_: Yes = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Put a backup in place of the store. The relay must be stopped; what was there is kept beside it.

    Example: relay restore /media/usb/relay.tar
    """
    where = data_directory(data)
    if (where / backups.STORE).exists():
        confirm(f"Put {file} in place of the store in {where}?", yes=yes_)
    try:
        restored = backups.restore(file, where, force=force)
    except backups.CannotRestore as error:
        raise Failure(f"nothing was restored: {error}") from None
    except Locked as error:
        raise Failure(f"nothing was restored: {error}: stop the relay first") from None
    except OSError as error:
        if error.filename == str(file):
            raise cannot_read(file, error) from None
        raise cannot_write(where, error) from None
    with _plain_faults(where):
        trio.run(_note_restore, where, restored.last + SEEN)
    if json:
        kept = str(restored.kept) if restored.kept else None
        as_json({"data": str(where), "lastEvent": restored.last, "kept": kept})
        return
    kept = f"; the store that was there is kept in {restored.kept}" if restored.kept else ""
    print(f"restored into {where}{kept}. Next: relay check, then start the relay")


async def _note_restore(data: Path, last: int) -> None:
    async with open_relay(data) as relay:
        command = commands.Command(relay.clock(), commands.ADMIN, 0, commands.NoteRestore(last))
        await decided(relay.log, command)


def prune(
    days: Annotated[
        int | None,
        typer.Option(help="Remove what is older; else retention.days says. 0: none for its age."),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(help="Then the oldest, until the file is no larger; else retention.max_bytes says."),
    ] = None,
    yes_: Yes = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove old messages for good, and give their space back.

    Example: relay prune --days 365
    """
    if days or max_bytes:
        confirm("Remove old messages for good?", yes=yes_)
    pruned = ask(data_directory(data), "prune", control.Prune(days=days, max_bytes=max_bytes))
    if json:
        as_json(pruned)
    else:
        print(f"removed {pruned.removed} entries; {size(pruned.bytes)} in use")
        if pruned.too_large:
            print("That is more than it may be: what is left is new, or is no history but users and chats.")
