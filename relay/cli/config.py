"""`relay config`: the settings in force, and a check of a settings file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from relay.cli.control_client import ask_running
from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, say, table
from relay.protocol import control
from relay.protocol.control.table import CONFIG_SHOW
from relay.settings import Loaded, WrongSettings, data_directory, default_file, toml_value

app = typer.Typer(help="The settings.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A settings file.", show_default=False)]


def _settings(loaded: Loaded) -> list[control.SettingInfo]:
    from relay.core.admin.status import settings_in_force

    return settings_in_force(loaded)


def _read(file: Path | None) -> Loaded:
    try:
        return Loaded(file, options={}, environment=os.environ)
    except WrongSettings as error:
        raise Failure(str(error)) from None


@app.command()
def show(
    config: Config = None,
    default: Annotated[bool, typer.Option("--default", help="Print a settings file with all defaults.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show every setting in force and its source: of the running relay, else of one that would start now.

    Example: relay config show --default > relay.toml
    """
    if default:
        print(default_file(), end="")
        return
    running = None if config else ask_running(data_directory(data), CONFIG_SHOW, control.Empty())
    settings = _settings(_read(config)) if running is None else running
    if json:
        as_json(settings)
        return
    table(
        ("setting", "value", "unit", "from"),
        ((one.key, toml_value(one.value), one.unit, one.source) for one in settings),
        "",
    )


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The file; by default the installed one.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Check the settings that a relay would start with.

    Example: relay config check /etc/relay/relay.toml
    """
    loaded = _read(file or config)
    changed = [one for one in _settings(loaded) if one.source != "default"]
    if json:
        as_json({"file": str(loaded.file) if loaded.file else None, "changed": len(changed)})
        return
    name = loaded.file or "no settings file"
    say(f"{name}: right, {len(changed)} of {len(list(loaded.values()))} settings are changed")
