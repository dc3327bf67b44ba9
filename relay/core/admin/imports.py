"""The admin requests of `relay import`: users, chats, messages and files of another system, each imported once.

Imported data goes through the log like everything else, as commands in the role of the importer (`Command.importer`).
The log's time never goes backwards and never ahead of the clock; a message keeps its own date beside the log's.

An import that is repeated skips what is here already. It ends in the same state whether or not an earlier attempt was
cut off: read receipts follow from what is unread (`ImportReceipts`), and the time is kept (`IMPORT_CURSOR`).
"""

from collections.abc import Mapping, Sequence
from functools import partial

import trio

from relay.core.admin.import_receipts import ImportReceipts
from relay.core.clock.clock import RelayClock
from relay.core.files.uploads import UploadInPieces, Uploads
from relay.core.model.entities import SHARED_TYPES, Chat, User
from relay.core.model.state import State
from relay.core.rules import commands, imports
from relay.core.rules.commands import ADMIN
from relay.core.rules.draft import client_key
from relay.core.rules.submit import submit
from relay.core.service.ids import new_chat_id
from relay.keys import NO_CHAT, NO_DEVICE, NO_USER, ChatKey, UnixMs, UserKey
from relay.outcomes import Decidable, Imported, Outcome
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Nothing
from relay.store.command import Command
from relay.store.entry import ClientKey
from relay.store.log.log import Log
from relay.store.portion import rest_after

NO_CLIENT = object()
"""The owner of the import while none is running."""
RETRYABLE_CODES = ("storage_full", "unavailable", "internal")
"""Errors that end an import which may be repeated later: they say nothing against the imported data."""
IMPORT_CURSOR = NO_DEVICE
"""The cursor, of no device, that keeps when the last import began: its `seen` is a time at which the clock was right.

Imported entries have the dates of their source. An import that is cut off leaves such a date as the log's last time,
and the next start would not believe a clock that is years ahead of it."""
CHANGED_BYTES = 65_536
"""Bytes of text that one batch edits or deletes, or one message."""
LOOKED_UP_MESSAGES = 16
"""Changed messages that are looked up at a time: their texts are in memory meanwhile."""


