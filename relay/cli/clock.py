"""`relay clock`: an admin's word on the machine's clock."""

import typer

from relay.cli.control_client import ask
from relay.cli.options import Data, Json
from relay.cli.output import as_json, say, when
from relay.protocol import control
from relay.settings import data_directory

app = typer.Typer(help="The machine's clock, as the relay goes by it.", no_args_is_help=True)
# One command by itself would be taken for the whole group.
app.callback()(lambda: None)


@app.command()
def trust(data: Data = None, json: Json = False) -> None:
    """Say that the machine's clock is right: the log goes on from its time, forwards or back.

    Needed where neither NTP nor a real-time clock vouches for a clock that is far from the log's last time.

    Example: relay clock trust
    """
    trusted = ask(data_directory(data), "clock.trust", control.Empty())
    if json:
        as_json(trusted)
    else:
        say(f"the relay goes by the machine's clock: {when(trusted.timestamp)}")
