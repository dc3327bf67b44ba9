"""`relay restore`: a backup in place of the store, or the store that an earlier restore put aside."""

import errno
from pathlib import Path
from typing import Annotated

import trio
import typer

from relay.cli.offline import command_tuning, plain_faults
from relay.cli.options import Data, Json, Yes
from relay.cli.output import Failure, WrongUse, as_json, confirm, say
from relay.cli.paths import cannot_read, cannot_write
from relay.core.relay import open_relay
from relay.core.rules import commands
from relay.core.submit import submit
from relay.keys import NO_DEVICE
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection, Settings, StoreSection, data_directory
from relay.store.backup import restore as restoring
from relay.store.command import Command
from relay.store.files.lock import Locked

EVENT_ID_GAP = 1_000_000
"""Event ids after a restore go on this far above those of the backup, beyond any id that a device may have seen."""
UNDER_SYSTEMD = " (where systemd runs it: `systemctl stop relay.socket relay.service`)"
"""The socket is stopped too, because it would start the relay again for the next connection."""


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
    where, wait = data_directory(data), command_tuning.get().wait_seconds
    try:
        with (
            restoring.replaced_store(where, wait) if file is None else restoring.unpacked(file, where, wait) as prepared
        ):
            _confirm(prepared, file, force=force, yes=yes_)
            with plain_faults(where):
                trio.run(_note_restore, prepared.folder, prepared.last + EVENT_ID_GAP, sign_out_all)
                kept = prepared.commit()
    except restoring.CannotRestore as error:
        raise Failure(f"nothing was restored: {error}") from None
    except Locked as error:
        raise Failure(f"nothing was restored: {error}: stop the relay first{UNDER_SYSTEMD}") from None
    except RelayError as error:
        # The present store has not been touched yet.
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
    """Continue event ids above `last`; end all sessions and invites if `sign_out_all`."""
    # The scratch directory needs no reserve.
    settings = Settings(store=StoreSection(reserve_bytes=0), limits=LimitsSection(requests_per_second=0))
    async with open_relay(folder, settings=settings) as relay:
        note = commands.NoteRestore(last, end_invites=sign_out_all)
        await submit(relay.log, Command(relay.clock(), commands.ADMIN, NO_DEVICE, note))
        for device in list(relay.state.devices.values()) if sign_out_all else ():
            if not device.revoked_at:
                await relay.admin.handle("device.revoke", control.RevokeDevice(device_id=device.key))
