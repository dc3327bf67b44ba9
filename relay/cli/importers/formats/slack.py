"""Reads the export of a Slack workspace: lists of users and channels, and for each channel one file per day."""

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from relay.cli.importers.base import (
    UNKNOWN_MEMBERS,
    NotUnderstood,
    SourceChat,
    SourceMessage,
    SourceUser,
    dialog_kind,
    fit_key,
    fit_origin,
    in_place_of,
)
from relay.cli.importers.formats.archive import SLACK_USERS, Archive
from relay.cli.importers.formats.dates import moment
from relay.cli.importers.formats.programs import NOT_UNDERSTOOD, all_words
from relay.cli.importers.formats.slack_days import SlackDays
from relay.cli.importers.formats.slack_records import (
    Author,
    BotProfile,
    SlackChannel,
    SlackComment,
    SlackMessage,
    SlackUser,
)
from relay.cli.importers.names import shown_name, what_is_wrong
from relay.core.hooks import slack_markup

T = TypeVar("T")

FROM_NOTES = "channels without a list of members: only people whose joining is recorded, and no leaving after it"
FROM_AUTHORS = "dialogs without a list of people: the two who wrote in it"

SYSTEM = "slack"
"""The prefix of the origins of its users and channels."""
UNDATED = "invalid dates: these messages get the date of the previous one"


