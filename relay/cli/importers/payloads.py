"""The requests of an import, made from a source's objects. Pure functions."""

from collections.abc import Iterable, Sequence

import msgspec

from relay.cli.importers.base import Reference, SourceChat, SourceMessage, SourceUser, fit_name
from relay.protocol import codec, control
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment

_decoder = msgspec.json.Decoder(control.MessageImport)


def user_payload(
    person: SourceUser, start: int, *, dry: bool, same: bool = False, expected: control.Expected = ""
) -> control.UserImport:
    """Make the request that imports a user.

    Args:
        person: the user.
        start: their time in the log, Unix milliseconds.
        dry: whether to ask only what would happen.
        same: whether the admin says that they are the user here with this id.
        expected: the relay's earlier answer about them.
    """
    return control.UserImport(
        id=person.id,
        name=fit_name(person.name) or person.id,
        at=start,
        created_at=person.at,
        bot=person.bot,
        admin=person.admin,
        disabled=person.disabled,
        removed=person.removed,
        origins=person.origins,
        same=same,
        expected=expected,
        dry=dry,
    )


def chat_payload(
    chat: SourceChat,
    start: int,
    newcomers: Iterable[SourceUser] = (),
    *,
    keeper: str | None = None,
    dry: bool,
    same: bool = False,
    expected: control.Expected = "",
) -> control.ChatImport:
    """Make the request that imports a chat.

    Args:
        chat: the chat.
        start: its time in the log, Unix milliseconds.
        newcomers: with `dry`, users who would have been imported before it.
        keeper: the user whom the admin named as owner of groups in which nobody can sign in.
        dry: whether to ask only what would happen.
        same: whether the admin says that it is the group here with this id.
        expected: the relay's earlier answer about it.
    """
    group = is_group(chat)
    return control.ChatImport(
        id=chat.id or None,
        kind=chat.kind,
        name=(fit_name(chat.name) or chat.id) if group else None,
        owner=chat.owner,
        founder=chat.founder,
        admins=chat.admins,
        participants=chat.participants,
        keeper=keeper if group else None,
        newcomers=[
            control.Newcomer(id=one.id, bot=one.bot, disabled=one.disabled, removed=one.removed) for one in newcomers
        ],
        at=start,
        created_at=chat.at,
        origins=chat.origins if group else (),
        same=same,
        expected=expected,
        dry=dry,
    )


def message_payload(
    message: SourceMessage,
    chat: tuple[str, Sequence[str]],
    text: str | None = None,
    attachments: Sequence[Attachment] = (),
) -> control.MessageImport:
    """Make the request that imports a message, an edit, a deletion or a clearing.

    Args:
        message: the source's message.
        chat: the chat's id here, or the people of a dialog.
        text: its text, in the relay's form.
        attachments: its files, already imported.
    """
    chat_id, participants = chat
    return control.MessageImport(
        kind=message.kind,
        chat=chat_id,
        participants=list(participants),
        sender=message.sender,
        client_message_id=message.key,
        text=text,
        attachments=list(attachments) or None,
        at=message.at,
        reply_to=_reference(message.reply_to),
        original=_reference(message.original),
    )


def flaw(payload: control.MessageImport) -> str:
    """Say what the relay would refuse about the form of a message; nothing if it is valid.

    The relay refuses the whole request that contains one such message, each time.
    """
    try:
        codec.decode_payload(_decoder, msgspec.Raw(codec.encode(payload)))
    except RelayError as error:
        return error.error.message.removeprefix("payload.")
    except UnicodeEncodeError:
        return "it holds half a character"
    return ""


def is_group(chat: SourceChat) -> bool:
    """Return whether a chat has an id of its own rather than being identified by its people."""
    return chat.kind in ("group", "channel")


def _reference(message: Reference | None) -> control.MessageReference | None:
    if message is None or not message[0]:
        return None
    return control.MessageReference(sender=message[0], client_message_id=message[1])
