"""Where the settings file, the data directory and the control socket are."""

import os
from pathlib import Path

INSTALLED_FILE = Path("/etc/relay/relay.toml")
"""The settings file that is read when it is there and no other is named."""

INSTALLED_DATA = Path("/var/lib/relay")
"""The data directory of the package; it exists wherever the package is installed, or was and has left data."""

INSTALLED_SOCKET = Path("/run/relay/relay.sock")


def data_directory(chosen: Path | None = None) -> Path:
    """Find the data directory: the one that is named, else systemd's, else the installed one, else the user's own.

    Args:
        chosen: what `--data` says.
    """
    if chosen is not None:
        return chosen.expanduser()
    if os.environ.get("RELAY_DATA"):
        return Path(os.environ["RELAY_DATA"])
    # systemd.exec(5): of several the first, which in the unit is the relay's.
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":", maxsplit=1)[0])
    # By its directory, which the package makes: its store may be what is missing.
    if INSTALLED_DATA.is_dir():
        return INSTALLED_DATA
    home = os.environ.get("XDG_DATA_HOME") or Path(os.environ.get("HOME", "."), ".local", "share")
    return Path(home, "chat-relay")


def control_socket(data: Path) -> Path:
    """Where the control socket of the relay on a data directory is."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    if runtime:
        return Path(runtime.split(":", maxsplit=1)[0]) / "relay.sock"
    return INSTALLED_SOCKET if data == INSTALLED_DATA and INSTALLED_SOCKET.exists() else data / "relay.sock"
