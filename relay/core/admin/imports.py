"""The admin requests of `relay import`: users, chats, messages and files of another system, each imported once.

Imported data goes through the log like everything else, as commands in the role of the importer (`Command.importer`).
The log's time never goes backwards and never ahead of the clock; a message keeps its own date beside the log's.

An import that is repeated skips what is here already. It ends in the same state whether or not an earlier attempt was
cut off: read receipts follow from what is unread (`_ChatProgress`), and the time is kept (`IMPORT_CURSOR`).
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec
import trio

from relay.core.clock.clock import RelayClock
from relay.core.files.uploads import UploadInPieces, Uploads
from relay.core.model.entities import Chat, User
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN, Command
from relay.core.rules.counting import can_act
from relay.core.rules.draft import client_key
from relay.core.rules.imports import ChatImported, Imported
from relay.core.rules.submit import submit
from relay.core.service.dispatch import new_chat_id
from relay.keys import UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.entry import ClientKey
from relay.store.log.log import Log

NO_CLIENT = object()
"""The owner of the import while none is running."""
RETRYABLE_CODES = ("storage_full", "unavailable", "internal")
"""Errors that end an import which may be repeated later: they say nothing against the imported data."""
IMPORT_CURSOR = 0
"""The cursor, of no device, that keeps when the last import began: its `seen` is a time at which the clock was right.

