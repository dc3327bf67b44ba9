"""Reads a Mattermost server's bulk export: a JSON object a line, its `type` naming the field that has the rest."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from relay.cli.sources.files import Files
from relay.cli.sources.said import NotUnderstood, Person, Room, Said, fit_id


class _Membership(msgspec.Struct):
    """Of a user, in a channel."""

    name: str
    roles: str | None = None


class _Team(msgspec.Struct):
    name: str
    channels: list[_Membership] | None = None


class _User(msgspec.Struct):
    username: str
    first_name: str | None = None
    last_name: str | None = None
    nickname: str | None = None
    roles: str | None = None
    delete_at: int | None = None
    teams: list[_Team] | None = None

    @property
    def shown(self) -> str:
        """The name that others see."""
        return self.nickname or f"{self.first_name or ''} {self.last_name or ''}".strip() or self.username


class _Bot(msgspec.Struct):
    username: str
    display_name: str | None = None


class _Channel(msgspec.Struct):
    name: str
    team: str = ""
    display_name: str | None = None


class _Participant(msgspec.Struct):
    username: str = ""


class _Direct(msgspec.Struct):
    """The conversation of a few people."""

    channel_members: list[str] | None = None
    members: list[str] | None = None
    participants: list[str | _Participant] | None = None


class _File(msgspec.Struct):
    path: str = ""


class _Said(msgspec.Struct):
    """What somebody wrote: a post, or a reply to one."""

    user: str = ""
    create_at: int = 0
    message: str | None = None
    type: str | None = None
    reactions: list[msgspec.Raw] | None = None
    attachments: list[_File] | None = None


class _Post(_Said):
    team: str = ""
    channel: str = ""
    replies: list[_Said] | None = None


class _DirectPost(_Said):
    replies: list[_Said] | None = None
    channel_members: list[str] | None = None
    members: list[str] | None = None
    participants: list[str | _Participant] | None = None


class _Record(msgspec.Struct):
    """One line."""

    type: str = ""
    user: _User | None = None
    bot: _Bot | None = None
    channel: _Channel | None = None
    direct_channel: _Direct | None = None
    post: _Post | None = None
    direct_post: _DirectPost | None = None


class Mattermost:
    """A server's bulk export: a JSONL file, or the zip file that it is in."""

    def __init__(self, lines: Callable[[], Iterator[bytes]], files: Files) -> None:
        self._lines = lines
        self._files = files
        self.left: Counter[str] = Counter()
        self._people: dict[str, Person] = {}
        self._members: dict[tuple[str, str], list[str]] = {}
        self._admins: dict[tuple[str, str], list[str]] = {}
        self._channels: list[_Channel] = []
        self._groups: dict[str, list[str]] = {}
        self._posts: list[tuple[int, int]] = []
        taken: set[str] = set()
        for number, record in enumerate(self._records()):
            if record.user is not None:
                self._user(record.user, taken)
            elif record.bot is not None:
                name = record.bot.display_name or record.bot.username
                self._people[record.bot.username] = Person(fit_id(record.bot.username, taken), name, bot=True)
            elif record.channel is not None:
                self._channels.append(record.channel)
            elif record.direct_channel is not None:
                self._group(_people_of(record.direct_channel))
            elif (post := record.post or record.direct_post) is not None:
                self._posts.append((post.create_at, number))
            elif record.type not in ("version", "team"):
                self.left[f"records of the kind {record.type}"] += 1
        self._posts.sort()
        self.start = self._posts[0][0] if self._posts else 0

    def _records(self) -> Iterator[_Record]:
        decode = msgspec.json.Decoder(_Record).decode
        for number, line in enumerate(self._lines(), start=1):
            try:
                yield decode(line)
            except ValueError as error:
                raise NotUnderstood(f"line {number}: {error}") from None

    def _user(self, user: _User, taken: set[str]) -> None:
        person = self._people[user.username] = Person(
            fit_id(user.username, taken),
            user.shown,
            admin="system_admin" in (user.roles or ""),
            disabled=bool(user.delete_at),
        )
        for team in user.teams or ():
            for channel in team.channels or ():
                place = (team.name, channel.name)
                self._members.setdefault(place, []).append(person.id)
                if "channel_admin" in (channel.roles or ""):
                    self._admins.setdefault(place, []).append(person.id)

    def _group(self, members: list[str]) -> str:
        """The id of a group that more than two people have among themselves; empty for a dialog."""
        if len(members) <= 2:
            return ""
        group = fit_id("mm-" + "-".join(sorted(members)), set())
        self._groups[group] = members
        return group

    def people(self) -> Iterator[Person]:
        """See `Source`."""
        yield from self._people.values()

    def rooms(self) -> Iterator[Room]:
        """See `Source`."""
        for channel in self._channels:
            place = (channel.team, channel.name)
            members = self._members.get(place, [])
            admins = self._admins.get(place, [])
            if not members:
                self.left["channels without people"] += 1
                continue
            name = channel.display_name or channel.name
            yield Room(self._room(place), name, "group", (admins or members)[0], admins[1:], members)
        for group, members in self._groups.items():
            known = [self._people[one].id for one in members if one in self._people]
            if known:
                yield Room(group, ", ".join(members), "group", known[0], [], known)

    @staticmethod
    def _room(place: tuple[str, str]) -> str:
        return fit_id(f"mm-{place[0]}-{place[1]}", set())

    def messages(self) -> Iterator[Said]:
        """See `Source`."""
        wanted = {number: None for _, number in self._posts}
        kept = {number: record for number, record in enumerate(self._records()) if number in wanted}
        said = [one for _, number in self._posts for one in self._thread(kept.pop(number), number)]
        said.sort(key=lambda one: one.at)
        yield from said

    def _thread(self, record: _Record, number: int) -> Iterator[Said]:
        """A post and the replies to it."""
        people: tuple[str, ...] = ()
        post: _Post | _DirectPost
        if record.post is not None:
            post = record.post
            room = self._room((post.team, post.channel))
        else:
            assert record.direct_post is not None
            post = record.direct_post
            names = _people_of(post)
            room = self._group(names)
            if not room:
                people = tuple(self._people[one].id for one in names if one in self._people)
                if not people:
                    self.left["messages of people who are not in the export"] += 1
                    return
        key = f"mm-{post.create_at}-{post.user}-{number}"[:100]
        first = self._said(post, key, room, people, "")
        if first is not None:
            yield first
        for index, reply in enumerate(post.replies or ()):
            answer = self._said(reply, f"{key}-{index}", room, people, key if first else "")
            if answer is not None:
                yield answer

    def _said(self, post: _Said, key: str, room: str, people: tuple[str, ...], answers: str) -> Said | None:
        sender = self._people.get(post.user)
        if sender is None:
            self.left["messages of people who are not in the export"] += 1
            return None
        if (post.type or "").startswith("system_"):
            self.left["notes that somebody joined, left or changed something"] += 1
            return None
        text = post.message or ""
        self.left["reactions"] += len(post.reactions or ())
        enclosed = []
        for file in post.attachments or ():
            found = self._files.enclosed(file.path, f"data/{file.path}")
            if found is None:
                self.left["files"] += 1
                text += f"\n(file: {Path(file.path).name})"
            else:
                enclosed.append(found)
        if not text.strip() and not enclosed:
            self.left["messages without text"] += 1
            return None
        return Said(post.create_at, key, sender.id, room, people, text.strip(), answers, tuple(enclosed))


def _people_of(conversation: _Direct | _DirectPost) -> list[str]:
    """The user names of those whose conversation it is, under whichever name a version gives them."""
    found = conversation.channel_members or conversation.members or conversation.participants or ()
    return [one if isinstance(one, str) else one.username for one in found]
