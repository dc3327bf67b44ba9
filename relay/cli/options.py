"""The options that commands share, and what a shell may complete."""

from pathlib import Path
from typing import Annotated

import typer

from relay.cli.control_client import ask_running
from relay.cli.hints import note_data
from relay.cli.output import Failure, WrongUse
from relay.protocol import control
from relay.settings import data_directory


def _known(name: str, incomplete: str) -> list[tuple[str, str]]:
    """What a running relay knows of that begins so; nothing where none runs or may be asked."""
    try:
        known = ask_running(data_directory(), name, control.Empty()) or []
    except Failure:
        return []
    return [(one.id, one.name) for one in known if one.id.startswith(incomplete)]


def complete_user(incomplete: str) -> list[tuple[str, str]]:
    """User ids that begin so."""
    return _known("user.list", incomplete)


def complete_chat(incomplete: str) -> list[tuple[str, str]]:
    """Ids of groups that begin so."""
    return _known("chat.list", incomplete)


def _directory(text: str) -> Path:
    """Take a directory's name, since an empty one would be the current directory.

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
