"""`relay chat`: groups and channels."""

from typing import Annotated, Literal

import typer

from relay.cli.control_client import ask
from relay.cli.options import Data, Json, Yes, complete_chat, complete_user
from relay.cli.output import as_json, confirm, say, table, when
from relay.protocol import control
from relay.protocol.control.table import (
    CHAT_ADD,
    CHAT_CREATE,
    CHAT_DELETE,
    CHAT_LIST,
    CHAT_REMOVE,
    CHAT_SHOW,
    CHAT_UPDATE,
)
from relay.settings import data_directory

app = typer.Typer(help="Groups and channels.", no_args_is_help=True)

ChatId = Annotated[
    str,
    typer.Argument(metavar="CHAT", help="Its id, or its name.", show_default=False, autocompletion=complete_chat),
]
Users = Annotated[
    list[str], typer.Argument(metavar="USER...", help="User ids.", show_default=False, autocompletion=complete_user)
]


@app.command("list")
def list_(data: Data = None, json: Json = False) -> None:
    """Show all groups and channels.

    Example: relay chat list
    """
    chats = ask(data_directory(data), CHAT_LIST, control.Empty())
    if json:
        as_json(chats)
        return
    table(
        ("id", "name", "type", "owner", "people", "messages", "last"),
        ((c.id, c.name, c.type, c.owner, len(c.participants), c.messages, when(c.last_message_time)) for c in chats),
        "no groups yet: `relay chat create NAME USER...`",
    )


def _show(chat: control.ChatInfo, json: bool) -> None:
    if json:
        as_json(chat)
        return
    say(f"{chat.id}  {chat.name}  ({chat.type}, {chat.messages} messages, since {when(chat.created_at)})")
    say(f"owner: {chat.owner}")
    if chat.admins:
        say(f"admins: {', '.join(chat.admins)}")
    say(f"people: {', '.join(chat.participants)}")


@app.command()
def show(chat_id: ChatId, data: Data = None, json: Json = False) -> None:
    """Show one group or channel.

    Example: relay chat show g-0123456789abcdef
    """
    _show(ask(data_directory(data), CHAT_SHOW, control.OneChat(id=chat_id)), json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people see.", show_default=False)],
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER...]", help="Its members.")] = None,
    owner: Annotated[str | None, typer.Option(help="Its owner; by default the first user.", show_default=False)] = None,
    type_: Annotated[
        Literal["group", "channel"],
        typer.Option("--type", help="In a channel only the owner and the admins write."),
    ] = "group",
    data: Data = None,
    json: Json = False,
) -> None:
    """Create a group or channel.

    Example: relay chat create Ops anna ben carla
    """
    if owner is None and not users:
        raise typer.BadParameter("name at least one user: the first is the owner", param_hint="[USER...]")
    members = users or []
    chat = ask(
        data_directory(data),
        CHAT_CREATE,
        control.MakeChat(type=type_, name=name, owner=owner or members[0], participants=members),
    )
    if json:
        as_json(chat)
    else:
        print(chat.id)


@app.command()
def add(chat_id: ChatId, users: Users, data: Data = None, json: Json = False) -> None:
    """Put users into a group or channel.

    Example: relay chat add g-0123456789abcdef dora
    """
    _show(ask(data_directory(data), CHAT_ADD, control.ChatUsers(id=chat_id, participants=users)), json)


@app.command()
def remove(chat_id: ChatId, users: Users, data: Data = None, json: Json = False) -> None:
    """Take users out of a group or channel.

    Example: relay chat remove g-0123456789abcdef ben
    """
    _show(ask(data_directory(data), CHAT_REMOVE, control.ChatUsers(id=chat_id, participants=users)), json)


@app.command()
def rename(
    chat_id: ChatId,
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Give a group or channel another name.

    Example: relay chat rename g-0123456789abcdef "Night shift"
    """
    _show(ask(data_directory(data), CHAT_UPDATE, control.UpdateGroup(id=chat_id, name=name)), json)


@app.command()
def admins(
    chat_id: ChatId,
    users: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[USER...]",
            help="All admins besides the owner; without any, nobody but the owner.",
            show_default=False,
            autocompletion=complete_user,
        ),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Set the admins of a group or channel: all of them, besides the owner.

    Admins may do what the owner may while the owner is disabled.

    Example: relay chat admins g-0123456789abcdef ben carla
    """
    _show(ask(data_directory(data), CHAT_UPDATE, control.UpdateGroup(id=chat_id, admins=users or [])), json)


@app.command()
def delete(chat_id: ChatId, yes_: Yes = False, data: Data = None, json: Json = False) -> None:
    """Delete a group or channel for everybody in it.

    Example: relay chat delete g-0123456789abcdef --yes
    """
    confirm(f"Delete {chat_id} for everybody in it?", yes=yes_)
    ask(data_directory(data), CHAT_DELETE, control.OneChat(id=chat_id))
    if json:
        as_json({})
    else:
        say(f"{chat_id} is deleted")
