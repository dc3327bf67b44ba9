"""`relay serve`, `relay schema`, `relay version`."""

import json
import sys

import typer

from relay import __version__


def serve(context: typer.Context) -> None:
    """Run the relay.

    Example: relay serve --listen 0.0.0.0:8765
    """
    from relay.serve import main

    raise typer.Exit(main(context.args))


def schema() -> None:
    """Print the AsyncAPI document of the protocol.

    Example: relay schema > relay.asyncapi.json
    """
    from relay.protocol import schema as wire_schema

    json.dump(wire_schema.asyncapi(), sys.stdout, indent=2, ensure_ascii=False)
    print()


def version() -> None:
    """Print the version."""
    print(__version__)
