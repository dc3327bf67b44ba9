"""The places of the settings file, the data directory and the control socket."""

import os
import pwd
from contextlib import suppress
from pathlib import Path

from relay.settings.errors import WrongSettings

INSTALLED_FILE = Path("/etc/relay/relay.toml")
"""The settings file that is read by default, if it exists."""

INSTALLED_DATA = Path("/var/lib/relay")
"""The data directory of the package, which its installation creates (systemd/tmpfiles.conf)."""

INSTALLED_PROGRAM = Path("/usr/lib/chat-relay")
"""Where the package keeps the program."""

INSTALLED_SOCKET = Path("/run/relay/relay.sock")


def data_directory(
    chosen: Path | None = None, *, package: Path = INSTALLED_DATA, program: Path = INSTALLED_PROGRAM
) -> Path:
    """Find the data directory: the chosen one, else systemd's, else the installed one, else the user's own.

    Args:
        chosen: the value of `--data`.
        package: the package's data directory.
        program: where the package keeps the program.

    Raises:
        WrongSettings: the user's home is unknown.
    """
    if chosen is not None:
        return chosen.expanduser()
    if os.environ.get("RELAY_DATA"):
        return Path(os.environ["RELAY_DATA"])
    # systemd.exec(5): of several directories, the first one is the relay's.
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":", maxsplit=1)[0])
    # Check the directory, which the package creates: the store in it may be missing.
    is_closed = package.is_dir() and not os.access(package, os.X_OK)
    # Another program than the package's, such as the single file, serves the data of a user who may not use its.
    if os.path.lexists(package) and (Path(__file__).is_relative_to(program) or not is_closed):
        return package
    return _home_data() / "chat-relay"


def _home_data() -> Path:
    """Find where the user's programs keep their data (XDG Base Directory Specification, which ignores relative paths).

    Raises:
        WrongSettings: neither the environment nor the password database has the user's home.
    """
    if (named := Path(os.environ.get("XDG_DATA_HOME", ""))).is_absolute():
        return named
    home = Path(os.environ.get("HOME", ""))
    if not home.is_absolute():
        with suppress(KeyError):
            home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if not home.is_absolute():
        raise WrongSettings("there is no home directory to look for the data in: name a directory with --data")
    return home / ".local" / "share"


def runtime_directory() -> Path | None:
    """Find the runtime directory of the service (systemd.exec(5)); None if no service manager runs this process."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    return Path(runtime.split(":", maxsplit=1)[0]) if runtime else None


def control_socket(data: Path) -> Path:
    """Find the control socket of the relay with a data directory."""
    runtime = runtime_directory()
    if runtime is not None:
        return runtime / "relay.sock"
    return INSTALLED_SOCKET if data == INSTALLED_DATA and INSTALLED_SOCKET.exists() else data / "relay.sock"
