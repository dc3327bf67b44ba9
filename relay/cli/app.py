"""The command `relay`: all commands in one place, and how a failure is said."""

import json
import os
import sys

import typer

from relay import __version__
from relay.cli import bench, carry, chat, config, device, doctor, hook, invite, keep, status, talk, tls, user
from relay.cli.manual import make_help
from relay.cli.output import Failure
from relay.protocol import schema as wire_schema

app = typer.Typer(
    name="relay",
    help="A chat relay for LANs and edge devices: one process, one port, one file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(user.app, name="user")
app.add_typer(device.app, name="device")
app.add_typer(chat.app, name="chat")
app.add_typer(config.app, name="config")
app.add_typer(hook.app, name="hook")
app.command()(talk.send)
app.command()(talk.tail)
app.command()(status.status)
app.command()(status.audit)
app.command()(doctor.doctor)
app.command()(carry.export)
app.command("import")(carry.import_)
app.command()(bench.bench)
app.command()(keep.check)
app.command()(keep.backup)
app.command()(keep.restore)
app.command()(keep.prune)
app.command()(invite.invite)
app.add_typer(tls.app, name="tls")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def serve(context: typer.Context) -> None:
    """Run the relay.

    Example: relay serve --listen 0.0.0.0:8765
    """
    from relay.serve import main

    raise typer.Exit(main(context.args))


@app.command()
def schema() -> None:
    """Print the AsyncAPI document of the protocol.

    Example: relay schema > relay.asyncapi.json
    """
    json.dump(wire_schema.asyncapi(), sys.stdout, indent=2, ensure_ascii=False)
    print()


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


make_help(app)


def run() -> None:
    """Run a command; what fails is said in one line and exits with 1."""
    try:
        app()
    except Failure as failure:
        print(f"relay: {failure}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read has read enough; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
