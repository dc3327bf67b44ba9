"""Imports messages, edits, deletions and clearings, in batches small enough that other users can send in between."""

from collections.abc import Callable, Sequence
from functools import partial

import trio

from relay.core.admin.importing.receipts import ImportReceipts
from relay.core.admin.importing.shared import find_chat, import_command
from relay.core.clock.clock import RelayClock
from relay.core.model.entities import User
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.core.rules.draft import client_key
from relay.keys import NO_CHAT, NO_USER, ChatKey
from relay.outcomes import Imported, Outcome
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Nothing
from relay.store.command import Command
from relay.store.entry import ClientKey
from relay.store.log.log import Log
from relay.store.portion import rest_after

RETRYABLE_CODES = ("storage_full", "unavailable", "internal")
"""Errors that end an import but allow a repeat later: the imported data is not at fault."""
CHANGED_BYTES = 65_536
"""Bytes of text that one batch edits or deletes. A single message may be larger."""
LOOKED_UP_MESSAGES = 16
"""Changed messages looked up at a time, because their texts are held in memory."""


class MessageHistoryImport:
    """Imports messages and their changes."""

    def __init__(self, state: State, log: Log, clock: RelayClock, check_elsewhere: Callable[[], None]) -> None:
        """Wait for messages.

        Args:
            state: the state.
            log: the log.
            clock: the relay's clock.
            check_elsewhere: raises `RelayError` if a message may name no file that is stored elsewhere.
        """
        self._check_elsewhere = check_elsewhere
        self._state = state
        self._log = log
        self._clock = clock
        self._receipts = ImportReceipts(state, self._append_resting)

    async def import_messages(self, request: control.MessagesImport) -> list[control.MessageImportResult]:
        """Append messages together, and answer each with its id and whether it is new, or with an error.

        Raises:
            RelayError: the disk is full, or the relay stops. A repeat skips the messages in the log by then.
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
        """Append commands together, wait for all answers, and pause if others are sending.

        No user is charged for an import: the author of a message did not ask for it to be imported now.
        """
        began, commands_before = trio.current_time(), self._log.figures.commands
        answers = await self._append(batch)
        if self._log.figures.commands - commands_before > len(batch):
            await trio.sleep(rest_after(trio.current_time() - began))
        return answers

    async def _slices(self, batch: Sequence[Command[Outcome]]) -> list[list[Command[Outcome]]]:
        """Divide commands into slices that change at most `CHANGED_BYTES` of text, or a single message.

        A change removes its message's text from the full-text index and adds it again, so its cost grows with the size.
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
        """Look up the sizes of the texts that commands change.

        Returns:
            Bytes of text by the client key of the original; unknown originals are left out.
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
        chat = find_chat(self._state, message.chat, message.participants)
        if chat is None:
            raise RelayError("not_found", "its chat is not here")
        request: commands.ImportMessage | commands.ImportChange
        match message.kind:
            case "new":
                if any(one.is_elsewhere for one in message.attachments or ()):
                    self._check_elsewhere()
                request = commands.ImportMessage(
                    chat=chat.key,
                    client_id=message.client_message_id,
                    said_at=message.at,
                    text=message.text,
                    attachments=message.attachments,
                    reply_to=self._answered(message.reply_to),
                )
            case "clear":
                clearing = commands.ImportClearing(chat.key, self._original(message.original))
                return import_command(self._clock, self._state.at, sender.key, clearing)
            case _:
                original = self._original(message.original)
                if original is None:
                    raise RelayError("not_found", "the message that it changes is not here")
                request = commands.ImportChange(
                    chat=chat.key,
                    client_id=message.client_message_id,
                    said_at=message.at,
                    original=original,
                    deleted=message.kind == "delete",
                )
        return import_command(self._clock, message.at, sender.key, request)

    def _user(self, user_id: str) -> User:
        user = self._state.user(user_id)
        if user is None:
            raise RelayError.no_user(user_id)
        return user

    def _answered(self, reference: control.MessageReference | None) -> commands.MessageByClientId | None:
        """Name the message that a reply quotes; without an author if that is unknown: the quote counts as lost."""
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
        """Look up which messages are here already, and whether the quoted messages of the others are."""
        keys: list[int | None] = []
        answered: list[int | None] = []
        for message in messages:
            user = self._state.user(message.sender)
            chat = find_chat(self._state, message.chat, message.participants)
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
            # A message that retention removed can no longer be quoted.
            lost = message.reply_to is not None and (quoted is None or not quoted.client_id)
            results.append(
                control.MessageImportResult(
                    message_id=known.message_id if known is not None else 0,
                    added=known is None,
                    reply_lost=known is None and lost,
                )
            )
        return results

    async def end(self) -> None:
        """Mark the imported messages as read for every member without other unread messages."""
        chats = await self._receipts.end()
        if chats:
            # Otherwise the log's last time would be the date of an old message, and the clock would seem far ahead of
            # it.
            await self._append([import_command(self._clock, self._clock(), ADMIN, commands.ReserveSeq(chats[0]))])


def _original_key(change: commands.ImportChange) -> int:
    """Return the client key of the message that a change is about."""
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
