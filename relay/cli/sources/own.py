"""Reads a relay's own export."""

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from relay.cli.sources.files import Files
from relay.cli.sources.said import NotUnderstood, Person, Room, Said
from relay.protocol import control


class Own:
    """A relay's own export."""

    def __init__(self, lines: Callable[[], Iterator[bytes]], files: Files) -> None:
        self._lines = lines
        self._files = files
        self.left: Counter[str] = Counter()
        self._decode = msgspec.json.Decoder(control.Record).decode
        self.start = min((record.at for record in self._records() if record.type != "relay"), default=0)

    def _records(self) -> Iterator[control.Record]:
        for number, line in enumerate(self._lines(), start=1):
            try:
                yield self._decode(line)
            except msgspec.DecodeError as error:
                raise NotUnderstood(f"line {number}: {error}") from None

    def people(self) -> Iterator[Person]:
        """See `Source`."""
        for record in self._records():
            if record.type == "user":
                yield Person(
                    record.id or "", record.name or "", bot=record.bot, admin=record.admin, disabled=record.disabled
                )

    def rooms(self) -> Iterator[Room]:
        """See `Source`."""
        for record in self._records():
            if record.type == "chat" and record.id is not None:
                yield Room(
                    record.id,
                    record.name or record.id,
                    record.kind or "group",
                    record.owner or "",
                    record.admins or [],
                    record.participants or [],
                )

    def messages(self) -> Iterator[Said]:
        """See `Source`."""
        for record in self._records():
            if record.type != "message":
                continue
            text = record.text or ""
            enclosed = []
            for file in record.attachments or ():
                found = self._files.enclosed(f"files/{file.id}/{file.filename}")
                if found is None:
                    self.left["files"] += 1
                    text += f"\n(file: {file.filename})"
                else:
                    enclosed.append(found)
            yield Said(
                record.at,
                record.client_message_id or "",
                record.sender or "",
                record.chat or "",
                tuple(record.participants or ()) if record.chat is None else (),
                text.strip(),
                record.reply_to or "",
                tuple(enclosed),
            )
