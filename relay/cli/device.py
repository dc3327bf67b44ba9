"""`relay device`: the devices that users are signed in on."""

from typing import Annotated

import typer

from relay.cli.control_client import ask
from relay.cli.options import Data, Json, complete_user
from relay.cli.output import WrongUse, as_json, say, table, when, yes
from relay.protocol import control
from relay.protocol.control.table import DEVICE_ADD, DEVICE_LIST, DEVICE_REVOKE, DEVICE_REVOKE_ALL
from relay.settings import data_directory

app = typer.Typer(help="Devices that users are signed in on.", no_args_is_help=True)


@app.command()
def add(
    user_id: Annotated[
        str, typer.Argument(metavar="USER", help="The user's id.", show_default=False, autocompletion=complete_user)
    ],
    label: Annotated[str, typer.Option(help="A description, for instance 'door sensor'.")] = "",
    data: Data = None,
    json: Json = False,
) -> None:
    """Add a device and print its token. It is shown only now: the relay stores a hash of it.

    Example: relay device add alarm --label "door sensor"
    """
    token = ask(data_directory(data), DEVICE_ADD, control.AddDeviceRequest(user_id=user_id, label=label))
    if json:
        as_json({"deviceId": token.device_id, "token": token.token})
    else:
        print(token.token)


@app.command("list")
def list_(
    user_id: Annotated[
        str | None,
        typer.Argument(metavar="[USER]", help="Only this user's devices.", autocompletion=complete_user),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show the devices that may sign in.

    Example: relay device list anna
    """
    devices = ask(data_directory(data), DEVICE_LIST, control.ListDevices(user_id=user_id))
    if json:
        as_json(devices)
        return
    table(
        ("device", "user", "label", "online", "last seen", "since"),
        ((d.device_id, d.user_id, d.label, yes(d.online), when(d.last_seen), when(d.created_at)) for d in devices),
        "no devices yet: `relay device add USER`",
    )


@app.command()
def revoke(
    device_id: Annotated[
        int | None, typer.Argument(metavar="[DEVICE]", help="Its number in the list.", show_default=False)
    ] = None,
    all_of: Annotated[
        str | None,
        typer.Option(
            "--all", metavar="USER", help="Every device of this user; hooks go on.", autocompletion=complete_user
        ),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Sign out one device, or all of a user's, for good. Connections end at once.

    Example: relay device revoke 7
    """
    if (device_id is None) == (all_of is None):
        raise WrongUse("name one device, or --all USER: `relay device list` shows them")
    if all_of is not None:
        revoked = ask(data_directory(data), DEVICE_REVOKE_ALL, control.RevokeDevicesRequest(user_id=all_of))
        if json:
            as_json(revoked)
        else:
            say(f"{revoked.count} devices of {all_of} may not sign in any more")
        return
    device = ask(data_directory(data), DEVICE_REVOKE, control.RevokeDevice(device_id=device_id or 0))
    if json:
        as_json(device)
    else:
        say(f"device {device.device_id} of {device.user_id} may not sign in any more")
