"""`relay user`: the users of the relay."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from relay.cli.control_client import Ask, RequestRefused, ask, conversation
from relay.cli.offline import in_trio
from relay.cli.options import Data, Json, Yes, complete_user
from relay.cli.output import Failure, WrongUse, as_json, confirm, say, table, when, yes
from relay.cli.user_table import read_users
from relay.protocol import control
from relay.protocol.control.table import (
    DEVICE_ADD,
    DEVICE_LIST,
    HOOK_LIST,
    USER_ADD,
    USER_CHANGE,
    USER_LIST,
    USER_PASSWORD,
    USER_SHOW,
)
from relay.settings import data_directory

app = typer.Typer(help="The users, who may sign in.", no_args_is_help=True)

UserId = Annotated[str, typer.Argument(metavar="ID", help="The user's id, for instance User1.", show_default=False)]
Known = Annotated[
    str,
    typer.Argument(metavar="ID", help="The user's id.", show_default=False, autocompletion=complete_user),
]


def _show(user: control.UserInfo, *, json: bool, said: str) -> None:
    if json:
        as_json(user)
    else:
        say(said)


@app.command()
def add(
    user_id: UserId,
    name: Annotated[str | None, typer.Option(help="The name that people see; by default the id.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May invite others, from the page.")] = False,
    bot: Annotated[bool, typer.Option("--bot", help="Is a program, and shown as one.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Add a user.

    Example: relay user add anna --name "Anna Berg"
    """
    user = ask(
        data_directory(data),
        USER_ADD,
        control.AddUser(id=user_id, name=name, admin=admin, bot=bot),
        make=True,
    )
    _show(user, json=json, said=f"added {user.id} ({user.name}). Next: `relay device add {user.id}`")


@app.command("list")
def list_(data: Data = None, json: Json = False) -> None:
    """Show all users.

    Example: relay user list --json
    """
    users = ask(data_directory(data), USER_LIST, control.Empty())
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
        "there are no users yet: `relay user add ID`",
    )


@app.command()
def show(user_id: Known, data: Data = None, json: Json = False) -> None:
    """Show one user, their hooks and their devices.

    Example: relay user show anna
    """
    where = data_directory(data)
    user = ask(where, USER_SHOW, control.OneUser(id=user_id))
    if json:
        as_json(user)
        return
    state = "disabled" if user.disabled else "online" if user.online else "offline"
    kind = "bot" if user.bot else "admin" if user.admin else "user"
    say(f"{user.id}  {user.name}  ({kind}, {state}, since {when(user.created_at)}, in {user.chats} chats)")
    for hook in ask(where, HOOK_LIST, control.Empty()):
        if hook.user_id == user.id:
            say(f"hook {hook.device_id} {'posts into' if hook.direction == 'in' else 'follows'} {hook.chat}")
    devices = ask(where, DEVICE_LIST, control.ListDevices(user_id=user_id))
    table(
        ("device", "label", "online", "last seen", "since"),
        ((d.device_id, d.label, yes(d.online), when(d.last_seen), when(d.created_at)) for d in devices),
        f"no devices yet: `relay device add {user.id}`",
    )


def _change(user_id: str, change: control.ChangeUser, said: str, data: Data, json: bool) -> None:
    user = ask(data_directory(data), USER_CHANGE, change)
    _show(user, json=json, said=said.format(id=user_id, name=user.name))


