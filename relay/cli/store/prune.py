"""`relay prune`: removing old messages."""

from typing import Annotated

import typer

from relay.cli.control_client import ask
from relay.cli.options import Data, Json, Yes
from relay.cli.output import as_json, confirm, say, size
from relay.protocol import control
from relay.protocol.control.table import PRUNE
from relay.settings import MAX_BYTES, MAX_DAYS, data_directory


def prune(
    days: Annotated[
        int | None,
        typer.Option(max=MAX_DAYS, help="Remove messages older than this; 0 for none. Default: retention.days."),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            max=MAX_BYTES,
            help="Then remove the oldest until the store is this small. Default: retention.max_bytes.",
        ),
    ] = None,
    yes_: Yes = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove old messages for good and free their space.

    Interrupted, it leaves the rest: the part under way, 2,000 entries at most, is completed within the hour.

    Example: relay prune --days 365
    """
    if days or max_bytes:
        confirm("Remove old messages for good?", yes=yes_)
    pruned = ask(data_directory(data), PRUNE, control.Prune(days=days, max_bytes=max_bytes))
    if json:
        as_json(pruned)
    else:
        say(f"removed {pruned.removed} entries; {size(pruned.bytes)} in use")
        if pruned.too_large:
            say("The store is still larger than allowed: what is left is too new, or is users and chats.")
