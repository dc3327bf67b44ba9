"""Reads the export of a Slack workspace: lists of users and channels, and for each channel one file per day."""

import heapq
import re
from collections import Counter
from collections.abc import Iterator

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
)
from relay.cli.importers.formats.archive import SLACK_USERS, Archive
from relay.cli.importers.formats.dates import moment
from relay.cli.importers.formats.programs import NOT_UNDERSTOOD, all_words
from relay.cli.importers.names import guess_name, shown_name
from relay.core.hooks import slack_markup
from relay.protocol.base import JsonValue


class _Profile(msgspec.Struct):
    display_name: str | None = None
    real_name: str | None = None


class _SlackUser(msgspec.Struct):
    id: str
    name: str | None = None
    real_name: str | None = None
    profile: _Profile | None = None
    is_bot: bool | None = None
    is_admin: bool | None = None
    deleted: bool | None = None

    @property
    def shown(self) -> str:
        """The name that others see."""
        profile = self.profile or _Profile()
        return profile.display_name or profile.real_name or self.real_name or self.name or self.id


class _SlackChannel(msgspec.Struct):
    """A public or private channel, a group conversation or a dialog."""

    id: str
    name: str | None = None
    creator: str | None = None
    created: int | float | str | None = None
    members: list[str | None] | None = None


class _BotProfile(msgspec.Struct):
    name: str | None = None


