"""The admin request of `relay export`: users, chats, messages and files, in the form that `relay import` reads.

Reads only, one page at a time. Passwords, devices, invites, hooks and receipts are not exported: another system cannot
use them.
"""

from collections.abc import Iterable
from functools import partial
from typing import Literal

import trio

from relay import __version__
from relay.core.admin.events import SendItem
from relay.core.clock.clock import Clock
from relay.core.model.entities import Chat, User
from relay.core.model.state import State
from relay.core.rules import attachments, visibility
from relay.keys import ChatKey, MessageId, UserKey
from relay.protocol import control
from relay.protocol.objects import Attachment
from relay.store import kinds
from relay.store.log.log import Log
from relay.store.queries import export_rows, stored_files
from relay.store.queries.log_entries import PastDamage
from relay.store.sqlite.database import Connection

PAGE_MESSAGES = 500
"""Messages per page. Between two pages the export pauses while people send."""
FORMAT_VERSION = 2
"""The version of the format. Version 1 had no edits, deletions, clearings or pictures, and named the message that a
reply quotes by its client id alone."""
_KINDS: dict[int, Literal["message", "edit", "delete"]] = {
    kinds.NEW: "message",
    kinds.EDIT: "edit",
    kinds.DELETE: "delete",
}


class Exporter:
    """Exports a relay."""

    def __init__(self, state: State, log: Log, reading: Connection, clock: Clock) -> None:
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock

    async def export(self, request: control.Export, item: SendItem[control.Record]) -> control.Exported:
        """Send all users, chats and messages as records, the messages in the order in which they were sent.

        Visibility does not apply: the caller can read the store anyway. Cleared messages are included.
        """
        state = self._state
        upto = state.seq
        await item(control.Record(type="relay", format=FORMAT_VERSION, version=__version__, at=self._clock()))
        users = chats = 0
        for chat in list(state.chats.values()):
            users = await self._send_users(users, item)
            if not chat.gone:
                # Nothing is awaited in between, so the members of this chat are among the users that were sent.
                await item(self._chat_record(chat))
                chats += 1
        users = await self._send_users(users, item)
        if request.files:
            await _send_files(state, self._reading, attachments.photos(state), item)
        sender = _Messages(state, self._log, self._reading, item, files=request.files)
        messages = await sender.send(upto)
        users = await self._send_users(users, item)
        return control.Exported(users=users, chats=chats, messages=messages, unreadable=sender.entries.lost)

    async def _send_users(self, given: int, item: SendItem[control.Record]) -> int:
        """Send the users after the first `given` (keys count up), and return how many there are now."""
        users = self._state.users
        while given < len(users):
            given += 1
            await item(self._user_record(users[UserKey(given)]))
        return given

    def _user_record(self, user: User) -> control.Record:
        return control.Record(
            type="user",
            id=user.id,
            name=user.name,
            at=user.created_at,
            bot=user.bot,
            admin=user.admin,
            disabled=user.disabled or user.removed,
            removed=user.removed,
            origins=user.origins,
            picture=attachments.file_id(user.picture),
        )

    def _chat_record(self, chat: Chat) -> control.Record:
        # In order of joining: the longest member may become the next owner.
        members = sorted(self._state.members[chat.key].items(), key=lambda one: (one[1].joined_seq, one[0]))
        return control.Record(
            type="chat",
            kind=chat.type,
            id=chat.id,
            name=chat.name or None,
            at=chat.created_at,
            owner=self._state.users[chat.owner].id,
            admins=_ids(self._state, (key for key, member in members if member.admin)) or None,
            participants=_ids(self._state, (key for key, _ in members)),
            origins=chat.origins,
            picture=attachments.file_id(chat.photo_url),
        )


def _ids(state: State, keys: Iterable[UserKey]) -> list[str]:
    return [state.users[key].id for key in keys]


def _stored_here(held: Iterable[Attachment]) -> Iterable[str]:
    """Select the ids of files that are stored on this relay."""
    return (one.id for one in held if one.is_here)


async def _send_files(state: State, reading: Connection, ids: Iterable[str], item: SendItem[control.Record]) -> None:
    """Send a record for each file: its content's digest, its size and its owner."""
    wanted = list(dict.fromkeys(ids))
    known = {file.id: file for file in await stored_files.files(reading, wanted)}
    for file in (known[one] for one in wanted if one in known):
        sender = state.users[file.user].id
        record = control.Record(
            type="file", id=file.id, name=file.name, digest=file.digest, size=file.size, sender=sender, at=0
        )
        await item(record)


