"""The options of `relay serve`, read without the command line's libraries.

typer would cost a running relay 1.65 MiB of memory, and each start 23 ms.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from relay.net.listeners import CannotServe, address

ABOUT = """
  Run the relay.

  Example: relay serve --listen 0.0.0.0:8765
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """Writes help in the format of the other commands."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """See `argparse.HelpFormatter`."""
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


class Parser(argparse.ArgumentParser):
    """Reports wrong use in one line, like the other commands."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        self.exit(2, f"relay: {message.removeprefix('argument ')}\n")


def parser() -> argparse.ArgumentParser:
    """Make the parser of `relay serve`."""
    parser = Parser(
        prog="relay serve",
        usage="relay serve [OPTIONS]",
        description=ABOUT,
        formatter_class=Help,
        add_help=False,
    )
    options = parser.add_argument_group("Options")
    options.add_argument(
        "--listen",
        action="append",
        type=_listened_on,
        metavar="HOST:PORT",
        help="Where to listen (can be repeated).",
    )
    options.add_argument("--tls", action="store_true", default=None, help="Speak TLS (see: relay tls init).")
    options.add_argument("--data", type=_directory, metavar="DIR", help="The data directory.")
    options.add_argument("--config", type=Path, metavar="FILE", help="The settings file.")
    options.add_argument("--help", action="help", help="Show this message and exit.")
    options.add_argument("-h", action="help", help=argparse.SUPPRESS)
    return parser


def _listened_on(text: str) -> str:
    try:
        address(text)
    except CannotServe as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _directory(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a directory, or leave it out")
    return Path(text)
