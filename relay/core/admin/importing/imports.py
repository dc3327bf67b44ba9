"""The import that is under way: its client, its users, chats and messages, and the file being received."""

from relay.core.admin.importing.messages import MessageHistoryImport
from relay.core.admin.importing.people import PeopleImport
from relay.core.clock.clock import RelayClock
from relay.core.files.uploads import UploadInPieces, Uploads
from relay.core.model.state import State
from relay.keys import NO_DEVICE
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.settings import FilesSection
from relay.store.log.log import Log

NO_CLIENT = object()
"""The owner of the import while none is running."""
IMPORT_CURSOR = NO_DEVICE
"""A cursor without a device that stores when the last import began: its `seen` is a time at which the clock was right.

Imported entries have the dates of their source. An import that is cut off leaves such a date as the log's last time,
and the next start would not believe a clock that is years ahead of it."""


class Import:
    """Imports into this relay, one at a time."""

    def __init__(self, state: State, log: Log, clock: RelayClock, uploads: Uploads, limits: FilesSection) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._uploads = uploads
        self._limits = limits
        self._client: object = NO_CLIENT
        self._upload: UploadInPieces | None = None
        self.people = PeopleImport(state, log, clock)
        self.messages = MessageHistoryImport(state, log, clock, self._check_elsewhere)

    async def begin(self, client: object) -> None:
        """Start an import for a client, or continue it.

        Args:
            client: the owner of the import until it has `disconnected`.

        Raises:
            RelayError: `unavailable`, another client's import is running.
        """
        if self._client is client:
            return
        if self._client is not NO_CLIENT:
            raise RelayError("unavailable", "another import is under way: run this one again once that has ended")
        self._client = client
        if self._clock.credible():
            await self._log.first_cursor(IMPORT_CURSOR, self._state.seq, self._clock())

    async def disconnected(self, client: object) -> None:
        """End the import of a client that has disconnected, completed or not."""
        if self._client is not client:
            return
        try:
            upload, self._upload = self._upload, None
            if upload is not None:
                await upload.discard()
            await self.end_import(control.Empty())
        finally:
            self._client = NO_CLIENT

    async def import_file(self, request: control.FileImport) -> control.FileImportResult:
        """Store the next piece of a file for a message or a picture; one file at a time.

        For a file that is stored elsewhere, say only whether messages may name it.
        """
        if request.url is not None:
            self._check_elsewhere()
            return control.FileImportResult()
        sender = self._state.user(request.sender)
        if request.dry:
            self._uploads.check(sender.key if sender is not None else None, request.size, request.before)
            return control.FileImportResult()
        if sender is None:
            raise RelayError.no_user(request.sender)
        if request.first:
            if self._upload is not None:
                # The client gave up the last file: its source turned out to be damaged.
                await self._upload.discard()
            self._upload = await self._uploads.begin(sender.key, request.size)
        upload = self._upload
        if upload is None:
            raise RelayError("bad_request", "first: no file is coming in")
        try:
            await upload.write(request.data)
            if request.more:
                return control.FileImportResult()
            attachment = await upload.keep(sender.key, request.name, min(request.at, self._clock()))
        except RelayError:
            self._upload = None
            await upload.discard()
            raise
        self._upload = None
        await upload.discard()
        return control.FileImportResult(attachment=attachment)

    def _check_elsewhere(self) -> None:
        """Refuse files that are stored elsewhere, as for a message that somebody sends (`files.elsewhere`)."""
        if not self._limits.elsewhere:
            raise RelayError.forbidden("files.elsewhere is off: messages here link no files elsewhere")

    async def end_import(self, _request: control.Empty) -> control.Empty:
        """Mark the imported messages as read for every member without other unread messages."""
        await self.messages.end()
        return control.Empty()