Imported entries have the dates of their source. An import that is cut off leaves such a date as the log's last time,
and the next start would not believe a clock that is years ahead of it."""


class Import:
    """Imports into this relay, one at a time."""

    def __init__(self, state: State, log: Log, clock: RelayClock, uploads: Uploads) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._uploads = uploads
        self._client: object = NO_CLIENT
        self._upload: UploadInPieces | None = None
        self._progress: dict[int, _ChatProgress] = {}

    async def begin(self, client: object) -> None:
        """Start an import for a client, or continue it.

        Args:
            client: owns the import until it has `disconnected`.

        Raises:
            RelayError: `unavailable`, another client's import is running.
        """
        if self._client is client:
            return
        if self._client is not NO_CLIENT:
            raise RelayError("unavailable", "another import is under way: call this one again once that has ended")
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

    def _command(self, at: int, user: int, request: msgspec.Struct, generated_id: str = "") -> Command:
        # The log must not get a time in the future: all later entries would have it too.
        return Command(min(at, self._clock()), UserKey(user), 0, request, generated_id=generated_id, importer=True)

    # Users and chats.

    async def import_user(self, record: control.UserImport) -> object:
        """Make a user, unless the id is taken."""
        created_at = record.created_at or record.at
        known = self._state.user(record.id)
        if known is not None:
            imported = known.created_at == created_at
            # A picture that its user removed is empty, not None.
            without_picture = imported and known.photo_url is None
            return control.ImportResult(added=False, bare=without_picture, namesake=None if imported else known.name)
        if record.id in self._state.group_keys:
            raise RelayError.conflict(f"the id {record.id!r} is a chat's here")
        if record.dry:
            return control.ImportResult(added=True)
        request = commands.ImportUser(
            id=record.id,
            name=record.name,
            created_at=created_at,
            bot=record.bot,
            admin=record.admin,
            disabled=record.disabled,
            removed=record.removed,
        )
        await submit(self._log, self._command(record.at, ADMIN, request))
        return control.ImportResult(added=True)

    async def import_chat(self, record: control.ChatImport) -> object:
        """Make a chat. One that is here keeps its members; one that was deleted here is not made again."""
        state = self._state
        if record.id is not None and record.id in state.gone_ids and record.id not in state.group_keys:
            return control.ImportResult(added=False, gone=True)
        known = self._find(record.id or "", record.participants)
        if known is not None:
            absent = [one for one in record.participants if not self._is_in(one, known)]
            return control.ImportResult(added=False, id=known.id, absent=len(absent))
        if record.dry:
            self._check_owner(record)
            return control.ImportResult(added=True)
        generated_id = "" if record.kind in ("dialog", "favorites") else record.id or new_chat_id()
        request = commands.ImportChat(
            type=record.kind,
            name=record.name or "",
            owner=record.owner,
            founder=record.founder,
            admins=record.admins,
            participants=record.participants,
            created_at=record.created_at or record.at,
            photo_url=record.photo_url,
        )
        made: ChatImported = await submit(self._log, self._command(record.at, ADMIN, request, generated_id))
        return control.ImportResult(added=True, id=state.chats[made.chat].id)

    def _is_in(self, user_id: str, chat: Chat) -> bool:
        user = self._state.user(user_id)
        return user is None or user.removed or user.key in self._state.members[chat.key]

    def _check_owner(self, record: control.ChatImport) -> None:
        """Refuse a chat that nobody could own, before it is imported.

        `record.able` names the participants who can sign in according to the source; the state decides about those
        who are here already.
        """
        known = {one: self._state.user(one) for one in record.able}
        able = [one for one, user in known.items() if user is None or can_act(user)]
        if record.owner is None and not able:
            raise RelayError.forbidden("nobody who is in it can sign in, so nobody could run it")

    async def import_picture(self, record: control.PictureImport) -> object:
        """Set a user's picture to a file that was imported before."""
        request = control.ChangeUser(id=record.user, photo_url=record.url)
        await submit(self._log, self._command(self._state.at, ADMIN, request))
        return control.Empty()

    def _find(self, chat_id: str, participants: Sequence[str]) -> Chat | None:
        """Find a chat by its id, or a dialog by its participants."""
        state = self._state
        if chat_id:
            key = state.group_keys.get(chat_id)
        else:
            known = [user.key for user in map(state.user, participants) if user is not None]
            complete = len(known) == len(participants) and 0 < len(known) <= 2
            key = state.dialog_keys.get((min(known), max(known))) if complete else None
        return None if key is None else state.chats[key]

    # Files.

    async def import_file(self, request: control.FileImport) -> object:
        """Store the next piece of a file that a message or a picture will need; one file at a time."""
        sender = self._state.user(request.sender)
        if request.dry:
            self._uploads.check(sender.key if sender is not None else None, request.size, request.before)
            return control.FileImportResult()
        if sender is None:
            raise RelayError.no_user(request.sender)
        if request.first:
            if self._upload is not None:
                # The client gave the last file up: its source turned out to be damaged.
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

    # Messages.

    async def import_messages(self, request: control.MessagesImport) -> object:
        """Append messages together. Each is answered by its id and whether it is new, or by an error.

        Raises:
            RelayError: the disk is full, or the relay stops. What is in the log by then is skipped by a repeat.
        """
        if request.dry:
            return await self._look_up(request.messages)
        answers: list[object] = [None] * len(request.messages)
        appended: list[tuple[int, Command]] = []
        for index, message in enumerate(request.messages):
            try:
                appended.append((index, self._message_command(message)))
            except RelayError as error:
                answers[index] = error
        chats = {getattr(command.request, "chat", 0) for _, command in appended}
        await self._begin_chats(chats)
        for (index, command), answer in zip(
            appended, await self._append([command for _, command in appended]), strict=True
        ):
            answers[index] = answer
            self._note_repeat(command, answer)
        self._note_last(chats)
        return [_result(answer) for answer in answers]

    async def _append(self, batch: Sequence[Command]) -> list[object]:
        """Append commands together and wait for all answers."""
        answers: list[object] = [None] * len(batch)
        pending = len(batch)
        done = trio.Event()

        def take(answer: object, index: int) -> None:
            nonlocal pending
            answers[index] = answer
            pending -= 1
            if not pending:
                done.set()

        for index, command in enumerate(batch):
            self._log.append(command, lambda answer, index=index: take(answer, index))  # type: ignore[misc]
        if pending:
            await done.wait()
        return answers

    def _message_command(self, message: control.MessageImport) -> Command:
        """Make the command that imports a message, an edit, a deletion or a clearing."""
        sender = self._user(message.sender)
        chat = self._find(message.chat, message.participants)
        if chat is None:
            raise RelayError("not_found", "its chat is not here")
        request: msgspec.Struct
        match message.kind:
            case "new":
                request = commands.ImportMessage(
                    chat=chat.key,
                    client_id=message.client_message_id,
                    said_at=message.at,
                    text=message.text,
                    attachments=message.attachments,
                    reply_to=self._original(message.reply_to),
                )
            case _:
                original = self._original(message.original)
                if original is None:
                    raise RelayError("not_found", "the message that it changes is not here")
                if message.kind == "clear":
                    return self._command(self._state.at, sender.key, commands.ImportClearing(chat.key, original))
                request = commands.ImportChange(
                    chat=chat.key,
                    client_id=message.client_message_id,
                    said_at=message.at,
                    original=original,
                    deleted=message.kind == "delete",
                )
        return self._command(message.at, sender.key, request)

    def _user(self, user_id: str) -> User:
        user = self._state.user(user_id)
        if user is None:
            raise RelayError.no_user(user_id)
        return user

    def _original(self, reference: control.MessageReference | None) -> commands.Original | None:
        user = self._state.user(reference.sender) if reference is not None else None
        return None if reference is None or user is None else commands.Original(user.key, reference.client_message_id)

    async def _look_up(self, messages: Sequence[control.MessageImport]) -> list[control.MessageImportResult]:
        """Look up which messages are here already."""
        keys: list[int | None] = []
        for message in messages:
            user = self._state.user(message.sender)
            chat = self._find(message.chat, message.participants)
            here = user is not None and chat is not None and message.kind != "clear"
            keys.append(client_key(chat.key, user.key, message.client_message_id) if here else None)  # type: ignore[union-attr]
        facts = await self._log.client_keys([key for key in keys if key is not None])
        found = [None if key is None else facts[ClientKey(key)] for key in keys]
        return [
            control.MessageImportResult(message_id=one.message_id if one is not None else 0, added=one is None)
            for one in found
        ]

    # Read receipts.

    async def _begin_chats(self, chats: Iterable[int]) -> None:
        """Note what is unread in chats before messages are imported into them."""
        for key in chats:
            chat = self._state.chats.get(key)
            if chat is None:
                continue
            progress = self._progress.get(key)
            if progress is not None and progress.last != chat.last_message_id:
                # Somebody else has written since: that message must stay unread.
                await self._mark_read(key, progress)
                progress = None
            if progress is None:
                self._progress[key] = self._begin_chat(chat)

    def _begin_chat(self, chat: Chat) -> "_ChatProgress":
        signed_in = {device.user for device in self._state.devices.values()}
        progress = _ChatProgress(chat.last_message_id)
        for user, member in self._state.members[chat.key].items():
            unread = self._state.missed(chat, user)
            if user in signed_in and unread:
                progress.behind[user] = (unread, max(member.read_upto, member.joined))
            else:
                progress.caught_up.append(user)
        return progress

    def _note_repeat(self, command: Command, answer: object) -> None:
        """Note an unread message that an earlier attempt of this import has brought."""
        if isinstance(answer, Imported) and not answer.added and isinstance(command.request, commands.ImportMessage):
            progress = self._progress.get(command.request.chat)
            if progress is not None and progress.behind and answer.counted and answer.message_id <= progress.first:
                progress.repeated.setdefault(command.user, set()).add(answer.message_id)

    def _note_last(self, chats: Iterable[int]) -> None:
        for key in chats:
            if key in self._progress:
                self._progress[key].last = self._state.chats[key].last_message_id

    async def _mark_read(self, key: int, progress: "_ChatProgress") -> None:
        members = self._state.members.get(key, {})
        at = self._state.at
        users = [user for user in progress.readers() if user in members]
        if progress.last:
            mark = commands.MarkRead(key, progress.last)
            await self._append([self._command(at, user, mark) for user in users])

    async def end_import(self, _request: control.Empty) -> object:
        """Mark the imported messages as read for everybody who had nothing else unread."""
        chats, self._progress = self._progress, {}
        for key, progress in chats.items():
            await self._mark_read(key, progress)
        if chats:
            # Else the log's last time would be that of an old message, and a right clock would be far ahead of it.
            await self._append([self._command(self._clock(), ADMIN, commands.ReserveSeq(next(iter(chats))))])
        return control.Empty()


