"""Reads a relay's own export, of this version or of an older one (format 1)."""

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from relay.cli.importers.base import (
    Reference,
    SourceChat,
    SourceFile,
    SourceMessage,
    SourceUser,
    fit_key,
    in_place_of,
    link,
)
from relay.cli.importers.formats.archive import Archive
from relay.cli.importers.names import decoded_lines
from relay.protocol import control
from relay.protocol.base import LATEST_DATE_MS

FORMATS = (1, 2)
"""The formats that can be read."""


class RelayExport:
    """A relay's own export. It is read several times and never held in memory."""

    def __init__(self, lines: Callable[[], Iterator[bytes]], files: Archive) -> None:
        """Read users, chats and the data needed to yield the messages.

        Args:
            lines: opens the lines of the export from the beginning.
            files: the archive with the uploaded files.

        Raises:
            NotUnderstood: it is damaged.
        """
        self._lines = lines
        self._files = files
        self.left: Counter[str] = Counter()
        self.inferred: Counter[str] = Counter()
        self._pictures: set[str] = set()
        self._known: dict[str, tuple[str, str, str]] = {}
        """The name, the uploader and the digest of each picture."""
        self._old = False
        self._answered: set[tuple[str, str]] = set()
        """In format 1, the quoted messages by chat and client id: it does not name their authors."""
        self._mentioned: dict[str, None] = {}
        """Ids of authors and members."""
        described: set[str] = set()
        start = None
        for record in self._records(self.left):
            if record.type == "relay":
                self._old = record.format == 1
            elif record.type not in ("file", "clear"):
                start = record.at if start is None else min(start, record.at)
            if record.picture:
                self._pictures.add(record.picture)
            if record.type == "file" and record.id in self._pictures:
                self._known[record.id or ""] = (record.name or "file", record.sender or "", record.digest or "")
            if self._old and record.reply_to:
                self._answered.add((_place(record), record.reply_to))
            if record.type == "user":
                described.add(record.id or "")
            else:
                self._mentioned.update(dict.fromkeys([record.sender or "", *(record.participants or ())]))
        for user_id in ("", *described):
            self._mentioned.pop(user_id, None)
        self.start = start or 0

    def _records(self, left: Counter[str] | None = None) -> Iterator[control.Record]:
        before = 0
        for record in decoded_lines(self._lines(), control.Record, left):
            dated = record if record.at <= LATEST_DATE_MS else msgspec.structs.replace(record, at=before)
            before = dated.at
            yield dated

    def users(self) -> Iterator[SourceUser]:
        """See `Source`."""
        for record in self._records():
            if record.type == "user":
                yield SourceUser(
                    record.id or "",
                    record.name or "",
                    bot=record.bot,
                    admin=record.admin,
                    disabled=record.disabled,
                    removed=record.removed,
                    at=record.at,
                    origins=record.origins,
                    picture=self._picture(record),
                )
        for user_id in self._mentioned:
            # No record describes them, and their messages are still theirs.
            yield SourceUser(user_id, user_id, disabled=True)

    def chats(self) -> Iterator[SourceChat]:
        """See `Source`."""
        for record in self._records():
            if record.type == "chat":
                yield SourceChat(
                    _place(record),
                    record.id or "",
                    record.name or record.id or "",
                    record.kind or "group",
                    record.owner,
                    None,
                    record.admins or [],
                    record.participants or [],
                    record.at,
                    self._picture(record),
                    record.origins,
                )

    def _picture(self, record: control.Record) -> SourceFile | None:
        if not record.picture:
            return None
        name, sender, digest = self._known.get(record.picture, ("", "", ""))
        found = self._files.enclosed(f"files/{record.picture}/{name}") if name else None
        if found is None:
            self.left["pictures of people and groups"] += 1
            return None
        return found._replace(key=record.picture, name=name, sender=sender, digest=digest)

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        senders: dict[tuple[str, str], str] = {}
        described: dict[str, control.Record] = {}
        for record in self._records():
            if record.type == "file":
                # A file's record comes before its message's.
                described = {**described, record.id or "": record}
            elif record.type in ("edit", "delete", "clear"):
                yield self._change(record)
            elif record.type == "message":
                place, key = _place(record), record.client_message_id or ""
                if (place, key) in self._answered:
                    senders[place, key] = record.sender or ""
                if self._old and record.edited_at:
                    self.left["dates of edits, which this older export has without the edits"] += 1
                answers = record.reply_sender or senders.get((place, record.reply_to or ""), "")
                yield self._message(record, _named(answers, record.reply_to), described)
                described = {}

    def _message(
        self, record: control.Record, answers: Reference | None, described: dict[str, control.Record]
    ) -> SourceMessage:
        text = record.text or ""
        enclosed = []
        for file in record.attachments or ():
            if not file.is_here:
                enclosed.append(link(file))
                continue
            found = self._files.enclosed(f"files/{file.id}/{file.filename}")
            if found is None:
                self.left["files"] += 1
                text += in_place_of(file.filename)
            else:
                about = described.get(file.id)
                sender, digest = (about.sender or "", about.digest or "") if about else ("", "")
                enclosed.append(
                    found._replace(key=file.id, name=file.filename, sender=sender, known=file, digest=digest)
                )
        return SourceMessage(
            record.at,
            fit_key(record.client_message_id or ""),
            record.sender or "",
            _place(record),
            text,
            answers,
            tuple(enclosed),
            deleted=record.deleted,
        )

    @staticmethod
    def _change(record: control.Record) -> SourceMessage:
        kind = record.type
        assert kind in ("edit", "delete", "clear")
        return SourceMessage(
            record.at,
            fit_key(record.client_message_id or "-"),
            record.sender or "",
            _place(record),
            "",
            kind=kind,
            original=_named(record.original_sender, record.original),
        )


def _named(sender: str | None, client_id: str | None) -> Reference | None:
    return (sender or "", fit_key(client_id)) if client_id else None


def _place(record: control.Record) -> str:
    """Return the key of a chat in an export: the id of a group, the people of a dialog."""
    if record.type == "chat":
        return record.id or "~".join(sorted(record.participants or ()))
    return record.chat or "~".join(sorted(record.participants or ()))
