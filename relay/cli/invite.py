"""`relay invite`: a one-time link, and its QR code in the terminal."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from relay.cli.control_client import RequestRefused, ask
from relay.cli.options import Data, Json
from relay.cli.output import Failure, WrongUse, as_json, when
from relay.invoked import line
from relay.protocol import control
from relay.settings import data_directory

QUIET = 2
"""Modules of light around the code: cameras find it with less than the four of the standard."""


def invite(
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)],
    chat: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The chat that opens then: a group or channel, which they join, or a user."),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make the user if there is none of that id.")] = False,
    name: Annotated[str | None, typer.Option(help="A new user's name.", show_default=False)] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Let a user sign in once, from a browser: print a link and its QR code.

    Example: relay invite anna --new --name Anna
    """
    if name is not None and not new:
        raise WrongUse(f"--name is for a new user, with --new; to rename one: relay user rename {user_id} NAME")
    request = control.Invite(user_id=user_id, name=name, chat_id=chat, new=new)
    try:
        invitation = ask(data_directory(data), "invite", request)
    except RequestRefused as refused:
        if refused.code == "not_found" and not new and chat is None:
            raise Failure(f"{refused}: `{line(f'invite {user_id} --new', data)}` makes one") from None
        raise
    if json:
        as_json({"url": invitation.url, "code": invitation.code, "expiresAt": invitation.expires_at})
        return
    print("\n".join(drawn(invitation.qr, coloured=sys.stdout.isatty())))
    print(f"\n{invitation.url}\n\nGood for one sign-in until {when(invitation.expires_at)}.")


def drawn(rows: Sequence[str], *, coloured: bool) -> list[str]:
    """Draw a QR code with half blocks.

    Args:
        rows: its modules, 1 for dark.
        coloured: whether to set black on white, and not to leave it to the terminal, which may be dark: many cameras
            read no inverted code. In a file there are no colours.
    """
    width = len(rows[0]) + 2 * QUIET if rows else 0
    light = "0" * width
    framed = [light] * QUIET + [f"{'0' * QUIET}{row}{'0' * QUIET}" for row in rows] + [light] * QUIET
    if len(framed) % 2:
        framed.append(light)
    before, after = ("\x1b[30;107m", "\x1b[0m") if coloured else ("", "")
    blocks = {"00": " ", "10": "▀", "01": "▄", "11": "█"}
    return [
        before + "".join(blocks[above + below] for above, below in zip(upper, lower, strict=True)) + after
        for upper, lower in zip(framed[::2], framed[1::2], strict=True)
    ]
