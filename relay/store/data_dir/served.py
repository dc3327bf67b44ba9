"""The trace of the served store, so that the service does not start an empty one after the store was moved away.

If the data directory is gone, nothing there shows that there was a store. So the trace lies in the service's runtime
directory, which systemd keeps while the service restarts and removes when it is stopped (systemd.exec(5),
`RuntimeDirectoryPreserve=restart`).
"""

import logging
import os
from pathlib import Path

from relay.store.data_dir import empty
from relay.store.files import replacing
from relay.store.files.directory import STORE, NoDirectory, is_there

logger = logging.getLogger(__name__)

TRACE = "served"


class MovedAway(NoDirectory):
    """The store that was served here is gone."""


class NoRuntimeDirectory(NoDirectory):
    """The service's runtime directory, which is for the control socket, cannot be used."""


def refuse(data: Path, runtime: Path | None) -> None:
    """Make sure that the service did not serve another store from here before it was restarted.

    Args:
        data: the data directory; it need not exist.
        runtime: the service's runtime directory; None if no service manager runs the relay.

    Raises:
        NoRuntimeDirectory: the runtime directory cannot be used.
        MovedAway: the service did, and that store is gone.
    """
    if runtime is not None:
        _check(runtime)
    try:
        served = runtime is not None and (runtime / TRACE).read_bytes() == os.fsencode(data.absolute())
    except OSError:
        return
    # An interrupted restore puts the store back in place, and the files around a missing one say more than the trace.
    if served and not (is_there(data / STORE) or replacing.interrupted(data) or empty.trace(data)):
        raise MovedAway(
            f"the store that was served from {data} is gone (moved away, or its disk is not mounted): bring it back, or"
            " stop the service (`systemctl stop relay`) and start it to begin with an empty one"
        )


def _check(runtime: Path) -> None:
    if not runtime.exists():
        why = "is not there"
    elif not runtime.is_dir():
        why = "is not a directory"
    elif not os.access(runtime, os.W_OK | os.X_OK):
        why = "cannot be written by this user"
    else:
        return
    raise NoRuntimeDirectory(
        f"{runtime}, which RUNTIME_DIRECTORY names for the control socket, {why}: RuntimeDirectory= in the unit has"
        " systemd make it; without systemd unset that variable, and the socket is in the data directory"
    )


def note(data: Path, runtime: Path | None) -> None:
    """Note that the service serves the store in a data directory, if there is one. Failures are logged, not raised.

    Args:
        data: the data directory.
        runtime: as for `refuse`.
    """
    if runtime is None:
        return
    try:
        if is_there(data / STORE):
            (runtime / TRACE).write_bytes(os.fsencode(data.absolute()))
    except OSError as error:
        logger.warning("%s cannot be written: %s", runtime / TRACE, error.strerror)