class Slack:
    """A workspace's export: a zip file, or the folder that it unpacks to."""

    JOINS = ("channel_join", "group_join")
    LEAVES = ("channel_leave", "group_leave")
    SKIPPED = ("channel_", "group_", "bot_add", "bot_remove", "pinned_item", "reminder_add", "tombstone")
    """The prefix of the subtypes of messages without an author."""

    def __init__(self, files: Archive) -> None:
        """Read the lists of users and channels, and scan the messages.

        Raises:
            NotUnderstood: it is damaged.
        """
        self._files = files
        self.left: Counter[str] = Counter()
        self.inferred: Counter[str] = Counter()
        self._people: dict[str, SourceUser] = {}
        for user in (user for name in SLACK_USERS for user in self._list(name, SlackUser, "users")):
            if user.id in self._people:
                continue
            self._people[user.id] = _person(
                user.id,
                user.name or user.id,
                user.shown,
                bot=bool(user.is_bot) or user.id == "USLACKBOT",
                admin=bool(user.is_admin),
                disabled=bool(user.deleted),
            )
        self._channels = [
            channel
            for name in ("channels.json", "groups.json", "mpims.json")
            for channel in self._list(name, SlackChannel, "chats")
        ]
        # Some lists name a channel twice.
        self._channels = list({one.id: one for one in self._channels}.values())
        self._dialogs = list({one.id: one for one in self._list("dms.json", SlackChannel, "chats")}.values())
        self._dialog_ids = {one.id for one in self._dialogs}
        self._channel_names = {one.id: one.name for one in self._channels if one.name}
        everything = (*self._channels, *self._dialogs)
        self._days = SlackDays(files, {name for one in everything for name in _names(one)}, self.left)
        self._shared: dict[str, list[str]] = {}
        """Folders that several channels claim, with the ids of these: the owner of their messages is unknown."""
        self._folders = self._assign_folders()
        """The folder of each channel or dialog that has one, by id."""
        self._recorded: dict[str, dict[str, None]] = {}
        """By id of a chat without a list of members: who joined a channel and has not left, or wrote in a dialog."""
        self._damaged: dict[str, str] = {}
        """The damage found in a file, by folder: its chat is then not imported at all."""
        self._threads: dict[tuple[str, str], str] = {}
        """The author of each message that begins a thread, by channel and `ts`."""
        self.start = min((at for one in everything if (at := self._look(one)) is not None), default=0)
        self._count_left()

    def _list(self, name: str, kind: type[T], counted: str) -> list[T]:
        """Read one of the lists at the top; an item that is malformed stays behind alone."""

        def flawed(error: msgspec.DecodeError | UnicodeDecodeError) -> None:
            self.left[f"{counted} ({what_is_wrong(error, name)})"] += 1

        found = self._files.records(name, kind, flawed)
        if found is None:
            raise NotUnderstood(f"{name} is not a list")
        return found

    def _assign_folders(self) -> dict[str, str]:
        """Find the folder of each channel and dialog: its id, or else its name.

        A folder that several claim belongs to none: a private and a public channel may have the same name, and private
        messages must not get into public ones.
        """
        everything = [*self._channels, *self._dialogs]
        claims: dict[str, list[str]] = {}
        for one in everything:
            if one.id in self._days.files:
                claims.setdefault(one.id, []).append(one.id)
        by_id = set(claims)
        for one in everything:
            name = shown_name(one.name or "")
            if one.id not in by_id and name in self._days.files and name not in by_id:
                claims.setdefault(name, []).append(one.id)
        self._shared = {folder: ids for folder, ids in claims.items() if len(ids) > 1}
        return {ids[0]: folder for folder, ids in claims.items() if len(ids) == 1}

    def _look(self, channel: SlackChannel) -> int | None:
        """Read a whole chat: note its authors and threads; return the date of its oldest message."""
        folder = self._folders.get(channel.id)
        if folder is None:
            return None
        threads: set[str] = set()
        try:
            oldest = self._days.scan(folder)
            for message in self._days.messages(folder):
                author = self._author(message)
                if not channel.members:
                    self._record(channel.id, message, author)
                if message.thread:
                    threads.add(message.thread)
            for message in self._days.messages(folder) if threads else ():
                author = self._author(message)
                if author is not None and message.id in threads:
                    self._threads[channel.id, message.id] = author.id
        except NotUnderstood as error:
            self._damaged[folder] = str(error)
            return None
        return oldest

    def _record(self, channel: str, message: SlackMessage, author: SourceUser | None) -> None:
        """Note what a message says about the members of a chat that has no list of them.

        Writing makes nobody a member of a channel, but a dialog has its two people for good.
        """
        recorded = self._recorded.setdefault(channel, {})
        if message.subtype in self.LEAVES:
            recorded.pop(message.user or "", None)
        elif message.subtype in self.JOINS:
            recorded[message.user or ""] = None
        elif channel in self._dialog_ids and author is not None and not author.bot and not self._is_note(message):
            recorded[author.id] = None

    def _author(self, message: SlackMessage) -> SourceUser | None:
        """Find the author of a message; programs, people of other workspaces and deleted users are in no list.

        The result depends on this message alone, so that an export of other days gives the same.
        """
        user = message.user or (message.comment or SlackComment()).user
        # A program without an id is identified by its name.
        author = user or message.bot_id or (f"name:{message.username}" if message.username else "")
        known = self._people.get(author)
        if known is not None or not author or self._is_note(message):
            return known
        if message.bot_id or not user:
            name = message.username or (message.bot_profile or BotProfile()).name or author
            person = _person(author, name, name, bot=True)
        else:
            profile = message.user_profile or Author()
            name = profile.display_name or profile.real_name or profile.name or user
            bot = user == "USLACKBOT"
            person = _person(user, profile.name or user, name, bot=bot, disabled=not bot)
        self._people[author] = person
        return person

    def _name(self, slack_id: str) -> str | None:
        person = self._people.get(slack_id)
        return None if person is None else person.name

    def _mentioned(self, sign: str, slack_id: str) -> str | None:
        return self._channel_names.get(slack_id) if sign == "#" else self._name(slack_id)

    def _is_note(self, message: SlackMessage) -> bool:
        return message.type not in (None, "message") or (message.subtype or "").startswith(self.SKIPPED)

    def _count_left(self) -> None:
        claimed = set(self._folders.values())
        for folder, days in self._days.files.items():
            if folder in self._shared:
                channels = ", ".join(dict.fromkeys(self._shared[folder]))
                self.left[f"days of a folder that several channels could claim: {folder} ({channels})"] += len(days)
            elif folder not in claimed:
                self.left[f"days of a folder that belongs to no channel: {folder}"] += len(days)
        for folder, error in self._damaged.items():
            self.left[f"chats ({folder}: {error})"] += 1
        for name in self._files.recoded:
            self.left[f"files that are not in UTF-8, so that some letters may be wrong: {name}"] += 1

    def _members(self, channel: SlackChannel) -> list[str]:
        """Return the ids of a chat's members as the export states them; `chats` leaves out the unknown ones.

        An empty list of a channel, as of an archived one, says that it has no members; no list says nothing.
        """
        listed = channel.members
        if listed is None or (not listed and channel.id in self._dialog_ids):
            listed = list(self._recorded.get(channel.id, ()))
        return list(dict.fromkeys(one for one in listed if one))

    def users(self) -> Iterator[SourceUser]:
        """See `Source`."""
        yield from self._people.values()

    def chats(self) -> Iterator[SourceChat]:
        """See `Source`."""
        for channel in self._channels:
            if self._folders.get(channel.id) in self._damaged:
                continue
            stated = self._members(channel)
            members = [one for one in stated if one in self._people]
            self.left[UNKNOWN_MEMBERS] += len(stated) - len(members)
            self.inferred[FROM_NOTES] += channel.members is None
            # Its creator may have left it and is then no member.
            creator = self._people.get(channel.creator or "")
            founder = creator.id if creator is not None and creator.id in members else None
            chat, name = f"slack-{channel.id}", channel.name or channel.id
            origins = (fit_origin(SYSTEM, channel.id),)
            yield SourceChat(
                chat, chat, name, "group", None, founder, [], members, moment(channel.created), origins=origins
            )
        for dialog in self._dialogs:
            folder = self._folders.get(dialog.id)
            if folder is None or folder in self._damaged:
                continue
            people = [one for one in self._members(dialog) if one in self._people]
            # If no members are listed, one author may have written to a user who never answered.
            expected = len(set(dialog.members)) if dialog.members else 2
            if len(people) not in (1, 2) or len(people) < expected:
                self.left["dialogs with people who are not in the export"] += 1
                continue
            self.inferred[FROM_AUTHORS] += not dialog.members
            yield SourceChat(
                dialog.id, "", "", dialog_kind(people), people[0], None, [], people, moment(dialog.created)
            )

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        streams = [self._channel(f"slack-{channel.id}", channel) for channel in self._channels]
        streams += [self._channel(dialog.id, dialog) for dialog in self._dialogs]
        yield from heapq.merge(*streams, key=lambda message: message.at)

    def _channel(self, chat: str, channel: SlackChannel) -> Iterator[SourceMessage]:
        folder = self._folders.get(channel.id)
        if folder is None or folder in self._damaged:
            return
        before = self.start
        undated: Counter[str] = Counter()
        for message in self._days.messages(folder):
            found = self._message(chat, channel.id, message, before)
            if found is None:
                continue
            before = found.at
            if message.at is None:
                # The same words may have been said twice.
                undated[found.key] += 1
                if undated[found.key] > 1:
                    found = found._replace(key=fit_key(f"{found.key}-{undated[found.key]}"))
            yield found

    def _message(self, chat: str, channel: str, message: SlackMessage, before: int) -> SourceMessage | None:
        if self._is_note(message):
            self.left["notes that somebody joined, left or changed something"] += 1
            return None
        sender = self._author(message)
        if sender is None:
            self.left["messages without an author"] += 1
            return None
        text = slack_markup.plain(message.text or "", self._name, self._channel_names.get)
        whole = all_words(text, message.blocks, message.attachments, self._mentioned, program=sender.bot)
        self.left[NOT_UNDERSTOOD] += whole is None
        text = text if whole is None else whole
        for file in message.files or ():
            self.left["files"] += 1
            text += in_place_of((file.name or file.id or "") if file is not None else "")
        self.left["reactions"] += sum(
            user is not None for one in message.reactions or () if one is not None for user in one.users or ()
        )
        if not text.strip():
            self.left["messages without text"] += 1
            return None
        at = message.at
        if at is None:
            self.left[UNDATED] += 1
        key = (
            f"slack-{channel}-{message.id}"
            if at is not None
            else f"slack-{channel}-{before}-{(message.text or text)[:64]}"
        )
        root = self._threads.get((channel, message.thread)) if message.thread else None
        if root is None and message.thread:
            self.left["replies to messages that are not in the export: imported as plain messages"] += 1
        return SourceMessage(
            at if at is not None else before,
            fit_key(key),
            sender.id,
            chat,
            text.strip(),
            (root, fit_key(f"slack-{channel}-{message.thread}")) if root is not None else None,
        )


def _person(slack_id: str, handle: str, name: str, **standing: bool) -> SourceUser:
    """Make a user with Slack's id as their key: handles change, and several people may have the same."""
    origins = (fit_origin(SYSTEM, slack_id),)
    return SourceUser(slack_id, name, handle, origins, fixed=True, **standing)  # type: ignore[arg-type]


def _names(channel: SlackChannel) -> list[str]:
    """Return the names that a channel's folder may have: its name or, for conversations of a few, its id."""
    return [name for name in (shown_name(channel.name or ""), channel.id) if name]
