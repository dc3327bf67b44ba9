"""`relay check`, `reindex`, `backup`, `restore` and `prune`: the store as a whole."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Console

from relay.cli.control_client import ask
from relay.cli.options import Data, Json, Yes
from relay.cli.output import Failure, WrongUse, as_json, confirm, progress, say, size, when
from relay.cli.paths import cannot_read, cannot_write, check_target
from relay.core.maintenance.check import CheckResult
from relay.core.maintenance.check import check as check_store
from relay.core.relay import open_relay
from relay.core.rules import commands
from relay.core.rules.submit import submit
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection, Settings, StoreSection, data_directory
from relay.store.backup import archive as backups
from relay.store.backup import gently
from relay.store.backup import restore as restoring
from relay.store.data_dir import empty
from relay.store.data_dir.errors import FAULTS, what_to_do
from relay.store.data_dir.opening import settle_for_reading
from relay.store.files.lock import Locked
from relay.store.integrity import INDEX

EVENT_ID_GAP = 1_000_000
"""Event ids after a restore go on this far above those of the backup, beyond any id that a device may have seen."""
UNDER_SYSTEMD = " (where systemd runs it: `systemctl stop relay.socket relay.service`)"
"""The socket is stopped too, since it would start the relay again for the next connection."""

RESTORE = "Restore a backup (`relay restore FILE`), or keep the file and ask for help."
REMAKE = "No message is lost, since the index is made from the messages. `relay reindex` remakes it."


def _store(data: Path) -> Path:
    path = data / backups.STORE
    if not path.exists():
        with _plain_faults(data):
            settle_for_reading(data)
            empty.refuse(path)
    if not path.exists():
        raise Failure(f"there is no relay in {data}: name its directory with --data")
    return path


@contextmanager
def _plain_faults(data: Path) -> Iterator[None]:
    """Turn faults of the store into a failure that says in one line what to do."""
    try:
        yield
    except FAULTS as error:
        raise Failure(what_to_do(error, data)) from None


def check(data: Data = None, json: Json = False) -> None:
    """Verify that the store is intact and consistent. The relay may run meanwhile.

    Example: relay check
    """
    where = data_directory(data)
    _store(where)
    console = Console(stderr=True)
    findings: list[CheckResult] = []
    with gently.beside(), _plain_faults(where), console.status("") as status:
        findings = trio.run(check_store, where, status.update)
    if json:
        as_json([{"what": finding.what, "ok": not finding.wrong, "wrong": finding.wrong} for finding in findings])
    else:
        for finding in findings:
            say(f"{'ok   ' if not finding.wrong else 'WRONG'}  {finding.what}")
            for fault in finding.wrong:
                say(f"         {fault}")
    wrong = {finding.what for finding in findings if finding.wrong}
    if wrong:
        if not json:
            say(REMAKE if wrong == {INDEX} else RESTORE)
        raise typer.Exit(1)


def reindex(data: Data = None, json: Json = False) -> None:
    """Remake the full-text index from the messages, after `relay check` found it damaged.

    The relay does it in the background. Until it is done, searches read the messages instead.

    Example: relay reindex
    """
    done = ask(data_directory(data), "reindex", control.Empty())
    if json:
        as_json(done)
    else:
        say("the full-text index is being remade; `relay status` shows how much is left")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Write the whole data directory into one file. The relay may run meanwhile.

    Example: relay backup /media/usb/relay.tar
    """
    where = data_directory(data)
    _store(where)
    check_target(file, where)
    missing: list[str] = []
    try:
        with gently.beside(), _plain_faults(where), progress("copying") as advance:
            end = backups.back_up(where, file, _pages(advance), missing.extend)
    except (backups.NotReplaced, backups.NoRoom) as error:
        raise Failure(f"nothing was written: {error}") from None
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(where / backups.FILES):
            raise cannot_read(error.filename, error) from None
        raise cannot_write(file, error) from None
    written = file.stat().st_size
    if json:
        done = {"file": str(file), "bytes": written, "lastEvent": end.seq, "lastTimestamp": end.at}
        as_json(done | ({"missing": missing} if missing else {}))
    else:
        for name in missing[:10]:
            if name.startswith(f"{backups.TLS}/"):
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


