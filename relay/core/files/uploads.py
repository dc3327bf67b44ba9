"""Files: taken in within the quota, found for those who may have them, and gone once no message holds them.

Knows the log and the directory of contents; whose bytes they are and how they come is the network's business.
"""

import errno
import logging
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import trio

from relay.core.auth.rights import Rights
from relay.core.clock.clock import RelayClock
from relay.core.files import filenames, image_size, media_types
from relay.core.files.quota import Allowance, Quota
from relay.core.limits.turns import Turns
from relay.core.model.state import State
from relay.core.rules import attachments
from relay.core.rules.commands import ADMIN, AddFile, Command, ForgetFiles
from relay.core.rules.submit import submit
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment
from relay.settings import FilesSection as Limits
from relay.store.blobs import Blobs, BlobWriter
from relay.store.entry import StoredFile
from relay.store.log.log import Log
from relay.store.queries import lookups
from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

WRITE = 262_144
"""Bytes gathered before a thread writes them."""
UNSENT_MS = 86_400_000
"""Milliseconds within which an uploaded file must be sent in a message, else it goes."""
EVERY = 60.0
"""Seconds between two looks at what nothing holds; what a deletion lets go is looked at at once."""
PAGE = 100

Pieces = Callable[[], Awaitable[bytes]]
"""Gives the next piece of an upload; nothing at its end."""


