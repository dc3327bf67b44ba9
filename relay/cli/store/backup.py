"""`relay backup`: the whole data directory in one file."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, progress, say, when
from relay.cli.paths import cannot_read, cannot_write, check_target
from relay.cli.store.opening import existing_store, plain_faults
from relay.settings import data_directory
from relay.store.backup import archive as backups
from relay.store.backup import pacing


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Write the whole data directory into one file. The relay may run meanwhile.

    Example: relay backup /media/usb/relay.tar
    """
    where = data_directory(data)
    existing_store(where)
    check_target(file, where)
    missing: list[str] = []
    try:
        with pacing.low_priority(), plain_faults(where), progress("copying") as advance:
            end = backups.back_up(where, file, _pages(advance), missing.extend)
    except (backups.NotReplaced, backups.NoRoom) as error:
        raise Failure(f"nothing was written: {error}") from None
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(where / backups.FILES_FOLDER):
            raise cannot_read(error.filename, error) from None
        raise cannot_write(file, error) from None
    written = file.stat().st_size
    if json:
        done = {"file": str(file), "bytes": written, "lastEvent": end.seq, "lastTimestamp": end.at}
        as_json(done | ({"missing": missing} if missing else {}))
    else:
        for name in missing[:10]:
            if name.startswith(f"{backups.TLS_FOLDER}/"):
                say(f"{where / name} is not in the backup, since you may not read it: run this as root")
            else:
                say(f"missing in {where}, and so in the backup: {name}")
        if len(missing) > 10:
            say(f"and {len(missing) - 10} more: `relay check` names them")
        say(f"{file}: {written / 1e6:.1f} MB, up to {when(end.at)}")


def _pages(advance: Callable[[int], None]) -> backups.Progress:
    """Return a callback that advances a progress bar by the pages copied since its last call."""
    before = 0

    def report(done: int, _all: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return report