class _Messages:
    """Sends messages and their changes as records, in the order of the log."""

    def __init__(
        self, state: State, log: Log, reading: Connection, item: SendItem[control.Record], *, files: bool
    ) -> None:
        self._state = state
        self._log = log
        self._reading = reading
        self._item = item
        self._with_files = files
        self.entries = PastDamage(partial(export_rows.export_page, reading), partial(export_rows.export_row, reading))
        self._open: set[tuple[ChatKey, MessageId]] = set()
        """Deletions that have not been sent yet, each as chat and message id."""
        self._cleared = {
            key: sorted(
                (member.cleared, user) for user, member in state.members[key].items() if member.cleared or member.hidden
            )
            for key, chat in state.chats.items()
            if chat.id is None and not chat.gone
        }
        self._cleared = {key: clearings for key, clearings in self._cleared.items() if clearings}
        self._last: dict[ChatKey, control.MessageReference] = {}
        """The last message of each chat that was cleared for a user."""

    async def send(self, upto: int) -> int:
        """Send all entries up to one, and the later deletions of messages among them.

        Returns:
            The number of messages.
        """
        count = after = 0
        began = trio.current_time()
        while rows := await self.entries.read(after, upto, PAGE_MESSAGES):
            for row in rows:
                after = row.seq
                if self._is_seen(row):
                    count += await self._row(row)
            await self._log.rest(trio.current_time() - began)
            began = trio.current_time()
        while self._open and after < self._state.seq:
            # The message was deleted during the export and sent without its text, so its deletion must follow.
            rows = await self.entries.read(after, self._state.seq, PAGE_MESSAGES)
            for row in rows:
                after = row.seq
                if row.kind == kinds.DELETE and (row.chat, row.target) in self._open:
                    await self._row(row)
            if not rows:
                break
        for chat in list(self._cleared):
            await self._clear(chat, None)
        return count

    def _is_seen(self, row: export_rows.ExportRow) -> bool:
        """Return whether anybody may still see a message, or the message that an edit or a deletion changes."""
        chat = self._state.chats.get(row.chat)
        if chat is None or row.actor not in self._state.users:
            # The entry that made the chat or the user is among the unreadable ones.
            self.entries.note(row.seq, row.seq)
            return False
        subject = row.message_id if row.kind == kinds.NEW else row.target
        return not chat.gone and subject > visibility.unseen_upto(self._state, chat)

    async def _row(self, row: export_rows.ExportRow) -> int:
        if row.chat in self._cleared:
            await self._clear(row.chat, row.message_id)
        if row.kind != kinds.NEW and row.target_client_id is None:
            # Retention removed the message that this entry changes.
            return 0
        place = (row.chat, row.target if row.kind == kinds.DELETE else row.message_id)
        if row.kind == kinds.DELETE:
            self._open.discard(place)
        elif row.deleted:
            self._open.add(place)
        if self._with_files and row.attachments:
            await _send_files(self._state, self._reading, _stored_here(row.attachments), self._item)
        await self._item(self._record(row))
        if row.chat in self._cleared:
            sender = self._state.users[row.actor].id
            self._last[row.chat] = control.MessageReference(sender=sender, client_message_id=row.client_id)
        return row.kind == kinds.NEW and not row.deleted

    async def _clear(self, chat: ChatKey, before: int | None) -> None:
        """Send the clearings of a dialog that come before a message id, or all that are left."""
        due = [one for one in self._cleared[chat] if before is None or one[0] < before]
        left = [one for one in self._cleared[chat] if one not in due]
        last = self._last.get(chat)
        for _, user in due:
            if last is None and (before is not None or not self._state.members[chat][user].hidden):
                # The cleared messages are gone, and a later one has brought the dialog back into the list.
                continue
            place, pair = self._place(chat)
            record = control.Record(
                type="clear",
                sender=self._state.users[user].id,
                at=0,
                # Without an original: nothing that they had cleared is there any more, only the empty dialog.
                original=last.client_message_id if last is not None else None,
                original_sender=last.sender if last is not None else None,
                chat=place,
                participants=pair,
            )
            await self._item(record)
        if left:
            self._cleared[chat] = left
        else:
            del self._cleared[chat]

    def _place(self, key: ChatKey) -> tuple[str | None, list[str] | None]:
        """Name a chat by its id, or a dialog, which has none, by its two users."""
        chat = self._state.chats[key]
        return chat.id, sorted(_ids(self._state, self._state.members[key])) if chat.id is None else None

    def _record(self, row: export_rows.ExportRow) -> control.Record:
        users = self._state.users
        target = (row.target_client_id, users[row.target_author].id if row.target_author else None)
        new = row.kind == kinds.NEW
        changes = (None, None) if new else target
        # The export has no messages that nobody may see any more, so none of them can be named as quoted.
        quoted = new and row.target > visibility.unseen_upto(self._state, self._state.chats[row.chat])
        answers = target if quoted else (None, None)
        place, pair = self._place(row.chat)
        return control.Record(
            type=_KINDS[row.kind],
            sender=users[row.actor].id,
            client_message_id=row.client_id,
            text=row.message,
            attachments=row.attachments,
            at=row.at,
            edited_at=row.changed_at or None if new and not row.deleted else None,
            deleted=row.deleted,
            reply_to=answers[0],
            reply_sender=answers[1],
            original=changes[0],
            original_sender=changes[1],
            chat=place,
            participants=pair,
        )
