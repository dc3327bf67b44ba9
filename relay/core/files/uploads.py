"""Uploaded files: receives them within the quota, finds them for users who may read them, removes unused ones.

Knows the log and the directory of contents; the network brings the bytes.
"""

import errno
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import trio

from relay import threads
from relay.core.auth.rights import Rights
from relay.core.clock.clock import RelayClock
from relay.core.files import filenames, image_size, media_types
from relay.core.files.downloads import Downloads
from relay.core.files.quota import Allowance, Quota
from relay.core.limits.turns import Turns
from relay.core.model.state import State
from relay.core.rules import attachments
from relay.core.rules.commands import ADMIN, AddFile, ForgetFiles
from relay.core.submit import submit
from relay.core.tuning import FilesTuning
from relay.keys import NO_DEVICE, DeviceKey, UnixMs, UserKey
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment
from relay.settings import FilesSection as Limits
from relay.store.blobs import Blobs, BlobWriter
from relay.store.command import Command
from relay.store.entry import Entry, StoredFile
from relay.store.files import directory
from relay.store.log.log import Log
from relay.store.queries import stored_files
from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

UPLOAD_WRITE_BYTES = 262_144
"""Bytes to collect before a thread writes them."""
UNSENT_MS = 86_400_000
"""Milliseconds after which an uploaded file is removed unless a message holds it."""
SWEEP_SECONDS = 60.0
"""Seconds between two searches for unused files; a deletion starts one at once."""
UNUSED_FILES = 100
"""Unused files removed at a time."""

Pieces = Callable[[], Awaitable[bytes]]
"""Returns the next piece of an upload; empty at its end."""


