"""The files of an import: each is sent once, in pieces, or counted by a dry run."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterator
from functools import partial
from typing import NoReturn

import msgspec

from relay.cli.control_client import Ask, RequestRefused
from relay.cli.importers.base import NotUnderstood, SourceFile
from relay.cli.output import Failure
from relay.core.model.entities import quota_bytes
from relay.core.rules import attachments as files_of
from relay.protocol import control
from relay.protocol.control.table import IMPORT_FILE
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment
from relay.store.contents import Proof

PIECE_BYTES = 4 * 2**20
"""Bytes of a file in one request."""
SHARED_FILES = 4_096
"""Files to remember for other messages that contain the same one."""
STOPPING = ("storage_full", "rate_limited", "unavailable", "internal")
"""Refusals that are not the imported data's fault: the import ends, and can be repeated."""


class FileImporter:
    """Imports files; counts those that were imported and those left behind."""

    def __init__(
        self, ask_one: Ask, users: Container[str], added: Counter[str], left: Counter[str], *, dry: bool
    ) -> None:
        """Begin an import's files.

        Args:
            ask_one: asks the relay.
            users: ids of the people who are here by now, or would be in a dry run.
            added: counts imported objects.
            left: counts objects left behind.
            dry: whether to change nothing.
        """
        self._ask = ask_one
        self._users = users
        self._added = added
        self._left = left
        self._dry = dry
        self._shared: OrderedDict[str, Attachment | None] = OrderedDict()
        self._bytes_before: Counter[str] = Counter()
        """In a dry run, by user: the bytes that the files to import would take of the quota."""

    async def bring(self, file: SourceFile, sender: str, at: int) -> Attachment | None:
        """Import a file, once, or pass on the address of one that is stored elsewhere.

        Args:
            file: the file.
            sender: the uploader, unless the file itself names one.
            at: its time in the log, Unix milliseconds.

        Returns:
            The attachment; None if the file stays behind, and always in a dry run.
        """
        if file.elsewhere:
            return await self._pass_on(file, sender, at)
        if file.key and file.key in self._shared:
            self._shared.move_to_end(file.key)
            found = self._shared[file.key]
        else:
            found = await self._upload(file, file.sender or sender, at)
            if file.key:
                self._shared[file.key] = found
                if len(self._shared) > SHARED_FILES:
                    self._shared.popitem(last=False)
        if found is None or file.known is None or found.type != "video" or file.known.type != "video":
            return found
        # The size and length of a video come from its sender.
        return msgspec.structs.replace(found, meta=file.known.meta)

    async def _pass_on(self, file: SourceFile, sender: str, at: int) -> Attachment | None:
        """Ask whether messages here may name a file that is stored elsewhere. Its address needs no further request."""
        assert file.known is not None
        try:
            known = files_of.elsewhere(file.known, "file")
        except RelayError as error:
            self._left[f"files elsewhere ({error})"] += 1
            return None
        asked = control.FileImport(sender=sender, name=known.filename, size=0, at=at, url=file.elsewhere, dry=self._dry)
        try:
            await self._ask(IMPORT_FILE, asked)
        except RequestRefused as refused:
            if refused.code in STOPPING:
                end_import(refused)
            self._left[f"files elsewhere ({refused})"] += 1
            return None
        return None if self._dry else known

    async def _upload(self, file: SourceFile, sender: str, at: int) -> Attachment | None:
        if sender not in self._users:
            self._left[f"files ({RelayError.no_user(sender).error.message})"] += 1
            return None
        whole = control.FileImport(sender=sender, name=(file.name or "file")[:255], size=file.size, at=at)
        try:
            if self._dry:
                planned = msgspec.structs.replace(whole, dry=True, before=self._bytes_before[sender])
                await self._ask(IMPORT_FILE, planned)
                self._bytes_before[sender] += quota_bytes(file.size)
                self._added["files"] += 1
                return None
            result = control.FileImportResult()
            first = True
            for piece, more in _pieces(partial(_proven, file)):
                request = msgspec.structs.replace(whole, data=piece, first=first, more=more)
                result = await self._ask(IMPORT_FILE, request)
                first = False
        except NotUnderstood as error:
            self._left[f"files ({error})"] += 1
            return None
        except RequestRefused as refused:
            # A full disk ends the import: a message imported without its file would stay without it. A full quota does
            # not, because other users' files still have room.
            if refused.code in STOPPING and refused.quota is None:
                end_import(refused)
            self._left[f"files ({refused})"] += 1
            return None
        self._added["files"] += result.attachment is not None
        return result.attachment


def end_import(refused: RequestRefused) -> NoReturn:
    """End an import because of a refusal in `STOPPING`.

    Raises:
        Failure: always.
    """
    raise Failure(f"{refused}; run it again then, and it continues where it stopped") from None


def _proven(file: SourceFile) -> Iterator[bytes]:
    """Read a file.

    Raises:
        NotUnderstood: it is not the content that the export says.
    """
    proof = Proof(file.digest)
    for piece in file.pieces():
        proof.add(piece)
        yield piece
    if not proof.is_whole():
        raise NotUnderstood("spoilt in the export")


def _pieces(content: Callable[[], Iterator[bytes]]) -> Iterator[tuple[bytes, bool]]:
    """Divide a file into pieces for one request each, each with whether others follow; an empty file is one piece."""
    held = bytearray()
    for piece in content():
        held += piece
        while len(held) > PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES]), True
            del held[:PIECE_BYTES]
    yield bytes(held), False
