"""`relay user`: who may talk here."""

from typing import Annotated

import typer

from relay.cli.door import ask
from relay.cli.options import Data, Json, Yes
from relay.cli.output import as_json, table, when, yes
from relay.protocol import control
from relay.settings import data_directory

app = typer.Typer(help="Who may talk here.", no_args_is_help=True)

UserId = Annotated[str, typer.Argument(metavar="ID", help="The user's id, for instance User1.", show_default=False)]


def _show(user: control.UserInfo, *, json: bool, said: str) -> None:
    if json:
        as_json(user)
    else:
        print(said)


@app.command()
def add(
    user_id: UserId,
    name: Annotated[str | None, typer.Option(help="What people see; the id where none is given.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May invite others from the chat itself.")] = False,
    bot: Annotated[bool, typer.Option("--bot", help="Is a program, and is shown as one.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Add a user.

    Example: relay user add anna --name "Anna Berg"
    """
    user = ask(
        data_directory(data),
        "user.add",
        control.AddUser(id=user_id, name=name, admin=admin, bot=bot),
        make=True,
    )
    _show(user, json=json, said=f"added {user.id} ({user.name}). Next: relay device add {user.id}")


@app.command("list")
def list_(data: Data = None, json: Json = False) -> None:
    """Show all users.

    Example: relay user list --json
    """
    users = ask(data_directory(data), "user.list", control.Empty())
    if json:
        as_json(users)
        return
    table(
        ("id", "name", "online", "devices", "chats", "admin", "bot", "disabled", "since"),
        (
            (
                u.id,
                u.name,
                yes(u.online),
                u.devices,
                u.chats,
                yes(u.admin),
                yes(u.bot),
                yes(u.disabled),
                when(u.created_at),
            )
            for u in users
        ),
        "there are no users yet: relay user add ID",
    )


@app.command()
def show(user_id: UserId, data: Data = None, json: Json = False) -> None:
    """Show one user and their devices.

    Example: relay user show anna
    """
    where = data_directory(data)
    user = ask(where, "user.show", control.OneUser(id=user_id))
    if json:
        as_json(user)
        return
    state = "disabled" if user.disabled else "online" if user.online else "offline"
    kind = "bot" if user.bot else "admin" if user.admin else "user"
    print(f"{user.id}  {user.name}  ({kind}, {state}, since {when(user.created_at)}, in {user.chats} chats)")
    devices = ask(where, "device.list", control.ListDevices(user_id=user_id))
    table(
        ("device", "label", "online", "last seen", "since"),
        ((d.device_id, d.label, yes(d.online), when(d.last_seen), when(d.created_at)) for d in devices),
        f"no devices: relay device add {user.id}",
    )


def _change(user_id: str, change: control.ChangeUser, said: str, data: Data, json: bool) -> None:
    user = ask(data_directory(data), "user.change", change)
    _show(user, json=json, said=said.format(id=user_id, name=user.name))


@app.command()
def rename(
    user_id: UserId,
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Give a user another name; the id stays.

    Example: relay user rename anna "Anna Lind"
    """
    _change(user_id, control.ChangeUser(id=user_id, name=name), "{id} is called {name} now", data, json)


@app.command()
def disable(user_id: UserId, data: Data = None, json: Json = False) -> None:
    """Keep a user out until they are enabled again; connections end at once.

    Example: relay user disable anna
    """
    _change(
        user_id,
        control.ChangeUser(id=user_id, disabled=True),
        "{id} is disabled. To undo: relay user enable {id}",
        data,
        json,
    )


@app.command()
def enable(user_id: UserId, data: Data = None, json: Json = False) -> None:
    """Let a disabled user in again.

    Example: relay user enable anna
    """
    _change(user_id, control.ChangeUser(id=user_id, disabled=False), "{id} may sign in again", data, json)


@app.command()
def remove(user_id: UserId, yes_: Yes = False, data: Data = None, json: Json = False) -> None:
    """Remove a user: out of all groups, all devices signed out. What they said stays; the id is not given again.

    Example: relay user remove anna --yes
    """
    if not yes_:
        typer.confirm(f"Remove {user_id} for good?", abort=True)
    _change(user_id, control.ChangeUser(id=user_id, removed=True), "{id} is removed", data, json)
