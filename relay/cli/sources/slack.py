"""Reads a Slack workspace's export: lists of users and channels, and of each channel a file of messages a day."""

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from relay.cli.sources.files import Files
from relay.cli.sources.said import Person, Room, Said, fit_id
from relay.core import slack_markup


class _Profile(msgspec.Struct):
    display_name: str | None = None
    real_name: str | None = None


class _User(msgspec.Struct):
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


class _Channel(msgspec.Struct):
    """A channel, a private one, a group's conversation or a dialog."""

    id: str
    name: str | None = None
    creator: str | None = None
    members: list[str] | None = None


class _BotProfile(msgspec.Struct):
    name: str | None = None


class _File(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Attachment(msgspec.Struct):
    text: str | None = None
    fallback: str | None = None


class _Reaction(msgspec.Struct):
    users: list[str] | None = None


class _Message(msgspec.Struct):
    ts: Annotated[str, msgspec.Meta(pattern=r"^\d{1,11}(\.\d+)?$")]
    """When it was sent, in seconds; its id within the channel as well."""
    type: str | None = None
    subtype: str | None = None
    user: str | None = None
    bot_id: str | None = None
    username: str | None = None
    bot_profile: _BotProfile | None = None
    text: str | None = None
    attachments: list[_Attachment] | None = None
    files: list[_File] | None = None
    reactions: list[_Reaction] | None = None
    thread_ts: str | None = None


class Slack:
    """A workspace's export: a zip file, or the folder that it unpacks to."""

    SKIPPED = ("channel_", "group_", "bot_add", "bot_remove", "pinned_item", "reminder_add", "tombstone")
    """Subtypes of messages that nobody wrote."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.left: Counter[str] = Counter()
        self._people: dict[str, Person] = {}
        self._taken: set[str] = set()
        for user in files.records("users.json", _User):
            self._people[user.id] = Person(
                fit_id(user.name or user.id, self._taken),
                user.shown,
                bot=bool(user.is_bot),
                admin=bool(user.is_admin),
                disabled=bool(user.deleted),
            )
        self._channels = [
            channel
            for name in ("channels.json", "groups.json", "mpims.json")
            for channel in files.records(name, _Channel)
        ]
        self._dialogs = files.records("dms.json", _Channel)
        self._days = self._find_days()
        self._bots()
        first = min((day for days in self._days.values() for day in days), default="1970-01-01.json")
        self.start = int(datetime.strptime(first[:10], "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1_000)

    def _find_days(self) -> dict[str, list[str]]:
        """The files of each folder."""
        found: dict[str, list[str]] = {}
        for name in self._files.names:
            folder, _, day = name.rpartition("/")
            if re.fullmatch(r"\d{4}-\d\d-\d\d\.json", day):
                found.setdefault(folder, []).append(day)
        return found

    def _day(self, folder: str, day: str) -> list[_Message]:
        return sorted(self._files.records(f"{folder}/{day}", _Message), key=lambda message: float(message.ts))

    def _bots(self) -> None:
        """Programs that wrote something need not be among the users."""
        for folder, days in self._days.items():
            for day in days:
                for message in self._day(folder, day):
                    bot = message.bot_id
                    if bot and bot not in self._people and message.user not in self._people:
                        name = message.username or (message.bot_profile or _BotProfile()).name or bot
                        self._people[bot] = Person(fit_id(name, self._taken), name, bot=True)

    def _among(self, channel: _Channel) -> list[str]:
        return [self._people[one].id for one in channel.members or () if one in self._people]

    def people(self) -> Iterator[Person]:
        """See `Source`."""
        yield from self._people.values()

    def rooms(self) -> Iterator[Room]:
        """See `Source`."""
        for channel in self._channels:
            members = self._among(channel)
            creator = self._people.get(channel.creator or "")
            owner = creator.id if creator else (members or [""])[0]
            if not owner:
                self.left["channels without people"] += 1
                continue
            name = channel.name or channel.id
            yield Room(f"slack-{channel.id}", name, "group", owner, [], members)

    def messages(self) -> Iterator[Said]:
        """See `Source`."""
        streams = [
            self._channel(f"slack-{channel.id}", (), channel, channel.name or channel.id) for channel in self._channels
        ]
        for dialog in self._dialogs:
            people = tuple(self._among(dialog))
            if len(people) in (1, 2):
                streams.append(self._channel("", people, dialog, dialog.id))
            else:
                self.left["dialogs with people who are not in the export"] += 1
        yield from heapq.merge(*streams, key=lambda said: said.at)

    def _channel(self, room: str, people: tuple[str, ...], channel: _Channel, folder: str) -> Iterator[Said]:
        for day in self._days.get(folder, ()):
            for message in self._day(folder, day):
                said = self._message(room, people, channel.id, message)
                if said is not None:
                    yield said

    def _message(self, room: str, people: tuple[str, ...], channel: str, message: _Message) -> Said | None:
        if message.type != "message" or (message.subtype or "").startswith(self.SKIPPED):
            self.left["notes that somebody joined, left or changed something"] += 1
            return None
        sender = self._people.get(message.user or "") or self._people.get(message.bot_id or "")
        if sender is None:
            self.left["messages of people who are not in the export"] += 1
            return None
        text = self._plain(message.text or "")
        text += "".join(f"\n{one.text or one.fallback or ''}" for one in message.attachments or ())
        for file in message.files or ():
            self.left["files"] += 1
            text += f"\n(file: {file.name or file.id})"
        self.left["reactions"] += sum(len(reaction.users or ()) for reaction in message.reactions or ())
        if not text.strip():
            self.left["messages without text"] += 1
            return None
        thread = message.thread_ts
        return Said(
            int(float(message.ts) * 1_000),
            f"slack-{channel}-{message.ts}",
            sender.id,
            room,
            people,
            text.strip(),
            f"slack-{channel}-{thread}" if thread and thread != message.ts else "",
        )

    def _plain(self, text: str) -> str:
        return slack_markup.plain(text, self._name)

    def _name(self, slack_id: str) -> str | None:
        person = self._people.get(slack_id)
        return None if person is None else person.name
