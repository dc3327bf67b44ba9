"""The options that commands share, and the completions of ids for a shell."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from relay.cli.control_client import ask_running
from relay.cli.hints import note_data
from relay.cli.output import Failure, WrongUse
from relay.protocol import control
from relay.protocol.control.table import CHAT_LIST, USER_LIST
from relay.protocol.request_type import RequestType
from relay.settings import WrongSettings, data_directory

Listed = TypeVar("Listed", control.UserInfo, control.ChatInfo)


def _known(kind: RequestType[control.Empty, list[Listed]], incomplete: str) -> list[tuple[str, str]]:
    """Ask a running relay for ids and names that begin with `incomplete`. Without a running relay, return none."""
    try:
        known = ask_running(data_directory(), kind, control.Empty()) or []
    except (Failure, WrongSettings):
        return []
    return [(one.id, one.name) for one in known if one.id.startswith(incomplete)]


def complete_user(incomplete: str) -> list[tuple[str, str]]:
    """Return the user ids that begin with `incomplete`, each with a name."""
    return _known(USER_LIST, incomplete)


def complete_chat(incomplete: str) -> list[tuple[str, str]]:
    """Return the ids of groups and channels that begin with `incomplete`, each with a name."""
    return _known(CHAT_LIST, incomplete)


def _directory(text: str) -> Path:
    """Parse `--data`. An empty name would be the current directory.

    Raises:
        WrongUse: it is empty.
    """
    if not text:
        raise WrongUse("--data: name a directory, or leave it out")
    return Path(text)


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data directory.",
        show_default=False,
        rich_help_panel="Where",
        parser=_directory,
        callback=note_data,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
