"""The command `relay`: all commands in one place, and how a failure is said.

Only the module of the command that is called is imported: on a small machine the others take a second, and
the shell calls this for each completion.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from relay.cli import stdio
from relay.cli.output import Failure, say
from relay.settings import WrongSettings
from relay.store.files.directory import NoDirectory, about_file

GROUPS = ("user", "device", "invite", "chat", "config", "hook", "tls", "clock")
"""Commands with commands below them; each is the `app` of the module of its name."""
COMMANDS = {
    "serve": ("basic", "serve"),
    "send": ("messages", "send"),
    "tail": ("messages", "tail"),
    "status": ("status", "status"),
    "doctor": ("doctor.command", "doctor"),
    "audit": ("status", "audit"),
    "backup": ("backup", "backup"),
    "restore": ("backup", "restore"),
    "check": ("backup", "check"),
    "prune": ("backup", "prune"),
    "reindex": ("backup", "reindex"),
    "export": ("transfer", "export"),
    "import": ("transfer", "import_"),
    "bench": ("bench", "bench"),
    "schema": ("basic", "schema"),
    "version": ("basic", "version"),
    "help": ("manual", "help_"),
}
"""The other commands: the module and the function of each."""
TAKES_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""`serve` has a parser of its own."""


def build(only: str | None = None) -> typer.Typer:
    """Put the command line together.

    Args:
        only: the one command that is needed; all where it is none of them.
    """
    app = typer.Typer(
        name="relay",
        help="A chat relay for LANs and edge devices: one process, one port, one file.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # One command by itself would be taken for the whole program.
    app.callback()(_options)
    everything = only not in (*GROUPS, *COMMANDS)
    for name in GROUPS:
        if everything or name == only:
            app.add_typer(import_module(f"relay.cli.{name}").app, name=name)
    for name, (module, function) in COMMANDS.items():
        if everything or name == only:
            settings = TAKES_ANYTHING if name == "serve" else None
            app.command(name, context_settings=settings)(_function(module, function))
    return app


def _function(module: str, name: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(import_module(f"relay.cli.{module}"), name)
    return function


def _version(asked: bool) -> None:
    if asked:
        _function("basic", "version")()
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """A chat relay for LANs and edge devices: one process, one port, one file."""


def first_word() -> str | None:
    """The command that is called, or that is being completed."""
    completed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS")
    words = completed.split() if completed else sys.argv
    word = words[1] if len(words) > 1 else None
    return "version" if word == "--version" else word


def run() -> None:
    """Run a command; what fails is said in one line, and in the exit code."""
    stdio.set_up()
    try:
        try:
            build(first_word())()
        finally:
            # What is still to be written may be what cannot be.
            sys.stdout.flush()
    except Failure as failure:
        say(f"relay: {failure}", error=True)
        sys.exit(failure.exit_code)
    except UnicodeError:
        print("relay: what was typed or piped in is not UTF-8 text", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read has read enough.
        sys.exit(1)
    except OSError as error:
        _fail(about_file(error))
    except (NoDirectory, WrongSettings) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    say(f"relay: {message}", error=True)
    sys.exit(1)
