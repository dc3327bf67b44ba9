"""What `relay import` asks for: people, chats, messages and files from elsewhere, each once, as its source states it.

What comes in goes through the log like everything else, as commands in the role of the importer (`Command.importer`).
The log's time never goes backwards, nor ahead of the clock: a message that was said at another time says so itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import trio

from relay.core.clock.clock import Clock
from relay.core.files.uploads import UploadInPieces, Uploads
from relay.core.model.state import Chat, State, User
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN, Command
from relay.core.rules.counting import can_act
from relay.core.rules.draft import client_key
from relay.core.rules.imports import ChatImported, Imported
from relay.core.rules.submit import submit
from relay.core.service.dispatch import new_chat_id
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.entry import ClientKey
from relay.store.log.log import Log

NOBODY = object()
"""Who brings something in while no import is under way."""
STOPPING = ("storage_full", "unavailable", "internal")
"""What ends an import, to be called again: nothing is wrong with what was to come in."""


class Import:
    """What is brought into a relay from elsewhere, by one import at a time."""

    def __init__(self, state: State, log: Log, clock: Clock, uploads: Uploads) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._uploads = uploads
        self._whose: object = NOBODY
        self._coming: UploadInPieces | None = None
        self._touched: dict[int, _Touched] = {}

    def begin(self, client: object) -> None:
        """Let an import bring something in: the pieces of its files and what it counts as read are its own.

        Args:
            client: stands for the import, until it has `disconnected`.

        Raises:
            RelayError: another one is under way.
        """
        if self._whose is NOBODY:
            self._whose = client
        elif self._whose is not client:
            raise RelayError("unavailable", "another import is under way: call this one again once that has ended")

    async def disconnected(self, client: object) -> None:
        """Take note that whoever may have brought something in is gone, in the middle of it or at its end."""
        if self._whose is not client:
            return
        try:
            coming, self._coming = self._coming, None
            if coming is not None:
                await coming.discard()
            await self.end_import(control.Empty())
        finally:
            self._whose = NOBODY

    def _command(self, at: int, user: int, request: Any, generated_id: str = "") -> Command:
        # A time that is still to come would be the log's, and everybody's, until then.
        return Command(min(at, self._clock()), user, 0, request, generated_id=generated_id, importer=True)

    # People and chats.

    async def import_user(self, record: control.UserImport) -> object:
        """Make a user who is not there yet."""
        created_at = record.created_at or record.at
        known = self._state.user(record.id)
        if known is not None:
            # Whoever takes their picture away has an empty one from then on.
            return control.ImportResult(added=False, bare=known.photo_url is None and known.created_at == created_at)
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
        """Make a chat that is not there yet; one that is here keeps its people, and one that was deleted stays away."""
        state = self._state
        if record.id is not None and record.id in state.gone_ids and record.id not in state.group_keys:
            return control.ImportResult(added=False, gone=True)
        known = self._find(record.id or "", record.participants)
        if known is not None:
            absent = [one for one in record.participants if not self._is_in(one, known)]
            return control.ImportResult(added=False, id=known.id, absent=len(absent))
        if record.dry:
            self._would_be(record)
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

    def _would_be(self, record: control.ChatImport) -> None:
        """Refuse, beforehand, a chat that nobody could run; who is not here yet would be as the source has them."""
        known = {one: self._state.user(one) for one in record.able}
        able = [one for one, user in known.items() if user is None or can_act(user)]
        if record.owner is None and not able:
            raise RelayError.forbidden("nobody who is in it can sign in, so nobody could run it")

    async def import_picture(self, record: control.PictureImport) -> object:
        """Give a user the picture that came in for them."""
        request = control.ChangeUser(id=record.user, photo_url=record.url)
        await submit(self._log, self._command(self._state.at, ADMIN, request))
        return control.Empty()

    def _find(self, called: str, participants: Sequence[str]) -> Chat | None:
        """A chat by its id, or a dialog by its people."""
        state = self._state
        if called:
            key = state.group_keys.get(called)
        else:
            known = [user.key for user in map(state.user, participants) if user is not None]
            whole = len(known) == len(participants) and 0 < len(known) <= 2
            key = state.dialog_keys.get((min(known), max(known))) if whole else None
        return None if key is None else state.chats[key]

    # Files.

    async def import_file(self, request: control.FileImport) -> object:
        """Take in a file that a message, or a picture, is about to need: piece by piece, one file at a time."""
        sender = self._state.user(request.sender)
        if request.dry:
            self._uploads.check(sender.key if sender is not None else None, request.size, request.before)
            return control.FileImportResult()
        if sender is None:
            raise RelayError.no_user(request.sender)
        if request.first:
            if self._coming is not None:
                # What it is read from was damaged in the middle of it.
                await self._coming.discard()
            self._coming = await self._uploads.begin(sender.key, request.size)
        coming = self._coming
        if coming is None:
            raise RelayError("bad_request", "first: no file is coming in")
        try:
            await coming.write(request.data)
            if request.more:
                return control.FileImportResult()
            attachment = await coming.keep(sender.key, request.name, min(request.at, self._clock()))
        except RelayError:
            self._coming = None
            await coming.discard()
            raise
        self._coming = None
        await coming.discard()
        return control.FileImportResult(attachment=attachment)

    # Messages.

    async def import_messages(self, request: control.MessagesImport) -> object:
        """Append messages, all in one go; give each one's id and whether it is new, or why it stays behind.

        Raises:
            RelayError: the disk is full, or the relay stops; what of it is in the log will be found there next time.
        """
        if request.dry:
            return await self._known(request.messages)
        answers: list[object] = [None] * len(request.messages)
        appended: list[tuple[int, Command]] = []
        for index, message in enumerate(request.messages):
            try:
                appended.append((index, self._said(message)))
            except RelayError as error:
                answers[index] = error
        chats = {getattr(command.request, "chat", 0) for _, command in appended}
        await self._before(chats)
        for (index, _), answer in zip(appended, await self._all([command for _, command in appended]), strict=True):
            answers[index] = answer
        self._after(chats)
        return [_brought(answer) for answer in answers]

    async def _all(self, batch: Sequence[Command]) -> list[object]:
        """Append commands in one go, and wait for all their answers."""
        answers: list[object] = [None] * len(batch)
        left = len(batch)
        done = trio.Event()

        def take(answer: object, index: int) -> None:
            nonlocal left
            answers[index] = answer
            left -= 1
            if not left:
                done.set()

        for index, command in enumerate(batch):
            self._log.append(command, lambda answer, index=index: take(answer, index))  # type: ignore[misc]
        if left:
            await done.wait()
        return answers

    def _said(self, message: control.MessageImport) -> Command:
        """The command that brings a message, an edit, a deletion or a clearing."""
        sender = self._user(message.sender)
        chat = self._find(message.chat, message.participants)
        if chat is None:
            raise RelayError("not_found", "its chat is not here")
        request: Any
        match message.kind:
            case "new":
                request = commands.ImportMessage(
                    chat=chat.key,
                    client_id=message.client_message_id,
                    said_at=message.at,
                    text=message.text,
                    attachments=message.attachments,
                    reply_to=self._named(message.reply_to),
                )
            case _:
                original = self._named(message.original)
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

    def _named(self, named: control.MessageReference | None) -> commands.Original | None:
        user = self._state.user(named.sender) if named is not None else None
        return None if named is None or user is None else commands.Original(user.key, named.client_message_id)

    async def _known(self, messages: Sequence[control.MessageImport]) -> list[control.MessageImportResult]:
        """Tell which of these messages are here already."""
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

    # What they have read.

    async def _before(self, chats: Iterable[int]) -> None:
        """Note who of these chats has nothing unread: for them what comes in is no news either."""
        for key in chats:
            chat = self._state.chats.get(key)
            if chat is None:
                continue
            touched = self._touched.get(key)
            if touched is None or touched.last != chat.last_message_id:
                # Somebody else said something since, which nobody must seem to have read.
                if touched is not None:
                    await self._mark(key, touched)
                signed_in = {device.user for device in self._state.devices.values()}
                caught_up = [
                    user
                    for user in self._state.members[key]
                    if user not in signed_in or not self._state.missed(chat, user)
                ]
                self._touched[key] = _Touched(caught_up, chat.last_message_id)

    def _after(self, chats: Iterable[int]) -> None:
        for key in chats:
            if key in self._touched:
                self._touched[key].last = self._state.chats[key].last_message_id

    async def _mark(self, key: int, touched: "_Touched") -> None:
        members = self._state.members.get(key, {})
        at = self._state.at
        users = [user for user in touched.caught_up if user in members]
        if touched.last:
            mark = commands.MarkRead(key, touched.last)
            await self._all([self._command(at, user, mark) for user in users])

    async def end_import(self, _request: control.Empty) -> object:
        """Count what came in as read by those who had nothing unread before."""
        touched, self._touched = self._touched, {}
        for key, one in touched.items():
            await self._mark(key, one)
        if touched:
            # The log's last time would be that of old messages, and a right clock far ahead of it.
            await self._all([self._command(self._clock(), ADMIN, commands.SayNothing(next(iter(touched))))])
        return control.Empty()


class _Touched:
    """A chat that messages came into: who had nothing unread before, and the last message id that was brought."""

    def __init__(self, caught_up: list[int], last: int) -> None:
        self.caught_up = caught_up
        self.last = last


def _brought(answer: object) -> control.MessageImportResult:
    match answer:
        case RelayError() if answer.error.code in STOPPING:
            raise answer
        case RelayError():
            return control.MessageImportResult(error=answer.error.message)
        case Imported():
            return control.MessageImportResult(
                message_id=answer.message_id, added=answer.added, reply_lost=answer.reply_lost
            )
    return control.MessageImportResult(added=True)