class Import:
    """Imports into this relay, one at a time."""

    def __init__(self, state: State, log: Log, clock: RelayClock, uploads: Uploads) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._uploads = uploads
        self._client: object = NO_CLIENT
        self._upload: UploadInPieces | None = None
        self._receipts = ImportReceipts(state, self._append_resting)

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

    def _command(
        self, at: UnixMs, user: UserKey, request: Decidable[Outcome], generated_id: str = ""
    ) -> Command[Outcome]:
        # The log must not get a time in the future: all later entries would have it too.
        return Command(min(at, self._clock()), user, NO_DEVICE, request, generated_id=generated_id, importer=True)

    # Users and chats.

    async def import_user(self, record: control.UserImport) -> control.ImportResult:
        """Make a user, unless they are here: known by an origin, or else by the id."""
        state = self._state
        created_at = record.created_at or record.at
        key = next((state.user_origins[one] for one in record.origins if one in state.user_origins), None)
        known = state.user(record.id) if key is None else state.users[key]
        _check_expected(record, known, by_origin=key is not None)
        if known is not None:
            if key is None and not record.same and _are_others(known.origins, record.origins):
                return _taken(record.id, known.name, dry=record.dry)
            # The date of an export says nothing about somebody of whom the other system's id is not known.
            dated = record.created_at is not None or not record.origins or key is not None
            imported = dated and known.created_at == created_at
            # A picture that its user removed is empty, not None.
            without_picture = imported and known.photo_url is None
            if not record.dry:
                await self._note_origins(record.origins, state.user_origins, user=known.key)
            return control.ImportResult(
                added=False,
                id=known.id,
                known=key is not None,
                bare=without_picture,
                namesake=None if imported else known.name,
            )
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
            origins=_new(record.origins, state.user_origins),
        )
        await submit(self._log, self._command(record.at, ADMIN, request))
        return control.ImportResult(added=True)

    async def _note_origins(
        self, origins: Sequence[str], known: Mapping[str, int], user: UserKey = NO_USER, chat: ChatKey = NO_CHAT
    ) -> None:
        """Note the origins of a user or a chat that is here already; those of another one stay that one's."""
        new = _new(origins, known)
        if new:
            request = commands.ImportOrigins(user=user, chat=chat, origins=new)
            await submit(self._log, self._command(self._state.at, ADMIN, request))

    async def import_chat(self, record: control.ChatImport) -> control.ImportResult:
        """Make a chat. One that is here keeps its members; one that was deleted here is not made again."""
        state = self._state
        imports.check_type(record.kind, len(set(record.participants)))
        origin = next((state.chat_origins[one] for one in record.origins if one in state.chat_origins), None)
        if origin is not None and state.chats[origin].gone:
            return control.ImportResult(added=False, gone=True, known=True)
        if origin is None and record.id in state.gone_ids and record.id not in state.group_keys:
            return control.ImportResult(added=False, gone=True)
        known = self._find(record.id or "", record.participants) if origin is None else state.chats[origin]
        _check_expected(record, known, by_origin=origin is not None)
        if known is not None:
            if origin is None and not record.same and _are_others(known.origins, record.origins):
                return _taken(record.id or "", known.name, dry=record.dry)
            absent = [one for one in record.participants if not self._is_in(one, known)]
            # Only what the source states itself can be compared: a chat without a date may be the same.
            other = known.id is not None and record.created_at not in (None, known.created_at)
            if origin is None and record.origins and record.created_at is None:
                other = True
            if not record.dry:
                await self._note_origins(record.origins, state.chat_origins, chat=known.key)
            return control.ImportResult(
                added=False,
                id=known.id,
                known=origin is not None,
                absent=len(absent),
                namesake=(known.name or known.id) if other else None,
            )
        if record.dry:
            self._check_chat(record)
            return control.ImportResult(added=True)
        generated_id = (record.id or new_chat_id()) if record.kind in SHARED_TYPES else ""
        request = commands.ImportChat(
            type=record.kind,
            name=record.name or "",
            owner=record.owner,
            founder=record.founder,
            admins=record.admins,
            participants=record.participants,
            created_at=record.created_at or record.at,
            photo_url=record.photo_url,
            origins=_new(record.origins, state.chat_origins),
        )
        made = await submit(self._log, self._command(record.at, ADMIN, request, generated_id))
        return control.ImportResult(added=True, id=state.chats[made.chat].id)

    def _is_in(self, user_id: str, chat: Chat) -> bool:
        user = self._state.user(user_id)
        return user is None or user.removed or user.key in self._state.members[chat.key]

    def _check_chat(self, record: control.ChatImport) -> None:
        """Refuse a chat as the real import would, before anything of it is imported."""
        state = self._state
        newcomers = {one.id: one for one in record.newcomers}

        def find(user_id: str) -> User | control.Newcomer | None:
            return state.user(user_id) or newcomers.get(user_id)

        people = imports.find_participants(find, record.participants)
        if record.kind in SHARED_TYPES:
            chat_id = record.id or ""
            imports.check_new_id(chat_id, taken=chat_id in state.user_keys or chat_id in newcomers)
        members = imports.choose_members(record.kind, people)
        imports.choose_owner(members, record.owner, record.founder, record.admins)

    async def import_picture(self, record: control.PictureImport) -> control.Empty:
        """Set a user's picture to a file that is imported already."""
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

    async def import_file(self, request: control.FileImport) -> control.FileImportResult:
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

    async def import_messages(self, request: control.MessagesImport) -> list[control.MessageImportResult]:
        """Append messages together. Each is answered by its id and whether it is new, or by an error.

        Raises:
            RelayError: the disk is full, or the relay stops. What is in the log by then is skipped by a repeat.
        """
        if request.dry:
            return await self._look_up(request.messages)
        answers: dict[int, Imported | Nothing | RelayError] = {}
        appended: list[tuple[int, Command[Imported | Nothing]]] = []
        for index, message in enumerate(request.messages):
            try:
                appended.append((index, self._message_command(message)))
            except RelayError as error:
                answers[index] = error
        chats: set[ChatKey] = {getattr(command.request, "chat", NO_CHAT) for _, command in appended}
        await self._receipts.begin(chats)
        imported: list[Imported | Nothing | RelayError] = []
        for slice_ in await self._slices([command for _, command in appended]):
            imported += await self._append_resting(slice_)
        for (index, command), answer in zip(appended, imported, strict=True):
            answers[index] = answer
            self._receipts.note(command, answer)
        return [_result(answers[index]) for index in range(len(request.messages))]

    async def _append_resting(self, batch: Sequence[Command[Outcome]]) -> list[Outcome | RelayError]:
        """Append commands together, wait for all answers, and rest where others send meanwhile.

        Nobody is charged for an import: whoever wrote a message did not ask for it to be imported now.
        """
        began, commands_before = trio.current_time(), self._log.figures.commands
        answers = await self._append(batch)
        if self._log.figures.commands - commands_before > len(batch):
            await trio.sleep(rest_after(trio.current_time() - began))
        return answers

    async def _slices(self, batch: Sequence[Command[Outcome]]) -> list[list[Command[Outcome]]]:
        """Divide commands so that no slice changes more than `CHANGED_BYTES` of text, or more than one message.

        A change removes its message's text from the full-text index and adds it again, which takes time by its size.
        """
        changes = [command.request for command in batch if isinstance(command.request, commands.ImportChange)]
        sizes = await self._sizes(changes)
        # A message may be changed by the request that imports it.
        for command in batch:
            if isinstance(command.request, commands.ImportMessage):
                request = command.request
                key = client_key(request.chat, command.user, request.client_id)
                sizes.setdefault(key, _size(request.text))
        slices: list[list[Command[Outcome]]] = [[]]
        held = 0
        for command in batch:
            change = command.request
            size = sizes.get(_original_key(change), 0) if isinstance(change, commands.ImportChange) else 0
            if size and held + size > CHANGED_BYTES:
                slices.append([])
                held = 0
            held += size
            slices[-1].append(command)
        return slices

    async def _sizes(self, changes: Sequence[commands.ImportChange]) -> dict[int, int]:
        """Look up how large the texts are that changes are about.

        Returns:
            By client key of the original, the bytes of its text; without originals that are not here.
        """
        sizes: dict[int, int] = {}
        keys = list(dict.fromkeys(map(_original_key, changes)))
        for start in range(0, len(keys), LOOKED_UP_MESSAGES):
            facts = await self._log.client_keys(keys[start : start + LOOKED_UP_MESSAGES])
            for fact, message in facts.items():
                if message is not None:
                    sizes[fact.client_key] = _size(message.message)
        return sizes

    async def _append(self, batch: Sequence[Command[Outcome]]) -> list[Outcome | RelayError]:
        """Append commands together and wait for all answers."""
        answers: dict[int, Outcome | RelayError] = {}
        done = trio.Event()

        def take(index: int, answer: Outcome | RelayError) -> None:
            answers[index] = answer
            if len(answers) == len(batch):
                done.set()

        for index, command in enumerate(batch):
            self._log.append(command, partial(take, index))
        if batch:
            await done.wait()
        return [answers[index] for index in range(len(batch))]

    def _message_command(self, message: control.MessageImport) -> Command[Imported | Nothing]:
        """Make the command that imports a message, an edit, a deletion or a clearing."""
        sender = self._user(message.sender)
        chat = self._find(message.chat, message.participants)
        if chat is None:
            raise RelayError("not_found", "its chat is not here")
        request: commands.ImportMessage | commands.ImportChange
        match message.kind:
            case "new":
                request = commands.ImportMessage(
                    chat=chat.key,
                    client_id=message.client_message_id,
                    said_at=message.at,
                    text=message.text,
                    attachments=message.attachments,
                    reply_to=self._answered(message.reply_to),
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

    def _answered(self, reference: control.MessageReference | None) -> commands.MessageByClientId | None:
        """Name the message that a reply answers; nobody's where its author is not here, so that it counts as lost."""
        if reference is None:
            return None
        return self._original(reference) or commands.MessageByClientId(NO_USER, reference.client_message_id)

    def _original(self, reference: control.MessageReference | None) -> commands.MessageByClientId | None:
        user = self._state.user(reference.sender) if reference is not None else None
        return (
            None
            if reference is None or user is None
            else commands.MessageByClientId(user.key, reference.client_message_id)
        )

    async def _look_up(self, messages: Sequence[control.MessageImport]) -> list[control.MessageImportResult]:
        """Look up which messages are here already, and of the others whether the messages are that they answer."""
        keys: list[int | None] = []
        answered: list[int | None] = []
        for message in messages:
            user = self._state.user(message.sender)
            chat = self._find(message.chat, message.participants)
            here = user is not None and chat is not None and message.kind != "clear"
            keys.append(client_key(chat.key, user.key, message.client_message_id) if here else None)  # type: ignore[union-attr]
            original = self._answered(message.reply_to)
            if chat is None or original is None:
                answered.append(None)
            else:
                answered.append(client_key(chat.key, original.author, original.client_id))
        facts = await self._log.client_keys([key for key in (*keys, *answered) if key is not None])
        results = []
        for message, key, answers in zip(messages, keys, answered, strict=True):
            known = None if key is None else facts[ClientKey(key)]
            quoted = None if answers is None else facts[ClientKey(answers)]
            # Retention leaves nothing of a message that could be answered.
            lost = message.reply_to is not None and (quoted is None or not quoted.client_id)
            results.append(
                control.MessageImportResult(
                    message_id=known.message_id if known is not None else 0,
                    added=known is None,
                    reply_lost=known is None and lost,
                )
            )
        return results

    async def end_import(self, _request: control.Empty) -> control.Empty:
        """Mark the imported messages as read for everybody who had nothing else unread."""
        chats = await self._receipts.end()
        if chats:
            # Else the log's last time would be that of an old message, and a right clock would be far ahead of it.
            await self._append([self._command(self._clock(), ADMIN, commands.ReserveSeq(chats[0]))])
        return control.Empty()


def _are_others(here: Sequence[str], there: Sequence[str]) -> bool:
    """Tell whether both have an id of the same system, so that they are two people or chats."""
    return not _systems(here).isdisjoint(_systems(there))


def _systems(origins: Sequence[str]) -> set[str]:
    return {one.partition(":")[0] for one in origins}


def _new(origins: Sequence[str], known: Mapping[str, int]) -> tuple[str, ...]:
    """Select the origins that nobody here has."""
    return tuple(dict.fromkeys(one for one in origins if one not in known))


def _check_expected(
    record: control.UserImport | control.ChatImport, found: User | Chat | None, *, by_origin: bool
) -> None:
    """Refuse somebody who is another one by now than the client was told: somebody took the id meanwhile.

    Raises:
        RelayError: `conflict`.
    """
    here = found is not None and found.id == record.id
    is_true = {"": True, "new": found is None, "here": here, "known": here and by_origin}
    if is_true[record.expected]:
        return
    if here:
        raise RelayError.conflict(f"the id {record.id!r} was taken during the import: import again")
    raise RelayError.conflict(f"{record.id!r} is not who they were when the import began: import again")


def _taken(id_: str, name: str, *, dry: bool) -> control.ImportResult:
    if not dry:
        raise RelayError.conflict(f"the id {id_!r} is somebody else's here")
    return control.ImportResult(added=True, taken=True, namesake=name)


def _original_key(change: commands.ImportChange) -> int:
    """Give the client key of the message that a change is about."""
    return client_key(change.chat, change.original.author, change.original.client_id)


def _size(text: str | None) -> int:
    return len((text or "").encode())


def _result(answer: Imported | Nothing | RelayError) -> control.MessageImportResult:
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
