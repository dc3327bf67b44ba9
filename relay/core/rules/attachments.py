"""What messages hold beside their text: a file as those see it who may, and who that is. Plain functions, no I/O."""

from collections.abc import Iterable

from relay.core.model.state import State
from relay.core.rules import visibility
from relay.protocol.objects import Attachment, AttachmentMeta
from relay.store.entry import StoredFile

FILES = "/files/"
"""Where files are fetched from; an address that begins so names one of the relay's own."""
LONGEST_SIDE = 65_535
"""Pixels: what a client says of a video is believed up to here."""


def file_id(url: str | None) -> str | None:
    """The id of the file that an address of the relay's names; None where it names none."""
    return url[len(FILES) :] if url and url.startswith(FILES) else None


def shown(url: str | None) -> str | None:
    """A picture's address as it is told: one of the relay's own. Older relays took any."""
    return url if file_id(url) else None


def photos(state: State) -> Iterable[str]:
    """The files that are somebody's or some chat's picture."""
    urls = [user.photo_url for user in state.users.values() if not user.removed]
    urls += [chat.photo_url for chat in state.chats.values() if not chat.gone]
    return filter(None, map(file_id, urls))


def may_read(state: State, user: int, file: StoredFile) -> bool:
    """Whether a user may have a file: who uploaded it, who is in a chat that holds it, who sees the picture."""
    if file.user == user or any(
        visibility.sees(state.chats[chat], state.members[chat].get(user), last) for chat, last in file.holders
    ):
        return True
    url = FILES + file.id
    if any(other.photo_url == url and not other.removed for other in state.users.values()):
        return True
    return any(state.chats[chat].photo_url == url for chat in state.chats_of[user])


def attachment(file: StoredFile, claimed: Attachment | None = None) -> Attachment:
    """A file as a message holds it.

    Args:
        file: what the store knows.
        claimed: what the sender says of it: believed in nothing but how large a video is and how long it lasts.
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


def _attachment(kind: str, file: StoredFile, meta: AttachmentMeta) -> Attachment:
    return Attachment(type=kind, id=file.id, filename=file.name, url=FILES + file.id, meta=meta)  # type: ignore[arg-type]


def _side(pixels: int | None) -> int | None:
    return pixels if pixels is not None and 0 < pixels <= LONGEST_SIDE else None
