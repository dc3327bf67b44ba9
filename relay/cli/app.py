"""The command `relay`: the table of all commands, and how failures are printed.

Imports only the module of the typed command: the others would take a second on a small machine, and a shell runs this
for each completion.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from relay import thread_limit
from relay.cli import stdio
from relay.cli.hints import note_data
from relay.cli.output import Failure, say
from relay.settings import WrongSettings
from relay.store.files.directory import NoDirectory, about_file

GROUPS = ("user", "device", "invite", "chat", "config", "hook", "tls", "clock")
"""Commands with subcommands. Each is the `app` of the module with its name."""
COMMANDS = {
    "serve": ("basic", "serve"),
    "send": ("messages", "send"),
    "tail": ("messages", "tail"),
    "status": ("status", "status"),
    "doctor": ("doctor.command", "doctor"),
    "audit": ("status", "audit"),
    "backup": ("store.backup", "backup"),
    "restore": ("store.restore", "restore"),
    "check": ("store.check", "check"),
    "repair": ("store.repair", "repair"),
    "prune": ("store.prune", "prune"),
    "reindex": ("store.check", "reindex"),
    "export": ("transfer", "export"),
    "import": ("transfer", "import_"),
    "bench": ("bench", "bench"),
    "schema": ("basic", "schema"),
    "version": ("basic", "version"),
    "help": ("manual", "help_"),
}
"""The other commands, each with its module and function."""
TAKES_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Context settings of `serve`, which parses its options itself."""


def build(only: str | None = None) -> typer.Typer:
    """Build the command line.

    Args:
        only: the first typed word. If it is a command, no other command is imported.
    """
    app = typer.Typer(
        name="relay",
        help="A chat relay for LANs and edge devices: one process, one port, one file.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # Without a callback, typer treats a single command as the whole program.
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
    """Return the first typed word, or the first word of the line that the shell completes."""
    completed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS")
    words = completed.split() if completed else sys.argv
    word = words[1] if len(words) > 1 else None
    return "version" if word == "--version" else word


def run() -> None:
    """Run the command that was typed. A failure is one line on stderr and an exit code."""
    stdio.set_up()
    note_data(None)
    try:
        try:
            build(first_word())()
        finally:
            # Buffered output may be what cannot be written.
            sys.stdout.flush()
    except Failure as failure:
        say(f"relay: {failure}", error=True)
        sys.exit(failure.exit_code)
    except UnicodeError:
        print("relay: the input is not UTF-8 text", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of a pipe has closed it.
        sys.exit(1)
    except OSError as error:
        _fail(thread_limit.WHAT_HELPS if thread_limit.lacks_threads(error) else about_file(error))
    except (NoDirectory, WrongSettings) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    say(f"relay: {message}", error=True)
    sys.exit(1)
