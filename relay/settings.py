"""The settings: one Struct holds every name, type, unit and default. Reads files and the environment, nothing else."""

import os
from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set in `relay.toml`."""

    listen: list[str] = msgspec.field(default_factory=lambda: ["0.0.0.0:8765"])
    """Where to listen, HOST:PORT each."""
    max_connections: int = 4_000
    """Connections at a time; further ones get HTTP 503."""
    requests_per_second: float = 2_000
    """Requests that one user may make a second, on average; 0 for no limit."""
    burst: float = 4_000
    """Requests that one user may make at once."""


def data_directory(chosen: Path | None = None) -> Path:
    """Find the data directory: the one named, else systemd's, else the user's own.

    Args:
        chosen: what `--data` says.
    """
    if chosen is not None:
        return chosen.expanduser()
    named = os.environ.get("RELAY_DATA") or os.environ.get("STATE_DIRECTORY")
    if named:
        return Path(named.split(":", maxsplit=1)[0])
    if os.geteuid() == 0 and Path("/var/lib/relay/relay.db").exists():
        return Path("/var/lib/relay")
    home = os.environ.get("XDG_DATA_HOME") or Path(os.environ.get("HOME", "."), ".local", "share")
    return Path(home, "chat-relay")


def control_socket(data: Path) -> Path:
    """Where the control socket of the relay on a data directory is."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    if runtime:
        return Path(runtime.split(":", maxsplit=1)[0]) / "relay.sock"
    installed = Path("/run/relay/relay.sock")
    return installed if data == Path("/var/lib/relay") and installed.exists() else data / "relay.sock"