class FileRelease:
    """The signal that files may have been released: applying an entry sets it, the removal of files waits for it."""

    def __init__(self) -> None:
        self._noted = trio.Event()

    def note(self) -> None:
        """Start a search for unused files soon."""
        self._noted.set()

    async def wait(self) -> None:
        """Wait for `note`, unless it was called since the last `clear`."""
        await self._noted.wait()

    def clear(self) -> None:
        """Reset the signal."""
        self._noted = trio.Event()


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
        released: "FileRelease",
        tuning: FilesTuning,
    ) -> None:
        """Begin without uploads.

        Args:
            directory: where the contents are stored.
            state: knows the users and their stored bytes.
            log: takes the commands.
            reading: a connection that reads.
            clock: Unix milliseconds, as far as it is credible.
            limits: the settings.
            rights: cancels uploads and downloads of users who lose the right to them.
            released: starts a search for unused files.
            tuning: how many uploads there may be.
        """
        self.contents = Blobs(directory)
        self.uploaded_bytes = 0
        """Bytes uploaded since the start, for the metrics."""
        self.released = released
        """Records that a message may have released its files."""
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock
        self._rights = rights
        self.quota = Quota(state, limits, self.contents.room, tuning)
        """The reservations of uploads under way."""
        self._turns = Turns()
        self.downloads = Downloads(state, reading, rights)
        """The downloads under way."""
        self._swept = False
        """Whether the remains of an earlier run were removed."""

    # Receiving.

    async def receive(
        self,
        user: UserKey,
        device: DeviceKey,
        name: str,
        announced: int | None,
        pieces: Pieces,
        at: UnixMs | None = None,
    ) -> Attachment:
        """Receive a file. When this returns it is on disk and in the log; if it raises, nothing is left of it.

        Args:
            user: the key of the user who uploads.
            device: the key of their device.
            name: the user's name for the file.
            announced: the announced size in bytes; None if there is none.
            pieces: returns the bytes.
            at: when the file was uploaded elsewhere, in Unix milliseconds; now by default.

        Raises:
            RelayError: `too_large`, `storage_full`, `rate_limited`, `unavailable`; or `unauthorized`, if the device is
                revoked meanwhile.
        """
        try:
            with self.quota.upload(user, announced) as allowance, allowance.until_displaced():
                incoming = await threads.run(self.contents.begin)
                try:
                    with self._rights.while_allowed(lambda: self._state.is_authorized(user, device)) as is_authorized:
                        head = await self._write(incoming, allowance, pieces)
                    if is_authorized.cancelled_caught:
                        raise RelayError("unauthorized", "this device may not sign in any more")
                    return await self.keep(incoming, user, device, name, head, at)
                finally:
                    await threads.clean_up(incoming.discard)
        except OSError as error:
            raise _write_error(error) from None

    async def begin(self, user: UserKey, announced: int) -> "UploadInPieces":
        """Begin to receive a file in pieces, over several requests of an import.

        Args:
            user: the key of its owner.
            announced: bytes that the file will have.

        Raises:
            RelayError: as `receive`.
        """
        held = ExitStack()
        try:
            allowance = held.enter_context(self.quota.upload(user, announced))
            return UploadInPieces(self, await threads.run(self.contents.begin), allowance, held)
        except BaseException as error:
            held.close()
            if isinstance(error, OSError):
                raise _write_error(error) from None
            raise

    def check(self, user: UserKey | None, size: int, before: int) -> None:
        """Check in advance whether a file would be accepted.

        Args:
            user: the key of the user who would upload; None for a user who is not here yet.
            size: the size of the file in bytes.
            before: bytes that the same user would have stored before, as they count for the quota.

        Raises:
            RelayError: `too_large` or `storage_full`.
        """
        self.quota.check(user, size, before)

    async def _write(self, incoming: BlobWriter, allowance: Allowance, pieces: Pieces) -> bytes:
        """Write the pieces to disk, and return the first bytes for `media_types.sniff`."""
        head = b""
        buffer = bytearray()
        while piece := await pieces():
            allowance.take(len(piece))
            buffer += piece
            if len(buffer) >= UPLOAD_WRITE_BYTES:
                head = head or bytes(buffer[: media_types.SNIFFED_BYTES])
                await threads.run(incoming.write, buffer)
                buffer = bytearray()
        head = head or bytes(buffer[: media_types.SNIFFED_BYTES])
        await threads.run(incoming.write, buffer)
        return head

    async def keep(
        self, incoming: BlobWriter, user: UserKey, device: DeviceKey, name: str, head: bytes, at: UnixMs | None
    ) -> Attachment:
        """Move a complete file to its place, and add it to the log.

        Args:
            incoming: the file, whole.
            user: the key of its owner.
            device: the device that sent it.
            name: the owner's name for the file.
            head: its first bytes, from which its type is detected.
            at: when it was uploaded elsewhere, Unix milliseconds; None for now.
        """
        mimetype = media_types.sniff(head)
        size = await threads.run(_picture_size, incoming.path, mimetype)
        if mimetype.startswith("image/") and size is None:
            mimetype = media_types.UNKNOWN
        width, height = size or (None, None)
        digest = await threads.run(incoming.finish)
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
            with self.contents.pin(digest), trio.CancelScope(shield=True):
                await threads.run(self.contents.put_in_place, incoming, digest)
                upload = Command(now if at is None else min(at, now), user, device, command, importer=at is not None)
                added = await submit(self._log, upload)
        except RelayError:
            await self._drop([digest])
            raise
        self.uploaded_bytes += incoming.size
        return added

    # Reading.

    async def find(self, user: UserKey, file_id: str) -> StoredFile:
        """Find a file for a user who may read it.

        Raises:
            RelayError: `not_found`, whether there is no such file or the user may not read it.
        """
        # One look-up at a time per user, over all their connections: other users share this database connection.
        async with self._turns.of(user):
            found = await stored_files.files(self._reading, [file_id])
        if not found or not attachments.may_read(self._state, user, found[0]):
            raise RelayError("not_found", "there is no such file, or you may not read it")
        return found[0]

    # Removing.

    def note(self, entry: Entry) -> None:
        """Note an entry that changes a chat or a user: it may replace a picture, or be the first to show one."""
        if "photoUrl" in (entry.extra or ""):
            self.released.note()

    async def run(self) -> None:
        """Remove unused files, forever, and first the remains of an earlier run."""
        if not self._swept:
            # Only once per run, even if it fails: an unreadable folder must not stop the rest.
            self._swept = True
            await self.sweep()
        while True:
            await self.forget_loose()
            with trio.move_on_after(SWEEP_SECONDS):
                await self.released.wait()
            self.released.clear()

    async def forget_loose(self) -> None:
        """Remove files that were in use and are no more, and those that nobody used in time.

        Time counts only while the clock is credible; somebody's act, such as a deletion, needs no clock.
        """
        while True:
            shown = list(set(attachments.photos(self._state)))
            due = stored_files.RELEASED
            if self._clock.credible():
                due = max(due, self._clock.stamp_at(self._clock() - UNSENT_MS) + UNSENT_MS)
            loose = await stored_files.loose_files(self._reading, due, shown, UNUSED_FILES)
            if not loose:
                return
            digests = await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, ForgetFiles(tuple(loose))))
            if not digests:
                return
            self._log.wal.erased()
            await self._drop(digests)

    async def _drop(self, digests: list[str]) -> None:
        """Remove the contents that no file uses any more."""
        with self.contents.unpinned(digests) as leaving:
            leaving.difference_update(await stored_files.known_digests(self._reading, digests))
            while leaving:
                aside = self.contents.quarantine(leaving.pop())
                if aside is not None:
                    await threads.clean_up(aside.unlink)

    async def sweep(self) -> None:
        """Remove complete contents that are not in the log, because the relay crashed in between."""
        directories = self.contents.digests()
        while (digests := await threads.run(next, directories, None)) is not None:
            await self._drop(digests)


