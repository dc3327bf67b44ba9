"""`relay hook`: programs that post into a chat, and programs that receive what happens in one."""

from typing import Annotated

import typer

from relay.cli.control_client import ask
from relay.cli.options import Data, Json, complete_chat, complete_user
from relay.cli.output import as_json, say, table, when
from relay.protocol import control
from relay.protocol.base import MAX_SAFE_INTEGER
from relay.protocol.control.table import HOOK_ADD, HOOK_LIST, HOOK_REMOVE
from relay.settings import data_directory

app = typer.Typer(help="Programs that post into a chat, or receive what happens in one.", no_args_is_help=True)


@app.command("add")
def add_(
    chat: Annotated[
        str,
        typer.Argument(
            metavar="CHAT",
            help="A group's id or name, or a user's id.",
            show_default=False,
            autocompletion=complete_chat,
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URL", help="Post what happens in the chat there, signed.", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option(help="The sender that people see, where --as names no user.")] = "Hook",
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="USER",
            help="The user that the hook acts as, who must be in the chat.",
            show_default=False,
            autocompletion=complete_user,
        ),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Put that user into the chat first.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make an address that programs post to, as Slack's; or, with --to, post what happens in the chat to a program.

    Example: relay hook add ops --name Grafana
    """
    hook = ask(data_directory(data), HOOK_ADD, control.AddHook(chat=chat, name=name, user_id=as_, add=add, url=to))
    if json:
        as_json(hook)
    elif to:
        say(f"hook {hook.device_id} posts what happens in {hook.chat} to {hook.url}, signed with this secret:")
        print(hook.secret)
    else:
        print(hook.url)


@app.command("list")
def list_(data: Data = None, json: Json = False) -> None:
    """Show all hooks and what keeps one from working. Addresses to post to are not stored and not shown.

    Example: relay hook list
    """
    hooks = ask(data_directory(data), HOOK_LIST, control.Empty())
    if json:
        as_json(hooks)
        return
    table(
        ("hook", "name", "user", "chat", "direction", "to", "since", "problem"),
        (
            (
                one.device_id,
                one.name,
                one.user_id,
                one.chat,
                one.direction,
                one.url or "",
                when(one.created_at),
                one.problem or "",
            )
            for one in hooks
        ),
        "no hooks yet: `relay hook add CHAT`",
    )


@app.command()
def remove(
    hook_id: Annotated[
        int,
        typer.Argument(min=1, max=MAX_SAFE_INTEGER, metavar="HOOK", help="Its number in the list.", show_default=False),
    ],
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove a hook; its bot and their messages stay.

    Example: relay hook remove 7
    """
    removed = ask(data_directory(data), HOOK_REMOVE, control.RemoveHook(device_id=hook_id))
    if json:
        as_json(removed)
    else:
        say(f"hook {hook_id} is removed")
