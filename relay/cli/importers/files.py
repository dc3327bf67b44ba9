"""The files of an import: each is handed over once, in pieces, or accounted for by a dry run."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterator
from typing import NoReturn

import msgspec

from relay.cli.control_client import Ask, RequestRefused
from relay.cli.importers.base import NotUnderstood, SourceFile
from relay.cli.output import Failure
from relay.core.model.entities import quota_bytes
from relay.protocol import control
from relay.protocol.control.table import IMPORT_FILE
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment

PIECE_BYTES = 4 * 2**20
"""Bytes of a file that go in one request."""
SHARED_FILES = 4_096
"""Files that are remembered for other messages that hold the same one."""
STOPPING = ("storage_full", "rate_limited", "unavailable", "internal")
"""Refusals that say nothing against what is imported: the import ends, and can be repeated."""


class FileImporter:
    """Imports files; counts what was imported and what stays behind."""

    def __init__(
        self, ask_one: Ask, users: Container[str], added: Counter[str], left: Counter[str], *, dry: bool
    ) -> None:
        """Begin an import's files.

        Args:
            ask_one: asks the relay.
            users: ids of the people who are here by now, or would be.
            added: counts what is imported.
            left: counts what stays behind.
            dry: whether to change nothing.
        """
        self._ask = ask_one
        self._users = users
        self._added = added
        self._left = left
        self._dry = dry
        self._shared: OrderedDict[str, Attachment | None] = OrderedDict()
        self._bytes_before: Counter[str] = Counter()
        """With a dry run, by user: the bytes, as they count, of the files that would be imported."""

    async def bring(self, file: SourceFile, sender: str, at: int) -> Attachment | None:
        """Import a file, once.

        Args:
            file: the file.
            sender: who uploads it, unless the file itself names its sender.
            at: the time that it gets in the log, Unix milliseconds.

        Returns:
            The attachment; None if the file stays behind, and always with a dry run.
        """
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
        # The size and length of a video are what its sender stated.
        return msgspec.structs.replace(found, meta=file.known.meta)

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
            for piece, more in _pieces(file.pieces):
                request = msgspec.structs.replace(whole, data=piece, first=first, more=more)
                result = await self._ask(IMPORT_FILE, request)
                first = False
        except NotUnderstood as error:
            self._left[f"files ({error})"] += 1
            return None
        except RequestRefused as refused:
            # A full disk ends the import: a message that came without its file would stay without it. A user's quota
            # does not, for the files of others still find room.
            if refused.code in STOPPING and refused.quota is None:
                end_import(refused)
            self._left[f"files ({refused})"] += 1
            return None
        self._added["files"] += result.attachment is not None
        return result.attachment


def end_import(refused: RequestRefused) -> NoReturn:
    """End an import because of a refusal that says nothing against what is imported, one of `STOPPING`.

    Raises:
        Failure: always.
    """
    raise Failure(f"{refused}; call it again then, and it goes on where it stopped") from None


def _pieces(content: Callable[[], Iterator[bytes]]) -> Iterator[tuple[bytes, bool]]:
    """Divide a file into pieces for one request each, with whether others follow; an empty file is one piece."""
    held = bytearray()
    for piece in content():
        held += piece
        while len(held) > PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES]), True
            del held[:PIECE_BYTES]
    yield bytes(held), False