class Uploads:
    """All uploaded files."""

    def __init__(
        self,
        directory: Path,
        state: State,
        log: Log,
        reading: Connection,
        clock: RelayClock,
        limits: Limits,
        rights: Rights,
    ) -> None:
        self.contents = Blobs(directory)
        self.uploaded_bytes = 0
        """Since the start, for the metrics."""
        self._loosened = trio.Event()
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock
        self._rights = rights
        self._quota = Quota(state, limits, self.contents.free)
        self._turns = Turns()

    # In.

    async def receive(
        self, user: int, device: int, name: str, announced: int | None, pieces: Pieces, at: int | None = None
    ) -> Attachment:
        """Take a file in: it is on disk, and in the log, when this returns; nothing of it is where it raises.

        Args:
            user: who uploads it.
            device: from where.
            name: what they call it.
            announced: how many bytes it is said to have; None where that was not said.
            pieces: gives the bytes.
            at: when it was uploaded elsewhere, Unix milliseconds; now where None is given.

        Raises:
            RelayError: `too_large`, `storage_full`, `rate_limited`, `unavailable`; `unauthorized`, the device may not
                sign in any more.
        """
        with self._quota.upload(user, announced) as allowance:
            try:
                incoming = await trio.to_thread.run_sync(self.contents.begin)
                try:
                    with self._rights.while_allowed(lambda: self._state.welcome(user, device)) as welcome:
                        head = await self._write(incoming, allowance, pieces)
                    if welcome.cancelled_caught:
                        raise RelayError("unauthorized", "this device may not sign in any more")
                    return await self.keep(incoming, user, device, name, head, at)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(incoming.discard)
            except OSError as error:
                logger.error("an uploaded file cannot be saved: %s", _why(error))
                raise RelayError.storage_full() from None

    async def begin(self, user: int, announced: int) -> "UploadInPieces":
        """Begin to take a file in piece by piece, over several requests of an import.

        Raises:
            RelayError: as `receive`.
        """
        held = ExitStack()
        try:
            allowance = held.enter_context(self._quota.upload(user, announced))
            return UploadInPieces(self, await trio.to_thread.run_sync(self.contents.begin), allowance, held)
        except BaseException as error:
            held.close()
            if isinstance(error, OSError):
                logger.error("an imported file cannot be saved: %s", _why(error))
                raise RelayError.storage_full() from None
            raise

    def check(self, user: int | None, size: int, before: int) -> None:
        """Tell beforehand whether a file would be taken in.

        Args:
            user: whose; None for somebody who is not here yet.
            size: its bytes.
            before: bytes, as they count, of the files of theirs that would come before it.

        Raises:
            RelayError: `too_large` or `storage_full`, it would not.
        """
        self._quota.check(user, size, before)

    async def _write(self, incoming: BlobWriter, allowance: Allowance, pieces: Pieces) -> bytes:
        """Write what comes, and give the beginning of it."""
        head = b""
        buffer = bytearray()
        while piece := await pieces():
            allowance.take(len(piece))
            buffer += piece
            if len(buffer) >= WRITE:
                head = head or bytes(buffer[: media_types.HEAD])
                await trio.to_thread.run_sync(incoming.write, buffer)
                buffer = bytearray()
        head = head or bytes(buffer[: media_types.HEAD])
        await trio.to_thread.run_sync(incoming.write, buffer)
        return head

    async def keep(
        self, incoming: BlobWriter, user: int, device: int, name: str, head: bytes, at: int | None
    ) -> Attachment:
        """Put a file that has come whole in its place and into the log."""
        mimetype = media_types.sniff(head)
        size = await trio.to_thread.run_sync(_picture_size, incoming.path, mimetype)
        if mimetype.startswith("image/") and size is None:
            mimetype = media_types.UNKNOWN
        width, height = size or (None, None)
        digest = await trio.to_thread.run_sync(incoming.finish)
        now = self._clock()
        command = AddFile(
            id=secrets.token_urlsafe(16),
            digest=digest,
            name=filenames.clean(name, mimetype),
            mimetype=mimetype,
            size=incoming.size,
            width=width,
            height=height,
            loose=now + UNSENT_MS,
        )
        try:
            with self.contents.arrive(digest), trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.contents.place, incoming, digest)
                upload = Command(now if at is None else min(at, now), user, device, command, importer=at is not None)
                added = await submit(self._log, upload)
        except RelayError:
            await self._drop([digest])
            raise
        self.uploaded_bytes += incoming.size
        assert isinstance(added, Attachment)
        return added

    # Out.

    async def find(self, user: int, file_id: str) -> StoredFile:
        """Find a file for somebody who may have it.

        Raises:
            RelayError: `not_found`; it does not tell whether there is such a file.
        """
        # One at a time, whoever downloads over however many connections: others read over this connection, too.
        async with self._turns.of(user):
            found = await lookups.files(self._reading, [file_id])
        if not found or not attachments.may_read(self._state, user, found[0]):
            raise RelayError("not_found", "there is no such file for you here")
        return found[0]

    def while_readable(self, user: int, device: int, file: StoredFile) -> AbstractContextManager[trio.CancelScope]:
        """Cancel what is done inside once somebody who is being sent a file may not have it any more."""
        state = self._state
        return self._rights.while_allowed(
            lambda: state.welcome(user, device) and attachments.may_read(state, user, file)
        )

    # Away.

    def loosen(self) -> None:
        """Look soon: a message may have let go of a file."""
        self._loosened.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Remove what nothing holds any more, for ever; first what an earlier run left behind."""
        task_status.started()
        await self._careful(self._sweep)
        while True:
            await self._careful(self.forget_loose)
            with trio.move_on_after(EVERY):
                await self._loosened.wait()
            self._loosened = trio.Event()

    async def _careful(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (sqlite3.Error, OSError, RelayError) as error:
            logger.warning("cannot remove unused files now: %s", error)

    async def forget_loose(self) -> None:
        """Remove the files that nothing holds and whose time has come, as far as the time is known."""
        if not self._clock.credible():
            return
        while True:
            shown = list(attachments.photos(self._state))
            loose = await lookups.loose_files(self._reading, self._clock(), shown, PAGE)
            if not loose:
                return
            command = Command(self._clock(), ADMIN, 0, ForgetFiles(tuple(loose)))
            digests = await submit(self._log, command)
            if not digests:
                return
            await self._drop(digests)

    async def _drop(self, digests: list[str]) -> None:
        """Remove those contents that no file has any more."""
        with self.contents.leave(digests) as leaving:
            leaving.difference_update(await lookups.known_digests(self._reading, digests))
            while leaving:
                aside = self.contents.put_aside(leaving.pop())
                if aside is not None:
                    await trio.to_thread.run_sync(aside.unlink)

    async def _sweep(self) -> None:
        """Remove contents that are whole and in no log: a crash came between."""
        directories = self.contents.digests()
        while (digests := await trio.to_thread.run_sync(next, directories, None)) is not None:
            await self._drop(digests)


class UploadInPieces:
    """A file of an import that comes over several requests; whoever began it keeps it or discards it."""

    def __init__(self, files: Uploads, incoming: BlobWriter, allowance: Allowance, held: ExitStack) -> None:
        self._files = files
        self._incoming = incoming
        self._allowance = allowance
        self._held = held
        self._head = b""

    async def write(self, data: bytes) -> None:
        """Add a piece.

        Raises:
            RelayError: `too_large`, `storage_full`.
        """
        self._allowance.take(len(data))
        self._head = self._head or data[: media_types.HEAD]
        try:
            await trio.to_thread.run_sync(self._incoming.write, data)
        except OSError as error:
            logger.error("an imported file cannot be saved: %s", _why(error))
            raise RelayError.storage_full() from None

    async def keep(self, user: int, name: str, at: int) -> Attachment:
        """Put it in its place and into the log.

        Args:
            user: whose it is.
            name: what they call it.
            at: when it was uploaded elsewhere, Unix milliseconds.

        Raises:
            RelayError: `storage_full`, `unavailable`.
        """
        try:
            return await self._files.keep(self._incoming, user, 0, name, self._head, at)
        except OSError as error:
            logger.error("an imported file cannot be saved: %s", _why(error))
            raise RelayError.storage_full() from None

    async def discard(self) -> None:
        """Leave nothing of it but what was kept, and no room set aside for it."""
        self._held.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._incoming.discard)


def _why(error: OSError) -> str:
    """Say why a file could not be written; where it was about to lie is of no use to anybody."""
    return "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)


def _picture_size(path: Path, mimetype: str) -> image_size.Size | None:
    if not mimetype.startswith("image/"):
        return None
    with path.open("rb") as file:
        return image_size.size(file, mimetype)
