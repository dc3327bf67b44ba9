"""Files as attachments and pictures: their form in a message, and who may read them. Pure."""

from collections.abc import Iterable

import msgspec

from relay.core.model.state import State
from relay.core.rules import visibility
from relay.keys import UserKey
from relay.protocol.base import fit_filename
from relay.protocol.errors import RelayError
from relay.protocol.objects import FILES_PATH, Attachment, AttachmentMeta
from relay.store.entry import StoredFile
from relay.unicode.unseen import without_hidden

LONGEST_SIDE_PIXELS = 65_535
"""Largest video size to accept from a client."""


def file_id(url: str | None) -> str | None:
    """Return the id of the file that an address names; None for an address elsewhere."""
    return url[len(FILES_PATH) :] if url and url.startswith(FILES_PATH) else None


def shown(url: str | None) -> str | None:
    """Return a picture's address if it is a file of this relay; older relays took any address."""
    return url if file_id(url) else None


def photos(state: State) -> Iterable[str]:
    """Yield the ids of files that are a user's or a chat's picture."""
    urls = [user.picture for user in state.users.values()]
    urls += [chat.photo_url for chat in state.chats.values() if not chat.gone]
    return filter(None, map(file_id, urls))


def may_read(state: State, user: UserKey, file: StoredFile) -> bool:
    """Return whether a user may read a file.

    They may if they uploaded it, see a message that holds it, or see it as a picture of a user or a chat.

    Args:
        state: the state.
        user: the user's key.
        file: the file, with the chats that hold it.
    """
    if file.user == user or any(
        visibility.sees(state.chats[chat], state.members[chat].get(user), last) for chat, last in file.holders
    ):
        return True
    url = FILES_PATH + file.id
    if any(other.picture == url for other in state.users.values()):
        return True
    return any(state.chats[chat].photo_url == url for chat in state.chats_of[user])


def attachment(file: StoredFile, claimed: Attachment | None = None) -> Attachment:
    """Describe a file as an attachment of a message.

    Args:
        file: the file as the store knows it.
        claimed: the sender's description; only a video's size and duration are taken from it.
    """
    kind, _, _ = file.mimetype.partition("/")
    if kind == "image" and file.width and file.height:
        meta = AttachmentMeta(mimetype=file.mimetype, width=file.width, height=file.height, size=file.size)
        return _attachment("image", file, meta)
    if kind == "video":
        said = claimed.meta if claimed is not None and claimed.type == "video" else AttachmentMeta(size=0)
        meta = AttachmentMeta(
            mimetype=file.mimetype,
            width=file.width or _side(said.width),
            height=file.height or _side(said.height),
            duration=said.duration if said.duration is not None and 0 <= said.duration < 1e7 else None,
            size=file.size,
        )
        return _attachment("video", file, meta)
    extension = file.name.rpartition(".")[2] if "." in file.name else ""
    mimetype = None if file.mimetype == "application/octet-stream" else file.mimetype
    return _attachment("file", file, AttachmentMeta(extension=extension.lower(), mimetype=mimetype, size=file.size))


def elsewhere(claimed: Attachment, field: str) -> Attachment:
    """Return an attachment that is no file of this relay, as messages pass it on: unchanged but for its name.

    Its name stands beside other text, so it is in one line and has no hidden characters, like that of a file here.

    Args:
        claimed: the attachment as its sender describes it.
        field: its path in the request.

    Raises:
        RelayError: `bad_request`, its address or another text of it is not valid.
    """
    if not claimed.is_elsewhere:
        raise RelayError.bad_field(
            f"{field}.url", "`/files/ID` of an uploaded file is expected, or an absolute http or https address"
        )
    meta = claimed.meta
    for name, text in (("id", claimed.id), ("meta.extension", meta.extension), ("meta.mimetype", meta.mimetype)):
        if text and without_hidden(text) != text:
            raise RelayError.bad_field(f"{field}.{name}", "one line without hidden characters is expected")
    filename = fit_filename(claimed.filename)
    return claimed if filename == claimed.filename else msgspec.structs.replace(claimed, filename=filename)


def _attachment(kind: str, file: StoredFile, meta: AttachmentMeta) -> Attachment:
    return Attachment(type=kind, id=file.id, filename=file.name, url=FILES_PATH + file.id, meta=meta)  # type: ignore[arg-type]


def _side(pixels: int | None) -> int | None:
    return pixels if pixels is not None and 0 < pixels <= LONGEST_SIDE_PIXELS else None
