"""One import, from its source into a relay, or a dry run of it.

Streams: it holds the people and chats of a source, and of messages no more than one request takes.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from relay.cli.control_client import Ask, RequestRefused
from relay.cli.importers.base import (
    TEXT,
    NotUnderstood,
    Source,
    SourceChat,
    SourceFile,
    SourceMessage,
    SourceUser,
    fit_name,
)
from relay.cli.output import Failure, progress
from relay.core.model.entities import quota_bytes
from relay.core.rules.counting import can_act
from relay.protocol import control
from relay.protocol.objects import MAX_ATTACHMENTS, Attachment

BATCH = 200
"""Messages in one request."""
BATCH_CHARACTERS = 1_000_000
"""Characters of text in one request, beyond the first message."""
PIECE = 4 * 2**20
"""Bytes of a file in one request."""
SHARED = 4_096
"""Files that are remembered for other messages with the same file."""
STOPPING = ("storage_full", "rate_limited", "unavailable", "internal")
"""Refusals that do not depend on the record: the import ends and can be run again."""


class Namesake(NamedTuple):
    """A person of the source with the id of a user here who did not come from this source: perhaps somebody else."""

    id: str
    there: str
    """Their name in the source."""
    here: str
    """The name of the user who has the id here."""


class Importing:
    """Imports a source's users, chats and messages, each once. Counts what is new, here already, and left behind."""

    def __init__(self, ask_one: Ask, source: Source, now: int, *, dry: bool = False) -> None:
        """Begin an import.

        Args:
            ask_one: asks the relay.
            source: what is to come in.
            now: Unix milliseconds, for what has no date.
            dry: whether to change nothing, and count what would come in.
        """
        self._ask = ask_one
        self._source = source
        # Read once: a source counts what it leaves behind while it is read.
        self._people = list(source.people())
        self._chats = list(source.rooms())
        self._start = source.start or now
        self._dry = dry
        self.added: Counter[str] = Counter(users=0, chats=0, messages=0, files=0)
        self.here: Counter[str] = Counter(users=0, chats=0, messages=0)
        self.left = source.left
        self.admins: list[str] = []
        """New users whom the export calls admins."""
        self._able: set[str] = set()
        self._coming: set[str] = set()
        """In a dry run: users who would be added."""
        self._rooms: dict[str, tuple[str, list[str]]] = {}
        """For each chat that is here by now: its id, or the two people of a dialog."""
        self._new: set[str] = set()
        self._waiting: list[SourceMessage] = []
        self._characters = 0
        self._shared: OrderedDict[str, Attachment | None] = OrderedDict()
        self._before: Counter[str] = Counter()
        self._told: set[tuple[str, str, str]] = set()
        """In a dry run: the messages of the last batch."""

    async def find_namesakes(self) -> list[Namesake]:
        """Find the people of the source who would be taken for users here without any sign that they are the same.

        Membership of a chat that came from this source is such a sign: they came with an earlier import.
        Changes nothing.
        """
        found: dict[str, Namesake] = {}
        for person in self._people:
            answer = await self._try_quietly("import.user", msgspec.structs.replace(self._user(person), dry=True))
            if answer is not None and answer.namesake is not None:
                found[person.id] = Namesake(person.id, person.name, answer.namesake)
        for room in self._chats:
            for user_id in found.keys() & set(room.participants) if room.id else ():
                request = control.ChatImport(
                    id=room.id, kind=room.kind, name=room.id, participants=[user_id], at=self._start, dry=True
                )
                answer = await self._try_quietly("import.chat", request)
                if answer is not None and not answer.added and not answer.gone and not answer.absent:
                    del found[user_id]
        return list(found.values())

    async def _try_quietly(self, name: str, request: Any) -> Any:
        try:
            return await self._ask(name, request)
        except RequestRefused as refused:
            if refused.code in STOPPING:
                raise
            return None

    async def run(self) -> None:
        """Import everything: users, then chats, then messages."""
        for person in self._people:
            await self._person(person)
        for room in self._chats:
            await self._room(room)
        with progress("messages") as advance:
            for said in self._source.messages():
                if said.room not in self._rooms:
                    self.left["messages of chats that stay behind"] += said.kind == "new"
                    continue
                self._waiting.append(said)
                self._characters += len(said.text)
                if len(self._waiting) >= BATCH or self._characters >= BATCH_CHARACTERS:
                    advance(await self._flush())
            advance(await self._flush())
        if not self._dry:
            await self._ask("import.end", control.Empty())

    async def _person(self, person: SourceUser) -> None:
        if can_act(person):
            self._able.add(person.id)
        brought = await self._try("users", "import.user", self._user(person))
        if brought is None:
            return
        self._count("users", brought.added)
        if self._dry and brought.added and not person.removed:
            self._coming.add(person.id)
        if person.admin and brought.added and person.id in self._able:
            self.admins.append(person.id)
        # The picture is a file of the user, so it comes after them: an import may have ended in between.
        if person.picture is not None and (brought.added or brought.bare):
            picture = await self._file(person.picture, person.id, self._start)
            if picture is not None:
                await self._ask("import.picture", control.PictureImport(user=person.id, url=picture.url))

    def _user(self, person: SourceUser) -> control.UserImport:
        return control.UserImport(
            id=person.id,
            name=fit_name(person.name) or person.id,
            at=self._start,
            created_at=person.at,
            bot=person.bot,
            admin=person.admin,
            disabled=person.disabled,
            removed=person.removed,
            dry=self._dry,
        )

    async def _room(self, room: SourceChat) -> None:
        if room.key in self._rooms:
            # Some exports list a channel twice.
            return
        group = room.kind in ("group", "channel")
        able = [one for one in room.participants if one in self._able]
        request = control.ChatImport(
            id=room.id or None,
            kind=room.kind,
            name=(fit_name(room.name) or room.id) if group else None,
            owner=room.owner,
            founder=room.founder,
            admins=room.admins,
            participants=room.participants,
            able=able if self._dry else [],
            at=self._start,
            created_at=room.at,
            dry=self._dry,
        )
        if room.picture is not None:
            # The picture comes before the chat, which then never shows without it.
            planned = await self._try("chats", "import.chat", msgspec.structs.replace(request, able=able, dry=True))
            if planned is None:
                return
            if planned.added:
                picture = await self._file(room.picture, room.owner or room.participants[0], self._start)
                request = msgspec.structs.replace(request, photo_url=picture.url if picture is not None else None)
        brought = await self._try("chats", "import.chat", request)
        if brought is None:
            return
        if brought.gone:
            self.left["chats that were deleted here"] += 1
            return
        self._count("chats", brought.added)
        absent = brought.absent
        if not brought.added:
            absent += len(self._coming.intersection(room.participants))
        if absent:
            self.left["people of chats that are here already: they stay out of them (`relay chat add`)"] += absent
        self._rooms[room.key] = (room.id, [] if group else room.participants)
        if brought.added:
            self._new.add(room.key)

    async def _try(self, what: str, name: str, request: Any) -> Any:
        """Make one request. Count a refusal with its reason and return None."""
        try:
            return await self._ask(name, request)
        except RequestRefused as refused:
            if refused.code in STOPPING:
                raise
            self.left[f"{what} ({refused})"] += 1
            return None

    def _count(self, what: str, added: bool) -> None:
        (self.added if added else self.here)[what] += 1

    async def _flush(self) -> int:
        """Import the waiting messages and return their number."""
        waiting, self._waiting, self._characters = self._waiting, [], 0
        if not waiting:
            return 0
        answers = await self._known(waiting) if self._dry else await self._brought(waiting)
        for said, answer in zip(waiting, answers, strict=True):
            counts = said.kind == "new" and not said.deleted
            if answer.error:
                what = "messages" if counts else "edits and deletions"
                self.left[f"{what} ({answer.error})"] += 1
                continue
            if counts:
                self._count("messages", answer.added)
            if answer.reply_lost:
                self.left["links from answers to messages that are not here"] += 1
        return len(waiting)

    async def _known(self, waiting: list[SourceMessage]) -> list[control.MessageImportResult]:
        """Count what would be imported."""
        known = await self._here(waiting)
        told = self._told
        self._told = {(said.room, said.sender, said.key) for said in waiting}
        for said in waiting:
            # A message that is in two days of an export would be here already the second time.
            if (said.room, said.sender, said.key) in told:
                known[id(said)] = control.MessageImportResult()
            told.add((said.room, said.sender, said.key))
            if known[id(said)].added and said.kind == "new":
                await self._content(said, said.at)
        return [known[id(said)] for said in waiting]

    async def _here(self, waiting: list[SourceMessage]) -> dict[int, control.MessageImportResult]:
        """Ask which of these messages are here already. In a new chat none is."""
        found = {id(said): control.MessageImportResult(added=True) for said in waiting}
        asked = [said for said in waiting if said.room not in self._new]
        if asked:
            messages = [self._message(said, None, []) for said in asked]
            answers = await self._ask("import.messages", control.MessagesImport(messages=messages, dry=True))
            found.update({id(said): answer for said, answer in zip(asked, answers, strict=True)})
        return found

    async def _brought(self, waiting: list[SourceMessage]) -> list[control.MessageImportResult]:
        # Files are uploaded before their message: skip those of messages that are here already.
        known = await self._here([said for said in waiting if said.files])
        messages = []
        # Files come before the messages of their batch and must not move the log's time past them.
        first = min(said.at for said in waiting)
        for said in waiting:
            text: str | None = None
            attachments: list[Attachment] = []
            if said.kind == "new" and (not said.files or known[id(said)].added):
                text, attachments = await self._content(said, first)
            messages.append(self._message(said, text, attachments))
        try:
            answers: list[control.MessageImportResult] = await self._ask(
                "import.messages", control.MessagesImport(messages=messages)
            )
        except RequestRefused as refused:
            raise _called_again(refused) from None
        return answers

    def _message(self, said: SourceMessage, text: str | None, attachments: list[Attachment]) -> control.MessageImport:
        room, people = self._rooms[said.room]
        return control.MessageImport(
            kind=said.kind,
            chat=room,
            participants=people,
            sender=said.sender,
            client_message_id=said.key,
            text=text,
            attachments=attachments or None,
            at=said.at,
            reply_to=_named(said.answers),
            original=_named(said.original),
        )

    async def _content(self, said: SourceMessage, at: int) -> tuple[str | None, list[Attachment]]:
        """Fit a message's text and files to the relay's limits. Count what does not fit."""
        text = said.text.replace("\0", "")
        attachments: list[Attachment] = []
        for number, file in enumerate(said.files):
            attachment = None
            if number >= MAX_ATTACHMENTS:
                self.left[f"files beyond the {MAX_ATTACHMENTS} that a message may have"] += 1
            else:
                attachment = await self._file(file, said.sender, at)
            if attachment is not None:
                attachments.append(attachment)
            elif not self._dry:
                text += f"\n(file: {file.name})"
        if len(text) > TEXT:
            self.left["ends of messages that are too long"] += 1
        return text[:TEXT] or (None if attachments or said.deleted else "(empty)"), attachments

    # Files.

    async def _file(self, file: SourceFile, sender: str, at: int) -> Attachment | None:
        """Upload a file once. Return None if it is left behind, or would be."""
        if file.key and file.key in self._shared:
            self._shared.move_to_end(file.key)
            found = self._shared[file.key]
        else:
            found = await self._upload(file, file.sender or sender, at)
            if file.key:
                self._shared[file.key] = found
                if len(self._shared) > SHARED:
                    self._shared.popitem(last=False)
        if found is None or file.known is None or found.type != "video" or file.known.type != "video":
            return found
        # The size and duration of a video are those that its sender stated.
        return msgspec.structs.replace(found, meta=file.known.meta)

    async def _upload(self, file: SourceFile, sender: str, at: int) -> Attachment | None:
        whole = control.FileImport(sender=sender, name=(file.name or "file")[:255], size=file.size, at=at)
        try:
            if self._dry:
                planned = msgspec.structs.replace(whole, dry=True, before=self._before[sender])
                await self._ask("import.file", planned)
                self._before[sender] += quota_bytes(file.size)
                self.added["files"] += 1
                return None
            brought = control.FileImportResult()
            first = True
            for piece, more in _pieces(file.pieces):
                request = msgspec.structs.replace(whole, data=piece, first=first, more=more)
                brought = await self._ask("import.file", request)
                first = False
        except NotUnderstood as error:
            self.left[f"files ({error})"] += 1
            return None
        except RequestRefused as refused:
            # A user's room may be full and the disk not: what else there is comes in. A message that came in without
            # its file would stay without it, so where the next file may find room nothing more does.
            if refused.code in STOPPING and refused.quota is None:
                raise _called_again(refused) from None
            self.left[f"files ({refused})"] += 1
            return None
        self.added["files"] += brought.attachment is not None
        return brought.attachment


def _called_again(refused: RequestRefused) -> Failure:
    return Failure(f"{refused}; call it again then, and it goes on where it stopped")


def _named(named: tuple[str, str] | None) -> control.MessageReference | None:
    return (
        None if named is None or not named[0] else control.MessageReference(sender=named[0], client_message_id=named[1])
    )


def _pieces(content: Callable[[], Iterator[bytes]]) -> Iterator[tuple[bytes, bool]]:
    """Yield a file in pieces, each with whether more follow. An empty file is one piece."""
    held = bytearray()
    for piece in content():
        held += piece
        while len(held) > PIECE:
            yield bytes(held[:PIECE]), True
            del held[:PIECE]
    yield bytes(held), False
