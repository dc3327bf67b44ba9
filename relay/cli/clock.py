"""`relay clock`: the admin says whether the machine's clock is right."""

import typer

from relay.cli.control_client import ask
from relay.cli.options import Data, Json
from relay.cli.output import as_json, say, when
from relay.protocol import control
from relay.protocol.control.table import CLOCK_TRUST
from relay.settings import data_directory

app = typer.Typer(help="The machine's clock.", no_args_is_help=True)
# Without a callback, typer treats a single command as the whole group.
app.callback()(lambda: None)


@app.command()
def trust(data: Data = None, json: Json = False) -> None:
    """Say that the machine's clock is right: the log continues from its time, forwards or back.

    Needed if the clock is far from the log's last time and neither NTP nor a real-time clock vouches for it.

    Example: relay clock trust
    """
    trusted = ask(data_directory(data), CLOCK_TRUST, control.Empty())
    if json:
        as_json(trusted)
    else:
        say(f"the relay uses the machine's clock: {when(trusted.timestamp)}")
