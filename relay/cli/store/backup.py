"""`relay backup`: the whole data directory in one file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from relay.cli.offline import existing_store, plain_faults
from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, progress, say, when
from relay.cli.paths import cannot_write, check_target
from relay.cli.store.lost_files import lost_files, report_lost
from relay.settings import data_directory
from relay.store.backup import archive as backups
from relay.store.backup import pacing
from relay.store.contents import Verdict


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write.", show_default=False)],
    force: Annotated[
        bool, typer.Option("--force", help="Replace FILE by a backup of an empty store, even if FILE has messages.")
    ] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write the whole data directory into one file. The relay may run meanwhile.

    If an uploaded file is missing, spoilt or cannot be read, the rest goes to FILE.incomplete, FILE stays as it is, and
    the command fails.

    Example: relay backup /media/usb/relay.tar
    """
    where = data_directory(data)
    existing_store(where)
    check_target(file, where)
    lacking: dict[str, Verdict] = {}

    def note(lost: Mapping[str, Verdict]) -> None:
        lacking.update(lost)

    try:
        with pacing.low_priority(), plain_faults(where), progress("copying") as advance:
            end = backups.back_up(where, file, _pages(advance), note, force=force)
    except (backups.NotReplaced, backups.NoRoom) as error:
        raise Failure(f"nothing was written: {error}") from None
    except OSError as error:
        raise cannot_write(file, error) from None
    secret = [name for name in lacking if name.startswith(f"{backups.TLS_FOLDER}/")]
    lost = {name: verdict for name, verdict in lacking.items() if name not in secret}
    made = backups.beside(file) if lost else file
    written = made.stat().st_size
    if json:
        done = {"file": str(made), "bytes": written, "lastEvent": end.seq, "lastTimestamp": end.at}
        named = lost_files(lost)
        if secret:
            named["missing"] = [*named.get("missing", []), *secret]
        as_json(done | named)
    else:
        report_lost(lost, where, "backup")
        for name in secret:
            say(f"{where / name} is not in the backup, since you may not read it: run this as root")
        say(f"{made}: {written / 1e6:.1f} MB, up to {when(end.at)}")
    if lost:
        raise Failure(
            f"{len(lost)} uploaded {'file is' if len(lost) == 1 else 'files are'} not whole, so the backup is kept as"
            f" {made} and {file} was not written: `relay help backup` says what helps"
        )


def _pages(advance: Callable[[int], None]) -> backups.Progress:
    """Return a callback that advances a progress bar by the pages copied since its last call."""
    before = 0

    def report(done: int, _all: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return report
