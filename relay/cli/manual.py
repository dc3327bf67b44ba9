"""`relay help`: the operator's guide by topic, and the man page, which is generated from the commands."""

import re
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Annotated

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from relay import __version__
from relay.cli.output import WrongUse
from relay.settings import declared, toml_value

CHANGES_TOPIC = "changes"
"""The topic that shows the changelog."""


def topics() -> dict[str, str]:
    """Return the topics of the guide, each with its title."""
    return {name: text.partition("\n")[0].removeprefix("# ") for name, text in _texts()}


def _texts() -> Iterator[tuple[str, str]]:
    package = resources.files("relay")
    texts = [(file.name.removesuffix(".txt"), file) for file in package.joinpath("help").iterdir()]
    for name, file in sorted([*texts, (CHANGES_TOPIC, package / "CHANGELOG.md")], key=lambda one: one[0]):
        yield name, file.read_text("utf-8")


def complete_topic(incomplete: str) -> list[tuple[str, str]]:
    """Return the topics that begin with `incomplete`, each with its title."""
    return [(name, title) for name, title in topics().items() if name.startswith(incomplete)]


def help_(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="[TOPIC]", help="The topic.", show_default=False, autocompletion=complete_topic),
    ] = None,
    man: Annotated[bool, typer.Option("--man", help="Print the man page relay(1), for man -l -.")] = False,
) -> None:
    """Read the operator's guide: backups, moving, TLS, theft, the field kit, tuning, upgrades, hooks.

    Example: relay help backup
    """
    if man:
        from relay.cli.app import build

        print(page(build()), end="")
        return
    known = topics()
    if topic is None:
        width = max(map(len, known))
        print("relay COMMAND --help describes a command. The operator's guide, relay help TOPIC:\n")
        for name, title in known.items():
            print(f"  {name:<{width}}  {title}")
    elif topic in known:
        sys.stdout.write(dict(_texts())[topic])
    else:
        raise WrongUse(f"there is no topic {topic!r}, only {', '.join(known)}{_instead(topic)}")


def _instead(word: str) -> str:
    """Say where else a word is explained: in the help of its command, and on other pages."""
    from relay.cli.app import COMMANDS, GROUPS

    command = [f"`relay {word} --help` describes the command"] if word in (*COMMANDS, *GROUPS) else []
    known = re.compile(rf"\b{re.escape(word)}", re.IGNORECASE)
    pages = [name for name, text in _texts() if name != CHANGES_TOPIC and known.search(text)] if word.strip() else []
    named = [f"{word!r} stands in {', '.join(pages)}"] if pages else []
    return "".join(f"; {one}" for one in (*command, *named))


def page(app: typer.Typer) -> str:
    """Write the man page in roff."""
    return "\n".join(_page(app)) + "\n"


def _page(app: typer.Typer) -> Iterator[str]:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    yield f'.TH RELAY 1 "" "chat-relay {__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"relay \- a chat relay for LANs and edge devices"
    yield ".SH SYNOPSIS"
    yield r".B relay"
    yield r".I COMMAND"
    yield "[OPTION]..."
    yield ".SH DESCRIPTION"
    yield _text(root.help or "")
    yield ".PP"
    yield _text(
        "Commands that change something work whether the relay runs or not: through its control socket while it"
        " does, on its file while it does not. Reading commands print JSON with --json."
    )
    yield ".SH COMMANDS"
    for name, command in _commands("relay", root):
        yield from _command(name, command)
    yield ".SH SETTINGS"
    yield _text(
        "In /etc/relay/relay.toml, or the file that --config or RELAY_CONFIG names."
        " Each is an environment variable, too."
    )
    for setting in declared():
        yield ".TP"
        yield f".B {_escape(setting.key)} = {_escape(toml_value(setting.default))}"
        notes = [setting.unit] if setting.unit else []
        notes += ["takes effect at the next start"] if setting.at_start else []
        yield _text(
            f"{setting.description}{' (' + '; '.join(notes) + ')' if notes else ''} Variable: {setting.variable}."
        )
    yield from _list("ENVIRONMENT", ENVIRONMENT)
    yield from _list("FILES", MANUAL_FILES)
    yield from _list("SIGNALS", SIGNALS)
    yield from _list("EXIT STATUS", EXIT)
    yield ".SH GUIDE"
    for name, title in topics().items():
        yield ".TP"
        yield f".B relay help {_escape(name)}"
        yield _text(title)


ENVIRONMENT = {
    "RELAY_DATA": "The data directory, where --data does not name one.",
    "RELAY_CONFIG": "The settings file, where --config does not name one.",
    "NO_COLOR": "Print no colours.",
}
MANUAL_FILES = {
    "/etc/relay/relay.toml": "Settings; it need not be there.",
    "/var/lib/relay": "The data of the installed relay; of others ~/.local/share/chat-relay.",
    "/run/relay/relay.sock": "The control socket; of others relay.sock in the data directory.",
}
SIGNALS = {
    "SIGTERM, SIGINT": "Stop in order: acknowledged messages are on disk, clients are told and reconnect.",
    "SIGHUP": "Read the settings again.",
}
NUMBERS = {"INT": "N", "INTEGER": "N", "INT RANGE": "N", "INTEGER RANGE": "N", "FLOAT RANGE": "N", "FLOAT": "N"}
"""Names of number types in the man page."""
EXIT = {"0": "Done.", "1": "Failed; stderr says in one line why.", "2": "Wrong use."}


def _list(title: str, entries: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, what in entries.items():
        yield ".TP"
        yield f".B {_escape(name)}"
        yield _text(what)


def _commands(name: str, group: TyperGroup) -> Iterator[tuple[str, TyperCommand]]:
    """List all commands below a group, each with its full name."""
    for sub_name, sub in group.commands.items():
        if sub.hidden:
            continue
        if isinstance(sub, TyperGroup):
            yield from _commands(f"{name} {sub_name}", sub)
        else:
            assert isinstance(sub, TyperCommand)
            yield f"{name} {sub_name}", sub


def _command(name: str, command: TyperCommand) -> Iterator[str]:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    yield f".SS {_escape(' '.join([name, *(_metavar(one) for one in arguments)]))}"
    what, _, example = (command.help or "").partition("Example:")
    yield _text(what)
    named = [(_metavar(one), one.help) for one in arguments] + [(_option(one), one.help) for one in options]
    for words, meaning in named:
        yield ".TP"
        yield f".B {_escape(words)}"
        yield _text(meaning or "")
    if name == "relay serve":
        yield from _serve()
    if example:
        yield ".PP"
        yield f"Example: \\fB{_escape(example.strip())}\\fR"


def _serve() -> Iterator[str]:
    """List the options of `relay serve`, which has its own parser."""
    from relay.serve_options import parser

    _, _, options = parser().format_help().partition("Options:\n")
    yield ".PP"
    yield ".nf"
    yield from map(_escape, options.rstrip().splitlines())
    yield ".fi"


def _metavar(argument: TyperArgument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _option(option: TyperOption) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    kind = str(option.type.name).upper()
    return names if option.is_flag else f"{names} {option.metavar or NUMBERS.get(kind, kind)}"


def _text(text: str) -> str:
    """Write a paragraph as one line, which man wraps."""
    return _escape(re.sub(r"\s+", " ", text or "").strip())


def _escape(text: str) -> str:
    """Escape a text, so that roff finds no command in it."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
