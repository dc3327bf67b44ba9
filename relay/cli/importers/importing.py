"""One import, from its source into a relay, or a dry run that counts what it would do.

It holds the people and chats of a source in memory, and only as many messages as one request takes. A dry run sends the
relay the same requests as a real import and tracks what would have been imported by then.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import closing
from functools import partial

import msgspec

from relay.cli.control_client import Ask
from relay.cli.importers.asking import Asking
from relay.cli.importers.base import (
    TEXT_CHARACTERS,
    NotUnderstood,
    Source,
    SourceChat,
    SourceMessage,
    SourceUser,
    in_place_of,
)
from relay.cli.importers.files import FileImporter
from relay.cli.importers.identities import (
    Identity,
    Mapped,
    Namesake,
    check,
    identify,
    refuse,
    wanted_group,
    wanted_user,
)
from relay.cli.importers.order import MessageIdentity, SeenMessages
from relay.cli.importers.payloads import chat_payload, flaw, is_group, message_payload, user_payload
from relay.cli.offline import command_tuning
from relay.cli.output import progress
from relay.core.model.counting import can_act
from relay.protocol import control
from relay.protocol.control.table import IMPORT_CHAT, IMPORT_END, IMPORT_PICTURE, IMPORT_USER
from relay.protocol.errors import RelayError
from relay.protocol.objects import MAX_ATTACHMENTS, Attachment

BATCH_CHARACTERS = 1_000_000
"""Maximum characters of text in one request; a longer message goes alone."""


class Importing:
    """Imports the people, chats and messages of a source, each once; counts what is new, here already, or left behind.

    Attributes:
        added: how many were imported, or would be, by kind.
        here: how many were here already, by kind.
        left: how many stay behind, by description.
        admins: new users whom the export calls admins.
        others: new users and groups that get another id than the wanted one, because somebody else has or wants that.
        inferred: how many chats have members that no list in the export states, by a description of their source.
        ownerless: groups that stay behind because nobody in them can sign in, by name.
        kept: groups that came only because the admin named an owner for them, by name.
    """

    def __init__(self, ask_one: Ask, source: Source, now: int, *, keeper: str | None = None, dry: bool = False) -> None:
        """Begin an import: call `identify`, and then `run`.

        Args:
            ask_one: asks the relay.
            source: the source.
            now: Unix milliseconds, for objects without a date.
            keeper: the id here of the user who is to own the groups in which nobody can sign in.
            dry: whether to change nothing, and only count.
        """
        self._ask = ask_one
        self._asking = Asking(ask_one, source.left)
        self._source = source
        # Read it only once: a source counts what it leaves behind while it is read.
        self._people = list(source.users())
        self._chats = list(source.chats())
        self._mapped = Mapped({}, {})
        self._said: set[str] = set()
        """Local ids of users and groups that the admin has matched."""
        self._expected: dict[str, control.Expected] = {}
        """The relay's answers to `identify`, by the local id of a user or group."""
        self._start = source.start or now
        self._keeper = keeper
        self._dry = dry
        self._batch_messages = command_tuning.get().batch_messages
        self.added: Counter[str] = Counter(users=0, chats=0, messages=0, files=0)
        self.here: Counter[str] = Counter(users=0, chats=0, messages=0)
        self.left = source.left
        self.inferred = source.inferred
        self.ownerless = self._asking.ownerless
        self.kept: list[str] = []
        self.admins: list[str] = []
        self.others: list[Identity] = []
        self._users: set[str] = set()
        """Ids of the people who are here by now, or would be."""
        self._files = FileImporter(ask_one, self._users, self.added, self.left, dry=dry)
        self._newcomers: dict[str, SourceUser] = {}
        """In a dry run: the people who would be new, by id."""
        self._planned: dict[str | frozenset[str], list[str]] = {}
        """In a dry run: the people of each chat that would be new, by its id or, for a dialog, by its people."""
        self._places: dict[str, tuple[str, list[str]]] = {}
        """The id of each chat here, or the people of a dialog, by the source's key."""
        self._new_chats: set[str] = set()
        """The source's keys of new chats: none of their messages is here."""
        self._batch: list[SourceMessage] = []
        self._batch_characters = 0
        self._seen = SeenMessages()
        """In a dry run: the messages that would be new."""

    async def identify(self, chosen: Mapping[str, str]) -> list[Namesake]:
        """Match the users and groups of the source with those here. Changes nothing.

        Args:
            chosen: the admin's choices; see `identities.identify`.

        Returns:
            The uncertain matches, which only the admin can decide.

        Raises:
            NotUnderstood: the admin's choices contradict known facts.
        """
        users = await identify([wanted_user(one, partial(self._ask_about_user, one)) for one in self._people], chosen)
        self._mapped = Mapped({one.key: one.id for one in users}, {})
        shared = [wanted_group(one, partial(self._ask_about_group, one)) for one in self._chats if one.id]
        groups = await identify(shared, chosen)
        identities = [*users, *groups]
        check(identities, chosen)
        self._mapped = Mapped({one.key: one.id for one in users}, {one.key: one.id for one in groups})
        self._said = {one.id for one in identities if one.said}
        self._expected = {one.id: one.expected for one in identities}
        self.others = [one for one in identities if one.new and not one.said and one.id != one.wish]
        noted = {one.key: one.origins for one in users}, {one.key: one.origins for one in groups}
        self._people = [self._mapped.user(one)._replace(origins=noted[0][one.id]) for one in self._people]
        self._chats = [self._mapped.chat(one)._replace(origins=noted[1].get(one.key, ())) for one in self._chats]
        certain = {one.key for one in groups if not one.new and one.doubt is None}
        known = certain & {one.key for one in groups if one.known}
        if any(chat.at is not None and chat.key in known for chat in self._chats):
            # The same group, made at the same time: this system was imported before.
            for one in users:
                if one.said and one.fixed and one.doubt is not None:
                    refuse(one)
            users = [one._replace(doubt=None) if one.known and one.fixed else one for one in users]
        doubtful = await self._without_members([one for one in users if not one.said], certain)
        return [*doubtful, *(one.doubt for one in groups if one.doubt is not None)]

    async def _without_members(self, users: Sequence[Identity], groups: Container[str]) -> list[Namesake]:
        """Leave out people who are in a group imported from this source, and were members of it there.

        This proves nothing if the source's system has an id of its own that is unknown here.
        """
        doubts = {one.id: one.doubt for one in users if one.doubt is not None}
        signed = {one.id for one in users if one.doubt is not None and (one.known or not one.origins)}
        for chat in self._chats:
            if chat.key not in groups:
                continue
            for user_id in signed & doubts.keys() & set(chat.participants):
                alone = chat_payload(chat._replace(participants=[user_id]), self._start, dry=True)
                answer = await self._asking.or_none(IMPORT_CHAT, alone)
                if answer is not None and not answer.added and not answer.gone and not answer.absent:
                    del doubts[user_id]
        return list(doubts.values())

    async def _ask_about_user(
        self, user: SourceUser, user_id: str, origins: tuple[str, ...], same: bool
    ) -> control.ImportResult | None:
        request = user_payload(user._replace(id=user_id, origins=origins), self._start, dry=True, same=same)
        return await self._asking.or_none(IMPORT_USER, request)

    async def _ask_about_group(
        self, chat: SourceChat, chat_id: str, origins: tuple[str, ...], same: bool
    ) -> control.ImportResult | None:
        chat = self._mapped.chat(chat)._replace(id=chat_id, origins=origins)
        return await self._asking.or_none(IMPORT_CHAT, chat_payload(chat, self._start, dry=True, same=same))

    async def run(self) -> None:
        """Import everything: people, then chats, then messages.

        Raises:
            NotUnderstood: the user who is to own groups is neither here nor in the export.
        """
        if self._keeper is not None and all(one.id != self._keeper for one in self._people):
            asked = user_payload(SourceUser(self._keeper, self._keeper), self._start, dry=True)
            answer = await self._asking.or_none(IMPORT_USER, asked)
            if answer is None or answer.added:
                raise NotUnderstood(f"--owner: there is no user {self._keeper!r} here or in the export")
        for person in self._people:
            await self._import_user(person)
        for chat in self._chats:
            if chat.key not in self._places:
                # Some exports list a channel twice.
                await self._import_chat(chat)
        with closing(self._seen), progress("messages") as advance:
            for message in map(self._mapped.message, self._source.messages()):
                if message.chat not in self._places:
                    self.left["messages of chats that stay behind"] += message.kind == "new"
                    continue
                self._batch.append(message)
                self._batch_characters += len(message.text)
                if len(self._batch) >= self._batch_messages or self._batch_characters >= BATCH_CHARACTERS:
                    advance(await self.flush())
            advance(await self.flush())
        if not self._dry:
            await self._ask(IMPORT_END, control.Empty())

    def _count(self, counted: str, *, added: bool) -> None:
        (self.added if added else self.here)[counted] += 1

    # Users and chats.

    async def _import_user(self, person: SourceUser) -> None:
        if person.id in self._users:
            # Some exports list a user twice.
            self._count("users", added=False)
            return
        expected = self._expected[person.id]
        request = user_payload(person, self._start, dry=self._dry, same=person.id in self._said, expected=expected)
        answer = await self._asking.or_count("users", IMPORT_USER, request)
        if answer is None:
            return
        self._users.add(person.id)
        self._count("users", added=answer.added)
        if self._dry and answer.added:
            self._newcomers[person.id] = person
        if person.admin and answer.added and can_act(person):
            self.admins.append(person.id)
        # A picture is the user's own file, so the user is made first; an import may have been interrupted in between.
        if person.picture is not None and answer.bare:
            picture = await self._files.bring(person.picture, person.id, self._start)
            if picture is not None:
                chosen = control.PictureImport(user=person.id, url=picture.url)
                await self._asking.or_count("pictures", IMPORT_PICTURE, chosen)

    async def _import_chat(self, chat: SourceChat) -> None:
        identity = chat.id or frozenset(chat.participants)
        if identity in self._planned:
            self._count("chats", added=False)
            self._count_absent(len(set(chat.participants) - set(self._planned[identity])))
            self._note_chat(chat, new=True)
            return
        expected = self._expected[chat.id] if chat.id else ""
        if expected in ("", "new") and not self._users.issuperset(chat.participants):
            # The id belongs to another user here, who would get these messages.
            self.left["chats with people who stay behind"] += 1
            return
        concerned = dict.fromkeys([*chat.participants, chat.id, self._keeper])
        newcomers = [self._newcomers[one] for one in concerned if one in self._newcomers]
        request = chat_payload(
            chat,
            self._start,
            newcomers,
            keeper=self._keeper,
            dry=self._dry,
            same=chat.id in self._said,
            expected=expected,
        )
        if chat.picture is not None:
            # The picture comes first, so that the entry that makes the chat has it, however the import ends.
            planned = await self._asking.for_chat(chat.name, msgspec.structs.replace(request, dry=True))
            if planned is None:
                return
            if planned.added:
                sender = next(filter(None, [chat.owner, *chat.participants, self._keeper]), "")
                picture = await self._files.bring(chat.picture, sender, self._start)
                request = msgspec.structs.replace(request, photo_url=picture.url if picture is not None else None)
        answer = await self._asking.for_chat(chat.name, request)
        if answer is None:
            return
        if answer.gone:
            self.left["chats that were deleted here"] += 1
            return
        self._count("chats", added=answer.added)
        if answer.kept:
            self.kept.append(chat.name)
        waiting = [one for one in newcomers if not one.removed] if not answer.added else []
        self._count_absent(answer.absent + len(waiting))
        self._note_chat(chat, new=answer.added)
        if self._dry and answer.added:
            self._planned[identity] = chat.participants

    def _count_absent(self, absent: int) -> None:
        if absent:
            self.left["people who were not added to chats that exist here already (`relay chat add`)"] += absent

    def _note_chat(self, chat: SourceChat, *, new: bool) -> None:
        """Note that a chat is here by now, or would be."""
        self._places[chat.key] = (chat.id, [] if is_group(chat) else chat.participants)
        if new:
            self._new_chats.add(chat.key)

    # Messages.

    async def flush(self) -> int:
        """Import the waiting messages, or count them; return how many they were."""
        batch, self._batch, self._batch_characters = self._batch, [], 0
        if not batch:
            return 0
        # One malformed message would make the relay refuse the whole batch.
        flaws = {id(one): reason for one in batch if (reason := self._flaw(one))}
        sound = [one for one in batch if id(one) not in flaws]
        answers = await (self._rehearse(sound) if self._dry else self._send(sound))
        for message, answer in zip(sound, answers, strict=True):
            self._count_message(message, answer)
        for message in (one for one in batch if id(one) in flaws):
            self._count_message(message, control.MessageImportResult(error=flaws[id(message)]))
        return len(batch)

    def _flaw(self, message: SourceMessage) -> str:
        """Say why a message can never be imported; nothing if it can."""
        reason = flaw(message_payload(message, self._places[message.chat]))
        if not reason and message.sender not in self._users:
            reason = RelayError.no_user(message.sender).error.message
        return reason

    def _count_message(self, message: SourceMessage, answer: control.MessageImportResult) -> None:
        counts = message.kind == "new" and not message.deleted
        if answer.error:
            what = "messages" if counts else "edits and deletions"
            self.left[f"{what} ({answer.error})"] += 1
            return
        if counts:
            self._count("messages", added=answer.added)
        if answer.reply_lost:
            self.left["links from replies to messages that are not here"] += 1

    async def _rehearse(self, batch: list[SourceMessage]) -> list[control.MessageImportResult]:
        """Return what the relay would answer to a batch."""
        known = await self._look_up(batch)
        answers = []
        for message in batch:
            answer = known[id(message)]
            # Two days of an export may hold the same message: the second one would be here already.
            if self._identity(message.chat, message.sender, message.key) in self._seen:
                answer = control.MessageImportResult()
            elif answer.added and message.kind == "new":
                if message.reply_to is not None and self._identity(message.chat, *message.reply_to) in self._seen:
                    answer = msgspec.structs.replace(answer, reply_lost=False)
                text, _files = await self._content(message, message.at)
                if reason := flaw(message_payload(message, self._places[message.chat], text)):
                    answer = control.MessageImportResult(error=reason)
            if answer.added:
                self._seen.add(self._identity(message.chat, message.sender, message.key))
            answers.append(answer)
        return answers

    def _identity(self, chat: str, author: str, key: str) -> MessageIdentity:
        chat_id, people = self._places[chat]
        return chat_id, sorted(people), author, key

    async def _look_up(self, batch: list[SourceMessage]) -> dict[int, control.MessageImportResult]:
        """Ask which of these messages, or the ones they reply to, are here already; by `id()`. A new chat has none."""
        found = {id(one): control.MessageImportResult(added=True, reply_lost=one.reply_to is not None) for one in batch}
        asked = [one for one in batch if one.chat not in self._new_chats]
        if asked:
            messages = [message_payload(one, self._places[one.chat]) for one in asked]
            answers = await self._asking.about_messages(messages, dry=True)
            found.update({id(one): answer for one, answer in zip(asked, answers, strict=True)})
        return found

    async def _send(self, batch: list[SourceMessage]) -> list[control.MessageImportResult]:
        """Import a batch, with its files."""
        if not batch:
            return []
        # Files come before their message, so files of messages that are here already would come twice.
        known = await self._look_up([one for one in batch if one.files])
        messages = []
        # Files come before all messages of their batch, and must not take the log's time past them.
        first = min(one.at for one in batch)
        for message in batch:
            text: str | None = None
            attachments: list[Attachment] = []
            if message.kind == "new" and (not message.files or known[id(message)].added):
                text, attachments = await self._content(message, first)
            messages.append(message_payload(message, self._places[message.chat], text, attachments))
        return await self._asking.about_messages(messages, dry=False)

    async def _content(self, message: SourceMessage, at: int) -> tuple[str | None, list[Attachment]]:
        """Return a message's text and files in the relay's form; count what does not fit.

        Args:
            message: the source's message.
            at: the time of its files in the log, Unix milliseconds.
        """
        text = message.text.replace("\0", "")
        attachments: list[Attachment] = []
        for number, file in enumerate(message.files):
            attachment = None
            if number >= MAX_ATTACHMENTS:
                self.left[f"files beyond the {MAX_ATTACHMENTS} that a message may have"] += 1
            else:
                attachment = await self._files.bring(file, message.sender, at)
            if attachment is not None:
                attachments.append(attachment)
            elif not self._dry:
                text += in_place_of(file.name, file.elsewhere)
        if len(text) > TEXT_CHARACTERS:
            self.left["messages that were cut because they are too long"] += 1
        return text[:TEXT_CHARACTERS] or (None if attachments or message.deleted else "(empty)"), attachments