class _ChatProgress:
    """A chat that messages are imported into: who has nothing unread but what this import has brought."""

    def __init__(self, last: int) -> None:
        self.first = self.last = last
        """The chat's last message id when the import came to it, and after its latest batch."""
        self.caught_up: list[int] = []
        """Members who had nothing unread, or have no device."""
        self.behind: dict[int, tuple[int, int]] = {}
        """Of each other member how many messages were unread, and after which message id."""
        self.repeated: dict[int, set[int]] = {}
        """By author, the ids of messages that an earlier attempt of the import had brought."""

    def readers(self) -> list[int]:
        """List the members for whom the import may mark its messages as read."""
        everybody = sorted(message_id for ids in self.repeated.values() for message_id in ids)
        caught_up = list(self.caught_up)
        for user, (unread, after) in self.behind.items():
            own = sum(message_id > after for message_id in self.repeated.get(user, ()))
            if len(everybody) - bisect_right(everybody, after) - own == unread:
                # All that was unread came with an earlier attempt of this import.
                caught_up.append(user)
        return caught_up


def _result(answer: object) -> control.MessageImportResult:
    match answer:
        case RelayError() if answer.error.code in RETRYABLE_CODES:
            raise answer
        case RelayError():
            return control.MessageImportResult(error=answer.error.message)
        case Imported():
            return control.MessageImportResult(
                message_id=answer.message_id, added=answer.added, reply_lost=answer.reply_lost
            )
    return control.MessageImportResult(added=True)