@app.command()
def rename(
    user_id: Known,
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Give a user another name; the id stays.

    Example: relay user rename anna "Anna Lind"
    """
    _change(user_id, control.ChangeUser(id=user_id, name=name), "{id} is called {name} now", data, json)


@app.command()
def password(
    user_id: Known,
    none: Annotated[bool, typer.Option("--none", help="Remove the password.")] = False,
    sign_out: Annotated[bool, typer.Option("--sign-out", help="Sign out all their devices; hooks stay.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Set a user's password, which is asked for here or read from a pipe.

    Example: relay user password anna
    """
    if none:
        chosen = ""
    elif sys.stdin.isatty():
        chosen = typer.prompt(f"Password for {user_id}", hide_input=True, confirmation_prompt=True)
    else:
        # A file from Windows begins with a byte order mark and ends its line with a carriage return.
        chosen = sys.stdin.readline().lstrip("\ufeff").rstrip("\r\n")
    if not none and not chosen:
        raise WrongUse(
            f"no password was given, and nothing was changed: type one, or pipe one in. --none removes {user_id}'s;"
            f" `relay device revoke --all {user_id}` signs {user_id} out and leaves it"
        )
    revoked = ask(
        data_directory(data),
        USER_PASSWORD,
        control.SetPasswordRequest(id=user_id, password=chosen, sign_out=sign_out),
    )
    if json:
        as_json({"id": user_id, "password": not none, "signedOut": revoked.count})
        return
    say(f"{user_id} signs in with {'no password' if none else 'this password'} from now on")
    if sign_out:
        say(f"{revoked.count} of their devices have to sign in again")


@app.command()
def disable(user_id: Known, data: Data = None, json: Json = False) -> None:
    """Keep a user out until they are enabled again; connections end at once.

    Example: relay user disable anna
    """
    _change(
        user_id,
        control.ChangeUser(id=user_id, disabled=True),
        "{id} is disabled. To undo: `relay user enable {id}`",
        data,
        json,
    )


@app.command()
def enable(user_id: Known, data: Data = None, json: Json = False) -> None:
    """Let a disabled user in again.

    Example: relay user enable anna
    """
    _change(user_id, control.ChangeUser(id=user_id, disabled=False), "{id} may sign in again", data, json)


@app.command()
def remove(user_id: Known, yes_: Yes = False, data: Data = None, json: Json = False) -> None:
    """Remove a user from all groups and sign out all devices. Their messages stay; the id cannot be used again.

    Example: relay user remove anna --yes
    """
    confirm(f"Remove {user_id} for good?", yes=yes_)
    _change(user_id, control.ChangeUser(id=user_id, removed=True), "{id} is removed", data, json)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Rows of id,name; - for standard input.", show_default=False)
    ],
    device: Annotated[
        bool, typer.Option("--device", help="Add a device for each user, new or not, and print its token.")
    ] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Add many users at once. Users who exist already stay as they are.

    Example: relay user import staff.csv --device --json > tokens.jsonl
    """
    import trio

    rows = read_users(file)
    out: list[str] = []

    async def bring_in() -> None:
        async with conversation(data_directory(data), make=True) as ask_one:
            for user_id, name in rows:
                added, token, problem = await _bring_in(ask_one, user_id, name, device=device)
                if problem:
                    out.append(user_id)
                if json:
                    more = {"token": token} if token else {"problem": problem} if problem else {}
                    as_json({"id": user_id, "added": added} | more)
                else:
                    said = problem or ("added" if added else "was there already")
                    print(f"{user_id} {said} {token}".rstrip(), flush=True)

    in_trio(trio.run, bring_in)
    if out:
        raise Failure(f"{len(out)} of {len(rows)} could not be added: {', '.join(out[:10])}")


async def _bring_in(ask_one: Ask, user_id: str, name: str | None, *, device: bool) -> tuple[bool, str, str]:
    """Add one user, unless the id exists, and a device if requested.

    Returns:
        Whether the user was added; the device's token, or nothing; the reason why the user could not be added, or
        nothing.
    """
    added = True
    try:
        await ask_one(USER_ADD, control.AddUser(id=user_id, name=name))
    except RequestRefused as refused:
        if refused.code != "conflict":
            raise
        added = False
    try:
        if device:
            token = await ask_one(DEVICE_ADD, control.AddDeviceRequest(user_id=user_id, label="imported"))
            return added, token.token, ""
        if not added:
            await ask_one(USER_SHOW, control.OneUser(id=user_id))
    except RequestRefused as refused:
        if refused.code == "not_found":
            return False, "", "cannot be added: the id was a removed user's, or is a group's; take another"
        if refused.code != "forbidden":
            raise
        return added, "", f"has no device: {refused}"
    return added, "", ""