def restore(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A file that relay backup wrote.", show_default=False)
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Restore even if the present store has messages that the backup lacks.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Bring back the store that the last restore put aside. Takes no FILE.")
    ] = False,
    sign_out_all: Annotated[
        bool,
        typer.Option(
            "--sign-out-all",
            help="End all sessions, hooks and invites. Without it those that ended since the backup work again.",
        ),
    ] = False,
    yes_: Yes = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Put a backup in place of the store. The relay must be stopped. The store that was there is kept.

    Example: relay restore /media/usb/relay.tar
    """
    if (file is None) != undo:
        raise WrongUse("name the backup, or give --undo to bring back what the last restore put aside")
    where = data_directory(data)
    try:
        with restoring.put_aside(where) if file is None else restoring.unpacked(file, where) as prepared:
            _confirm(prepared, file, force=force, yes=yes_)
            with _plain_faults(where):
                trio.run(_note_restore, prepared.folder, prepared.last + EVENT_ID_GAP, sign_out_all)
                kept = prepared.commit()
    except restoring.CannotRestore as error:
        raise Failure(f"nothing was restored: {error}") from None
    except Locked as error:
        raise Failure(f"nothing was restored: {error}: stop the relay first{UNDER_SYSTEMD}") from None
    except RelayError as error:
        # The present store was not touched yet.
        if error.error.code == "storage_full":
            raise cannot_write(where, OSError(errno.ENOSPC, "")) from None
        raise Failure(f"nothing was restored: {error.error.message}") from None
    except OSError as error:
        if file is not None and error.filename == str(file):
            raise cannot_read(file, error) from None
        raise cannot_write(where, error) from None
    if json:
        as_json(
            {
                "data": str(where),
                "lastEvent": prepared.last,
                "kept": str(kept) if kept else None,
                "lost": prepared.loss._asdict(),
                "incomplete": prepared.incomplete,
            }
        )
        return
    for name in prepared.incomplete:
        say(f"incomplete in the backup: {name}")
    beside = f"; what was there is kept in {kept} (`relay restore --undo` brings it back)" if kept else ""
    say(f"restored into {where}{beside}. Next: `relay check`, then start the relay")


def _confirm(prepared: restoring.PreparedRestore, file: Path | None, *, force: bool, yes: bool) -> None:
    """Ask whether to replace the store, naming what would be lost.

    Raises:
        CannotRestore: messages or people would be lost, and `force` is not given.
        WrongUse: there is no terminal to ask on, and `yes` is not given.
        typer.Abort: the answer is no.
    """
    other = "what was put aside" if file is None else "the backup"
    if prepared.loss and not force:
        raise restoring.CannotRestore(
            f"{prepared.data} has {prepared.loss} more than {other}, which would be gone: use --force if that is meant"
            " (the present store is kept beside it, and `relay restore --undo` brings it back)"
        )
    if prepared.present:
        lost = f", without {prepared.loss}" if prepared.loss else ""
        confirm(f"Put {file or prepared.folder} in place of the store in {prepared.data}{lost}?", yes=yes)


async def _note_restore(folder: Path, last: int, sign_out_all: bool) -> None:
    """Let event ids go on above `last`; end all sessions and invites if `sign_out_all`."""
    # The scratch directory needs no reserve.
    settings = Settings(store=StoreSection(reserve_bytes=0), limits=LimitsSection(requests_per_second=0))
    async with open_relay(folder, settings=settings) as relay:
        note = commands.NoteRestore(last, end_invites=sign_out_all)
        await submit(relay.log, commands.Command(relay.clock(), commands.ADMIN, 0, note))
        for device in list(relay.state.devices.values()) if sign_out_all else ():
            if not device.revoked_at:
                await relay.admin.handle("device.revoke", control.RevokeDevice(device_id=device.key))


def prune(
    days: Annotated[
        int | None,
        typer.Option(help="Remove messages older than this; 0 for none. Default: retention.days."),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(help="Then remove the oldest until the store is this small. Default: retention.max_bytes."),
    ] = None,
    yes_: Yes = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove old messages for good and free their space.

    Interrupted, it leaves the rest: the part under way, 2,000 entries at most, is completed within the hour.

    Example: relay prune --days 365
    """
    if days or max_bytes:
        confirm("Remove old messages for good?", yes=yes_)
    pruned = ask(data_directory(data), "prune", control.Prune(days=days, max_bytes=max_bytes))
    if json:
        as_json(pruned)
    else:
        say(f"removed {pruned.removed} entries; {size(pruned.bytes)} in use")
        if pruned.too_large:
            say("The store is still larger than allowed: what is left is too new, or is users and chats.")