class UploadInPieces:
    """A file of an import that is received over several requests; its owner keeps or discards it."""

    def __init__(self, files: Uploads, incoming: BlobWriter, allowance: Allowance, held: ExitStack) -> None:
        self._files = files
        self._incoming = incoming
        self._allowance = allowance
        self._held = held
        self._head = b""

    async def write(self, data: bytes) -> None:
        """Write the next piece.

        Raises:
            RelayError: `too_large`, `storage_full`.
        """
        self._allowance.take(len(data))
        self._head = self._head or data[: media_types.SNIFFED_BYTES]
        try:
            await threads.run(self._incoming.write, data)
        except OSError as error:
            raise _write_error(error) from None

    async def keep(self, user: UserKey, name: str, at: UnixMs) -> Attachment:
        """Move the file to its place, and add it to the log.

        Args:
            user: the key of its owner.
            name: the owner's name for the file.
            at: when the file was uploaded elsewhere, in Unix milliseconds.

        Raises:
            RelayError: `storage_full`, `unavailable`.
        """
        try:
            return await self._files.keep(self._incoming, user, NO_DEVICE, name, self._head, at)
        except OSError as error:
            raise _write_error(error) from None

    async def discard(self) -> None:
        """Discard everything that was not kept, and release its reservation."""
        self._held.close()
        await threads.clean_up(self._incoming.discard)


def _write_error(error: OSError) -> RelayError:
    """Log why a file could not be written and make the error for the client.

    Only a full disk is reported as such: after any other error, freeing space does not help.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        logger.error("a file cannot be saved: the disk is full")
        return RelayError.storage_full()
    # The name of the file itself says nothing to an admin.
    why = directory.about_file(error) if isinstance(error, PermissionError) else error.strerror or error
    logger.error("a file cannot be saved: %s", why)
    return RelayError.unavailable()


def _picture_size(path: Path, mimetype: str) -> image_size.Size | None:
    if not mimetype.startswith("image/"):
        return None
    with path.open("rb") as file:
        return image_size.size(file, mimetype)
