"""`relay repair`: a new file in place of a damaged store, with its whole log."""

import errno
import sqlite3
from pathlib import Path

import trio

from relay.cli.offline import command_tuning, existing_store
from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, progress, say
from relay.cli.paths import cannot_write
from relay.cli.store.restore import UNDER_SYSTEMD
from relay.core.relay import open_relay
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection, Settings, StoreSection, data_directory
from relay.store.backup import repair as repairing
from relay.store.backup.salvage import LogDamaged
from relay.store.damage import LOG_HELPS
from relay.store.data_dir.errors import FAULTS, is_damaged, what_to_do
from relay.store.files.disk_full import is_full
from relay.store.files.lock import Locked


def repair(data: Data = None, json: Json = False) -> None:
    """Make a damaged store whole from its log. The relay must be stopped. The damaged file is kept.

    Every message stays; users, chats, indexes and what else follows from the log are made again. It needs as much room
    as the store has, and minutes where there are millions of messages. If the log itself is damaged it says so and
    changes nothing.

    Example: relay repair
    """
    where, wait = data_directory(data), command_tuning.get().wait_seconds
    existing_store(where)
    try:
        with progress("copying") as advance, repairing.salvaged(where, wait, advance) as prepared:
            _make_state(prepared.folder)
            kept = prepared.commit()
    except Locked as error:
        raise Failure(f"nothing was repaired: {error}: stop the relay first{UNDER_SYSTEMD}") from None
    except LogDamaged as error:
        raise Failure(f"nothing was repaired: {error}: {LOG_HELPS}") from None
    except RelayError as error:
        raise _cannot(where, error.error.code == "storage_full", error.error.message) from None
    except FAULTS as error:
        raise _cannot(
            where, isinstance(error, sqlite3.Error) and is_full(error), what_to_do(error, where, repairing=True)
        ) from None
    except OSError as error:
        raise cannot_write(where, error) from None
    entries, lost = prepared.salvaged
    if json:
        as_json({"data": str(where), "entries": entries, "kept": str(kept) if kept else None, "lost": lost})
        return
    for what in lost:
        say(f"lost: {what}")
    say(
        f"repaired: all {entries:,} entries of the log are in a new file; the damaged one is kept in {kept}."
        " Next: `relay check`, then start the relay, which makes the full-text index"
    )


def _cannot(where: Path, full: bool, why: str) -> Failure:
    return cannot_write(where, OSError(errno.ENOSPC, "")) if full else Failure(f"nothing was repaired: {why}")


def _make_state(folder: Path) -> None:
    """Read the log of the new store once, and write the snapshot.

    Raises:
        LogDamaged: the users and chats do not follow from the log.
    """
    # The scratch directory needs no reserve.
    settings = Settings(store=StoreSection(reserve_bytes=0), limits=LimitsSection(requests_per_second=0))

    async def keep() -> None:
        async with open_relay(folder, settings=settings) as relay:
            await relay.log.keep_snapshot()

    try:
        trio.run(keep)
    except sqlite3.Error as error:
        if not is_damaged(error):
            raise
        raise LogDamaged(f"users and chats do not follow from the log ({error})") from None
