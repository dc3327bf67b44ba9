"""`relay invite`: makes one-time links with QR codes, lists those that can be used, revokes them."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

from relay.cli.control_client import RequestRefused, ask
from relay.cli.options import Data, Json, complete_user
from relay.cli.output import Failure, WrongUse, as_json, say, table, when
from relay.protocol import control
from relay.protocol.control.table import INVITE, INVITE_LIST, INVITE_REVOKE
from relay.settings import data_directory

QUIET_ZONE_MODULES = 2
"""Light modules around the code. The standard requires four; cameras find it with fewer."""
STATES = {"open": "open", "userDisabled": "user disabled", "makerMayNot": "maker may not invite"}


class InviteGroup(typer.core.TyperGroup):
    """Command group in which `relay invite USER` is short for `relay invite add USER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `click.Command`; typer has no public name for the context, hence Any."""
        if args and args[0] not in self.commands and args[0] not in self.get_help_option_names(ctx):
            args = ["add", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=InviteGroup,
    help="One-time links by which users sign in; `relay invite USER` is short for `relay invite add USER`.",
    no_args_is_help=True,
)


@app.command()
def add(
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)],
    chat: Annotated[
        str | None,
        typer.Option(
            metavar="CHAT",
            help="The chat that opens first: a group or channel (id or name), which the user joins, or a user's id.",
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Add the user if there is none with this id.")] = False,
    name: Annotated[str | None, typer.Option(help="A new user's name.", show_default=False)] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Let a user sign in once, from a browser: print a link and its QR code.

    Example: relay invite add anna --new --name Anna
    """
    if name is not None and not new:
        raise WrongUse(f"--name is for a new user, with --new; to rename one: `relay user rename {user_id} NAME`")
    request = control.AddInvite(user_id=user_id, name=name, chat_id=chat, new=new)
    try:
        invitation = ask(data_directory(data), INVITE, request)
    except RequestRefused as refused:
        if refused.code == "not_found" and not new and chat is None:
            raise Failure(f"{refused}: `relay invite {user_id} --new` makes one") from None
        raise
    if json:
        as_json({"url": invitation.url, "code": invitation.code, "expiresAt": invitation.expires_at})
        return
    print("\n".join(drawn(invitation.qr, coloured=sys.stdout.isatty())))
    print(f"\n{invitation.url}\n\nGood for one sign-in until {when(invitation.expires_at)}.")


@app.command("list")
def list_(data: Data = None, json: Json = False) -> None:
    """Show the invites that are neither used nor expired. Their links are not stored and not shown.

    One of a disabled user, or by somebody who may not invite any more, lets nobody in until that changes.

    Example: relay invite list
    """
    invites = ask(data_directory(data), INVITE_LIST, control.Empty())
    if json:
        as_json(invites)
        return
    table(
        ("invite", "user", "name", "chat", "made by", "expires", "state"),
        (
            (
                one.id,
                one.user_id or "",
                one.name or "",
                one.chat_id or "",
                one.made_by,
                when(one.expires_at),
                STATES[one.state],
            )
            for one in invites
        ),
        "no open invites: `relay invite USER` makes one",
    )


@app.command()
def revoke(
    invite_id: Annotated[
        str | None, typer.Argument(metavar="[INVITE]", help="Its id in the list.", show_default=False)
    ] = None,
    all_of: Annotated[
        str | None,
        typer.Option("--all", metavar="USER", help="Every invite for this user.", autocompletion=complete_user),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Revoke an invite, or all for a user. Its link lets nobody in any more.

    Example: relay invite revoke 3f9c02d1
    """
    if (invite_id is None) == (all_of is None):
        raise WrongUse("name one invite, or --all USER: `relay invite list` shows them")
    request = control.InviteRevocation(id=invite_id, user_id=all_of)
    revoked = ask(data_directory(data), INVITE_REVOKE, request)
    if json:
        as_json(revoked)
        return
    for one in revoked:
        say(f"invite {one.id} for {one.user_id or one.name or 'a new user'} is revoked")


def drawn(rows: Sequence[str], *, coloured: bool) -> list[str]:
    """Draw a QR code with half blocks.

    Args:
        rows: its modules, 1 for dark.
        coloured: whether to print black on white with escape codes, for a terminal: many cameras do not read the
            inverted code that a dark terminal would show.

    Returns:
        The lines to print.
    """
    width = len(rows[0]) + 2 * QUIET_ZONE_MODULES if rows else 0
    light = "0" * width
    framed = (
        [light] * QUIET_ZONE_MODULES
        + [f"{'0' * QUIET_ZONE_MODULES}{row}{'0' * QUIET_ZONE_MODULES}" for row in rows]
        + [light] * QUIET_ZONE_MODULES
    )
    if len(framed) % 2:
        framed.append(light)
    before, after = ("\x1b[30;107m", "\x1b[0m") if coloured else ("", "")
    blocks = {"00": " ", "10": "▀", "01": "▄", "11": "█"}
    return [
        before + "".join(blocks[above + below] for above, below in zip(upper, lower, strict=True)) + after
        for upper, lower in zip(framed[::2], framed[1::2], strict=True)
    ]
