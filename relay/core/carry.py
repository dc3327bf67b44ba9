"""Carrying history out of a relay and into one: export, and what import asks for.

What comes in goes through the log like everything else, as its people would have said it, at the time they
did. The log's time never goes backwards: in a relay that is in use already, old messages say their date.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import trio

from relay import __version__
from relay.core import commands
from relay.core.asking import decided
from relay.core.clock import Clock
from relay.core.commands import ADMIN, Command
from relay.core.files import Files
from relay.core.service import new_chat_id
from relay.core.state import Chat, State, User
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store import queries
from relay.store.database import Connection
from relay.store.log import Log

PAGE = 500
"""Messages read at a time, after which an export rests while people send."""
LATE = 60_000
"""Milliseconds by which a message may come later than it was sent without saying so."""
FORMAT = 1


class Carry:
    """Export and import."""

    def __init__(self, state: State, log: Log, reading: Connection, clock: Clock, files: Files) -> None:
        self._uploads = files
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock

    async def export(self, request: control.Export, item: Any) -> object:
        """Give all users, chats and messages, a record each; the messages in the order they were sent."""
        state = self._state
        upto = state.seq
        await item(control.Record(type="relay", format=FORMAT, version=__version__, at=self._clock()))
        users = chats = messages = 0
        for user in list(state.users.values()):
            await item(
                control.Record(
                    type="user",
                    id=user.id,
                    name=user.name,
                    at=user.created_at,
                    bot=user.bot,
                    admin=user.admin,
                    disabled=user.disabled or user.removed,
                )
            )
            users += 1
        for chat in list(state.chats.values()):
            if not chat.gone:
                await item(self._chat_record(chat))
                chats += 1
        after, began = 0, trio.current_time()
        while rows := await queries.export_page(self._reading, after, upto, PAGE):
            for row in rows:
                after = row.seq
                if not state.chats[row.chat].gone:
                    await item(self._message_record(row))
                    messages += 1
                    if request.files and row.attachments:
                        await self._files(row, item)
            await self._log.rest(trio.current_time() - began)
            began = trio.current_time()
        return control.Exported(users=users, chats=chats, messages=messages)

    async def _files(self, row: queries.ExportRow, item: Any) -> None:
        """Say where the contents of a message's files are."""
        ids = [one.id for one in row.attachments or ()]
        for file in await queries.files(self._reading, ids):
            await item(control.Record(type="file", id=file.id, name=file.name, digest=file.digest, at=row.at))

    def _ids(self, keys: Iterable[int]) -> list[str]:
        return [self._state.users[key].id for key in keys]

    def _chat_record(self, chat: Chat) -> control.Record:
        members = self._state.members[chat.key]
        return control.Record(
            type="chat",
            kind=chat.type,
            id=chat.id,
            name=chat.name or None,
            at=chat.created_at,
            owner=self._state.users[chat.owner].id,
            admins=self._ids(key for key, member in members.items() if member.admin) or None,
            participants=self._ids(members),
        )

    def _message_record(self, row: queries.ExportRow) -> control.Record:
        chat = self._state.chats[row.chat]
        return control.Record(
            type="message",
            chat=chat.id,
            participants=None if chat.id is not None else sorted(self._ids(self._state.members[chat.key])),
            sender=self._state.users[row.actor].id,
            client_message_id=row.client_id,
            text=row.message,
            attachments=row.attachments,
            at=row.at,
            edited_at=row.changed_at or None,
            reply_to=row.reply_client_id,
        )

    # In.

    async def _decided(self, at: int, user: int, request: Any, made_up: str = "") -> Any:
        return await decided(self._log, Command(self._past(at), user, 0, request, made_up=made_up))

    def _past(self, at: int) -> int:
        """Take no time from elsewhere that is still to come: the log's would be ahead of everybody's until then."""
        return min(at, self._clock())

    async def bring_user(self, record: control.BringUser) -> object:
        """Make a user who is not there yet."""
        if self._state.user(record.id) is not None:
            return control.Brought(added=False)
        request = control.AddUser(id=record.id, name=record.name, bot=record.bot, admin=record.admin)
        await self._decided(record.at, ADMIN, request)
        return control.Brought(added=True)

    async def bring_chat(self, record: control.BringChat) -> object:
        """Make a group or channel that is not there yet."""
        state = self._state
        if record.id is not None and record.id in state.group_keys:
            return control.Brought(added=False, id=record.id)
        made_up = record.id or new_chat_id()
        request = control.MakeChat(
            type=record.kind,
            name=record.name,
            owner=record.owner,
            participants=record.participants,
            admins=[one for one in record.admins if one in (record.owner, *record.participants)],
        )
        await self._decided(record.at, ADMIN, request, made_up)
        return control.Brought(added=True, id=made_up)

    async def bring_file(self, request: control.BringFile) -> object:
        """Take in a file that a message is about to hold."""
        sender = self._state.user(request.sender)
        if sender is None:
            raise RelayError.no_user(request.sender)
        content = [request.data]

        async def piece() -> bytes:
            return content.pop() if content else b""

        return await self._uploads.receive(sender.key, 0, request.name, len(request.data), piece, request.at)

    async def bring_messages(self, request: control.BringMessages) -> object:
        """Append messages, all in one go; give each one's id, or why it stays behind."""
        answers: list[control.BroughtMessage | None] = [None] * len(request.messages)
        left = len(answers)
        done = trio.Event()
        for index, message in enumerate(request.messages):

            def take(answer: object, index: int = index) -> None:
                nonlocal left
                if isinstance(answer, RelayError):
                    answers[index] = control.BroughtMessage(error=answer.error.message)
                else:
                    assert isinstance(answer, requests.Accepted)
                    answers[index] = control.BroughtMessage(message_id=answer.message_id)
                left -= 1
                if not left:
                    done.set()

            try:
                command = await self._command(message)
            except RelayError as error:
                take(error)
            else:
                self._log.append(command, take)
        if left:
            await done.wait()
        return answers

    async def _command(self, message: control.BringMessage) -> Command:
        state = self._state
        sender = state.user(message.sender)
        if sender is None:
            raise RelayError.no_user(message.sender)
        key = state.group_keys.get(message.chat)
        if key is not None and sender.key not in state.members[key]:
            await self._decided(message.at, ADMIN, commands.AddParticipants(message.chat, [sender.id]))
        text = message.text
        if state.at > message.at + LATE:
            text = f"[{datetime.fromtimestamp(message.at / 1_000, UTC):%Y-%m-%d %H:%M}] {text or ''}".rstrip()
        request = requests.New(
            chat_id=message.chat,
            client_message_id=message.client_message_id,
            message=text,
            attachments=message.attachments,
            reply_to=message.reply_to,
        )
        return Command(self._past(message.at), sender.key, 0, request)

    async def bring_end(self, request: control.BringEnd) -> object:
        """Count all of these chats as read, and keep those out who may not sign in."""
        state = self._state
        at = state.at
        for place in request.chats:
            key = self._key(place.chat, place.participants)
            for user in list(state.members[key]) if key is not None else ():
                await self._decided(at, user, commands.MarkRead(key or 0, None))
        for user_id in request.disabled:
            found = state.user(user_id)
            if found is not None and not found.disabled and not self._can_sign_in(found):
                await self._decided(at, ADMIN, control.ChangeUser(id=user_id, disabled=True))
        return control.Empty()

    def _can_sign_in(self, user: User) -> bool:
        """Whether somebody was here before the import: who was stays as they are."""
        state = self._state
        owners = [*(one.user for one in state.devices.values()), *(one.user for one in state.invites.values())]
        return bool(user.password) or user.key in owners

    def _key(self, called: str, participants: list[str]) -> int | None:
        state = self._state
        if called:
            return state.group_keys.get(called)
        known = [user.key for user in map(state.user, participants) if user is not None]
        return state.dialog_keys.get((min(known), max(known))) if known else None