class _SlackFile(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _SlackComment(msgspec.Struct):
    """A comment on a file, in older messages."""

    user: str | None = None


class _Reaction(msgspec.Struct):
    users: list[str | None] | None = None


class _Author(msgspec.Struct):
    """The author as a message describes them: people of other workspaces are in no list."""

    display_name: str | None = None
    real_name: str | None = None
    name: str | None = None


class _Message(msgspec.Struct):
    ts: str | float | None = None
    """When it was sent, in seconds; also its id within the channel."""
    type: str | None = None
    subtype: str | None = None
    user: str | None = None
    user_profile: _Author | None = None
    bot_id: str | None = None
    username: str | None = None
    bot_profile: _BotProfile | None = None
    text: str | None = None
    blocks: JsonValue = None
    attachments: JsonValue = None
    files: list[_SlackFile | None] | None = None
    comment: _SlackComment | None = None
    reactions: list[_Reaction | None] | None = None
    thread_ts: str | float | None = None

    @property
    def at(self) -> int | None:
        """Unix milliseconds; None if it has no date."""
        return moment(self.ts)


SYSTEM = "slack"
"""The prefix of the origins of its users and channels."""
UNDATED = "invalid dates: these messages get the date of the previous one"


class Slack:
    """A workspace's export: a zip file, or the folder that it unpacks to."""

    SKIPPED = ("channel_", "group_", "bot_add", "bot_remove", "pinned_item", "reminder_add", "tombstone")
    """The prefix of the subtypes of messages without an author."""

    def __init__(self, files: Archive) -> None:
        """Read the lists of users and channels, and scan the messages.

        Raises:
            NotUnderstood: it is damaged.
        """
        self._files = files
        self.left: Counter[str] = Counter()
        self._people: dict[str, SourceUser] = {}
        for user in (user for name in SLACK_USERS for user in files.records(name, _SlackUser)):
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
            for channel in files.records(name, _SlackChannel)
        ]
        # Some lists name a channel twice.
        self._channels = list({one.id: one for one in self._channels}.values())
        self._dialogs = list({one.id: one for one in files.records("dms.json", _SlackChannel)}.values())
        self._channel_names = {one.id: one.name for one in self._channels if one.name}
        self._renamed: dict[str, str] = {}
        """The names of folders in the archive, by the names that they should have, if the encoding was guessed."""
        self._days = self._find_days()
        self._shared: dict[str, list[str]] = {}
        """Folders that several channels claim, with the ids of these: the owner of their messages is unknown."""
        self._folders = self._assign_folders()
        """The folder of each channel or dialog that has one, by id."""
        self._authors: dict[str, dict[str, None]] = {}
        """The ids of the people who wrote in each channel or dialog without a list of members, by its id."""
        self._damaged: dict[str, str] = {}
        """The damage found in a file, by folder: its chat is then not imported at all."""
        self._threads: dict[tuple[str, str], str] = {}
        """The author of each message that begins a thread, by channel and `ts`."""
        everything = (*self._channels, *self._dialogs)
        self.start = min((at for one in everything if (at := self._look(one)) is not None), default=0)
        self._count_left()

    def _find_days(self) -> dict[str, list[str]]:
        """Find the daily files of each folder."""
        found: dict[str, list[str]] = {}
        for name in self._files.names:
            folder, _, day = name.rpartition("/")
            if re.fullmatch(r"\d{4}-\d\d-\d\d\.json", day):
                found.setdefault(folder, []).append(day)
        # A program that packed the folders again may have named them in another encoding than the list of channels.
        wanted = {name for one in (*self._channels, *self._dialogs) for name in _names(one)} - found.keys()
        for folder in list(found):
            guessed = guess_name(folder, wanted)
            if guessed is not None and guessed not in found and folder not in wanted:
                self._renamed[guessed] = folder
                found[guessed] = found.pop(folder)
        return found

    def _assign_folders(self) -> dict[str, str]:
        """Find the folder of each channel and dialog: its id, or else its name.

        A folder that several claim belongs to none: a private and a public channel may have the same name, and private
        messages must not get into public ones.
        """
        everything = [*self._channels, *self._dialogs]
        claims: dict[str, list[str]] = {}
        for one in everything:
            if one.id in self._days:
                claims.setdefault(one.id, []).append(one.id)
        by_id = set(claims)
        for one in everything:
            name = shown_name(one.name or "")
            if one.id not in by_id and name in self._days and name not in by_id:
                claims.setdefault(name, []).append(one.id)
        self._shared = {folder: ids for folder, ids in claims.items() if len(ids) > 1}
        return {ids[0]: folder for folder, ids in claims.items() if len(ids) == 1}

    def _day(self, folder: str, day: str) -> list[_Message]:
        messages = self._files.records(f"{self._renamed.get(folder, folder)}/{day}", _Message)
        dates = [0]
        for message in messages:
            dates.append(message.at or dates[-1])
        return [message for _, message in sorted(zip(dates[1:], messages, strict=True), key=lambda one: one[0])]

    def _look(self, channel: _SlackChannel) -> int | None:
        """Read a whole chat: note its authors and threads; return the date of its oldest message."""
        folder = self._folders.get(channel.id)
        if folder is None:
            return None
        dates: list[int] = []
        threads: set[str] = set()
        try:
            for message in self._all(folder):
                if message.at is not None:
                    dates = [min([message.at, *dates])]
                author = self._author(message)
                if author is not None and not author.bot and not channel.members and not self._is_note(message):
                    self._authors.setdefault(channel.id, {})[author.id] = None
                if message.thread_ts is not None and message.thread_ts != message.ts:
                    threads.add(str(message.thread_ts))
            for message in self._all(folder) if threads else ():
                author = self._author(message)
                if author is not None and str(message.ts) in threads:
                    self._threads[channel.id, str(message.ts)] = author.id
        except NotUnderstood as error:
            self._damaged[folder] = str(error)
            return None
        return dates[0] if dates else None

    def _all(self, folder: str) -> Iterator[_Message]:
        for day in self._days[folder]:
            yield from self._day(folder, day)

    def _author(self, message: _Message) -> SourceUser | None:
        """Find the author of a message; programs, people of other workspaces and deleted users are in no list.

        The result depends on this message alone, so that an export of other days gives the same.
        """
        user = message.user or (message.comment or _SlackComment()).user
        # A program without an id is identified by its name.
        author = user or message.bot_id or (f"name:{message.username}" if message.username else "")
        known = self._people.get(author)
        if known is not None or not author or self._is_note(message):
            return known
        if message.bot_id or not user:
            name = message.username or (message.bot_profile or _BotProfile()).name or author
            person = _person(author, name, name, bot=True)
        else:
            profile = message.user_profile or _Author()
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

    def _is_note(self, message: _Message) -> bool:
        return message.type not in (None, "message") or (message.subtype or "").startswith(self.SKIPPED)

    def _count_left(self) -> None:
        claimed = set(self._folders.values())
        for folder, days in self._days.items():
            if folder in self._shared:
                channels = ", ".join(dict.fromkeys(self._shared[folder]))
                self.left[f"days of a folder that several channels could claim: {folder} ({channels})"] += len(days)
            elif folder not in claimed:
                self.left[f"days of a folder that belongs to no channel: {folder}"] += len(days)
        for folder, error in self._damaged.items():
            self.left[f"chats ({folder}: {error})"] += 1
        for name in self._files.recoded:
            self.left[f"files that are not in UTF-8, so that some letters may be wrong: {name}"] += 1

    def _members(self, channel: _SlackChannel) -> list[str]:
        """Return the members of a channel; its creator and authors if none are listed, as in an archived one."""
        if not channel.members:
            creator = self._people.get(channel.creator or "")
            founder = [creator.id] if creator is not None else []
            return list(dict.fromkeys((*founder, *self._authors.get(channel.id, ()))))
        known = (self._people[one].id for one in channel.members or () if one in self._people)
        return list(dict.fromkeys(known))

    def users(self) -> Iterator[SourceUser]:
        """See `Source`."""
        yield from self._people.values()

    def chats(self) -> Iterator[SourceChat]:
        """See `Source`."""
        for channel in self._channels:
            if self._folders.get(channel.id) in self._damaged:
                continue
            members = self._members(channel)
            if not members:
                self.left["channels without people"] += 1
                continue
            self.left[UNKNOWN_MEMBERS] += len({one for one in channel.members or () if one} - self._people.keys())
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
            people = self._members(dialog)
            # If no members are listed, one author may have written to a user who never answered.
            expected = len(set(dialog.members)) if dialog.members else 2
            if len(people) not in (1, 2) or len(people) < expected:
                self.left["dialogs with people who are not in the export"] += 1
                continue
            yield SourceChat(
                dialog.id, "", "", dialog_kind(people), people[0], None, [], people, moment(dialog.created)
            )

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        streams = [self._channel(f"slack-{channel.id}", channel) for channel in self._channels]
        streams += [self._channel(dialog.id, dialog) for dialog in self._dialogs]
        yield from heapq.merge(*streams, key=lambda message: message.at)

    def _channel(self, chat: str, channel: _SlackChannel) -> Iterator[SourceMessage]:
        folder = self._folders.get(channel.id)
        if folder is None or folder in self._damaged:
            return
        before = self.start
        for message in self._all(folder):
            found = self._message(chat, channel.id, message, before)
            if found is not None:
                before = found.at
                yield found

    def _message(self, chat: str, channel: str, message: _Message, before: int) -> SourceMessage | None:
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
            text += f"\n(file: {(file.name or file.id) if file is not None else '?'})"
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
            f"slack-{channel}-{message.ts}"
            if at is not None
            else f"slack-{channel}-{before}-{(message.text or text)[:64]}"
        )
        thread = str(message.thread_ts)
        root = self._threads.get((channel, thread)) if message.thread_ts != message.ts else None
        if root is None and message.thread_ts is not None and message.thread_ts != message.ts:
            self.left["replies to messages that are not in the export: imported as plain messages"] += 1
        return SourceMessage(
            at if at is not None else before,
            fit_key(key),
            sender.id,
            chat,
            text.strip(),
            (root, fit_key(f"slack-{channel}-{thread}")) if root is not None else None,
        )


def _person(slack_id: str, handle: str, name: str, **standing: bool) -> SourceUser:
    """Make a user with Slack's id as their key: handles change, and several people may have the same."""
    origins = (fit_origin(SYSTEM, slack_id),)
    return SourceUser(slack_id, name, handle, origins, fixed=True, **standing)  # type: ignore[arg-type]


def _names(channel: _SlackChannel) -> list[str]:
    """Return the names that a channel's folder may have: its name or, for conversations of a few, its id."""
    return [name for name in (shown_name(channel.name or ""), channel.id) if name]
