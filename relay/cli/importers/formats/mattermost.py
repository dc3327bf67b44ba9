"""Reads the bulk export of a Mattermost server: one JSON object per line; its `type` names the field with the data."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

import msgspec

from relay.cli.importers.base import (
    UNKNOWN_MEMBERS,
    Reference,
    SourceChat,
    SourceMessage,
    SourceUser,
    dialog_kind,
    fit_id,
    fit_key,
    fit_origin,
    in_place_of,
    with_hash,
)
from relay.cli.importers.formats.archive import Archive
from relay.cli.importers.formats.dates import moment
from relay.cli.importers.formats.programs import NOT_UNDERSTOOD, all_words
from relay.cli.importers.names import decoded_lines
from relay.cli.importers.order import Ordinals, in_order
from relay.protocol.base import JsonValue

SYSTEM = "mattermost"
"""The prefix of the origins of its users and channels."""
GROUP_NAMES_CHARACTERS = 50
"""Maximum characters of members' names in a group's id."""


class _Membership(msgspec.Struct):
    """A user's membership in a channel."""

    name: str
    roles: str | None = None


class _Team(msgspec.Struct):
    name: str
    channels: list[_Membership] | None = None


class _MattermostUser(msgspec.Struct):
    username: str
    first_name: str | None = None
    last_name: str | None = None
    nickname: str | None = None
    roles: str | None = None
    delete_at: int | float | str | None = None
    teams: list[_Team] | None = None

    @property
    def shown(self) -> str:
        """The name that others see."""
        return self.nickname or f"{self.first_name or ''} {self.last_name or ''}".strip() or self.username


class _Bot(msgspec.Struct):
    username: str
    display_name: str | None = None


class _MattermostChannel(msgspec.Struct):
    name: str
    team: str = ""
    display_name: str | None = None


class _Participant(msgspec.Struct):
    username: str = ""


class _Direct(msgspec.Struct):
    """A conversation of a few people."""

    channel_members: list[str] | None = None
    members: list[str] | None = None
    participants: list[str | _Participant] | None = None


class _MattermostFile(msgspec.Struct):
    path: str = ""


class _Reply(msgspec.Struct):
    """A reply to a post; a post has these fields, too."""

    user: str = ""
    create_at: int | float | str | None = None
    message: str | None = None
    type: str | None = None
    reactions: list[msgspec.Raw] | None = None
    attachments: list[_MattermostFile | None] | None = None
    props: JsonValue = None
    """The content that a program posts besides the text, or in place of it."""


class _Post(_Reply):
    team: str = ""
    channel: str = ""
    replies: list[_Reply] | None = None


class _DirectPost(_Reply):
    replies: list[_Reply] | None = None
    channel_members: list[str] | None = None
    members: list[str] | None = None
    participants: list[str | _Participant] | None = None


class _Record(msgspec.Struct):
    """One line of the export."""

    type: str = ""
    user: _MattermostUser | None = None
    bot: _Bot | None = None
    channel: _MattermostChannel | None = None
    direct_channel: _Direct | None = None
    post: _Post | None = None
    direct_post: _DirectPost | None = None


class _SpooledMessage(msgspec.Struct, array_like=True):
    """A message while all are sorted by date, on disk."""

    at: int
    number: int
    key: str
    sender: str
    chat: str
    text: str
    reply_to: Reference | None
    paths: list[str]


UNDATED = "invalid dates: these messages get the date of the previous one"


class Mattermost:
    """A server's bulk export: a JSONL file, or the zip file that holds it. It is read twice, and sorted on disk."""

    def __init__(self, lines: Callable[[], Iterator[bytes]], files: Archive) -> None:
        """Read users, chats and the data needed to yield the messages.

        Args:
            lines: opens the lines of the export from the beginning.
            files: the archive with the uploaded files.

        Raises:
            NotUnderstood: it is damaged.
        """
        self._lines = lines
        self._files = files
        self.left: Counter[str] = Counter()
        self.inferred: Counter[str] = Counter()
        self._people: dict[str, SourceUser] = {}
        self._members: dict[tuple[str, str], list[str]] = {}
        self._admins: dict[tuple[str, str], list[str]] = {}
        self._channels: list[_MattermostChannel] = []
        self._groups: dict[str, list[str]] = {}
        self._dialogs: dict[str, list[str]] = {}
        self._authors: dict[str, None] = {}
        self.start = 0
        for record in self._records(self.left):
            self._look(record)
        for author in self._authors:
            if author and author not in self._people:
                # Deleted users are in no list, and their messages are still theirs.
                self._people[author] = SourceUser(author, author, author, (_origin(author),), disabled=True)

    def _look(self, record: _Record) -> None:
        """Note the users, channels and groups of a record; for a post only its author and date."""
        if record.user is not None:
            self._user(record.user)
        elif record.bot is not None:
            name = record.bot.display_name or record.bot.username
            username = record.bot.username
            self._people[username] = SourceUser(username, name, username, (_origin(username),), bot=True)
        elif record.channel is not None:
            self._channels.append(record.channel)
        elif record.direct_channel is not None:
            self._conversation(_participants(record.direct_channel), used=False)
        elif (post := record.post or record.direct_post) is not None:
            if record.direct_post is not None:
                self._conversation(_participants(record.direct_post), used=True)
            for reply in (post, *(post.replies or ())):
                self._authors[reply.user] = None
                at = moment(reply.create_at)
                self.start = min(self.start or at, at) if at is not None else self.start
        elif record.type not in ("version", "team"):
            self.left[f"records of the kind {record.type}"] += 1

    def _records(self, left: Counter[str] | None = None) -> Iterator[_Record]:
        return decoded_lines(self._lines(), _Record, left)

    def _user(self, user: _MattermostUser) -> None:
        person = self._people[user.username] = SourceUser(
            user.username,
            user.shown,
            user.username,
            (_origin(user.username),),
            admin="system_admin" in (user.roles or "").split(),
            disabled=moment(user.delete_at) is not None,
        )
        for team in user.teams or ():
            for channel in team.channels or ():
                place = (team.name, channel.name)
                self._members.setdefault(place, []).append(person.id)
                if "channel_admin" in (channel.roles or "").split():
                    self._admins.setdefault(place, []).append(person.id)

    def _conversation(self, members: list[str], *, used: bool) -> str:
        """Note a conversation and return its key; with more than two people it is a group."""
        people = sorted(set(members))
        key = "~".join(people)
        if len(people) > 2:
            self._groups.setdefault(key, members)
        elif used:
            self._dialogs.setdefault(key, people)
        return key

    def users(self) -> Iterator[SourceUser]:
        """See `Source`."""
        yield from self._people.values()

    def chats(self) -> Iterator[SourceChat]:
        """See `Source`."""
        for channel in self._channels:
            place = (channel.team, channel.name)
            # Each user lists their channels: a channel that nobody lists has no members.
            members = list(dict.fromkeys(self._members.get(place, ())))
            name = channel.display_name or channel.name
            wish, origin = (
                fit_id(f"mm-{channel.team}-{channel.name}"),
                fit_origin(SYSTEM, "/".join(map(_quoted, place))),
            )
            admins = self._admins.get(place, [])
            yield SourceChat(_place(*place), wish, name, "group", None, None, admins, members, origins=(origin,))
        for group, names in self._groups.items():
            known = [self._people[one].id for one in names if one in self._people]
            if known:
                self.left[UNKNOWN_MEMBERS] += len(set(names) - self._people.keys())
                people = sorted(set(names))
                wish, origin = _group_id(people), fit_origin(SYSTEM, ",".join(map(_quoted, people)))
                yield SourceChat(group, wish, ", ".join(names), "group", None, None, [], known, origins=(origin,))
        for key, names in self._dialogs.items():
            known = [self._people[one].id for one in names if one in self._people]
            if not known or len(known) < len(names):
                self.left["dialogs with people who are not in the export"] += 1
                continue
            yield SourceChat(key, "", "", dialog_kind(known), known[0], None, [], known)

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        for one in in_order(self._unordered(), _SpooledMessage, lambda spooled: (spooled.at, spooled.number)):
            enclosed = []
            for path in one.paths:
                found = self._files.enclosed(path, f"data/{path}")
                if found is not None:
                    enclosed.append(found)
            yield SourceMessage(one.at, one.key, one.sender, one.chat, one.text, one.reply_to, tuple(enclosed))

    def _unordered(self) -> Iterator[_SpooledMessage]:
        """Return all messages in the order of the file."""
        before = self.start
        number = 0
        with closing(Ordinals()) as ordinals:
            for line, record in enumerate(self._records()):
                for one in self._thread(record, line, before, ordinals):
                    number += 1
                    before = one.at if one.reply_to is None else before
                    yield msgspec.structs.replace(one, number=number)

    def _thread(self, record: _Record, line: int, before: int, ordinals: Ordinals) -> Iterator[_SpooledMessage]:
        """Return a post and the replies to it."""
        post: _Post | _DirectPost
        if record.post is not None:
            post = record.post
            chat = _place(post.team, post.channel)
        elif record.direct_post is not None:
            post = record.direct_post
            chat = self._conversation(_participants(post), used=True)
        else:
            return
        key = _key(post, chat, f"{line}", ordinals)
        first = self._message(post, key, chat, None, before)
        if first is not None:
            yield first
            before = first.at
        for index, reply in enumerate(post.replies or ()):
            original = (first.sender, key) if first is not None else None
            # A reply that is dated before its post still comes after it.
            answer = self._message(reply, _key(reply, chat, f"{line}-{index}", ordinals), chat, original, before)
            if answer is not None:
                yield msgspec.structs.replace(answer, at=max(answer.at, before))

    def _message(
        self, post: _Reply, key: str, chat: str, reply_to: Reference | None, before: int
    ) -> _SpooledMessage | None:
        sender = self._people.get(post.user)
        if sender is None:
            self.left["messages without an author"] += 1
            return None
        if _is_note(post):
            self.left["notes that somebody joined, left or changed something"] += 1
            return None
        text = post.message or ""
        posted = post.props.get("attachments") if isinstance(post.props, dict) else None
        whole = all_words(text, None, posted, _nobody, program=True)
        self.left[NOT_UNDERSTOOD] += whole is None
        text = text if whole is None else whole
        self.left["reactions"] += len(post.reactions or ())
        paths = []
        for file in post.attachments or ():
            path = file.path if file is not None else ""
            if self._files.enclosed(path, f"data/{path}") is None:
                self.left["files"] += 1
                text += in_place_of(Path(path).name)
            else:
                paths.append(path)
        if not text.strip() and not paths:
            self.left["messages without text"] += 1
            return None
        at = moment(post.create_at)
        if at is None:
            self.left[UNDATED] += 1
        return _SpooledMessage(at if at is not None else before, 0, key, sender.id, chat, text.strip(), reply_to, paths)


def _nobody(_sign: str, _id: str) -> str | None:
    """Return no name: Mattermost's texts contain names already."""
    return None


def _is_note(post: _Reply) -> bool:
    """Return whether a post only says that a user joined, left or changed something."""
    return (post.type or "").startswith("system_")


def _place(team: str, channel: str) -> str:
    """Return the key of a channel among all chats of an export."""
    return f"{team}\0{channel}"


def _group_id(people: list[str]) -> str:
    found = fit_id("mm-" + "-".join(people))
    if len("-".join(people)) > GROUP_NAMES_CHARACTERS:
        # The names are cut, so two groups with the same beginning must not become one.
        return with_hash(found, " ".join(people))
    return found


def _origin(username: str) -> str:
    """Return the origin of a user: an export states no id, and the same name may be given to another user."""
    return fit_origin(SYSTEM, username)


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _key(post: _Reply, chat: str, line: str, ordinals: Ordinals) -> str:
    """Make the client id of a post from its author, time and chat, so that a later export has the same one.

    Its text is left out, since an edit changes it. Posts of the same millisecond are numbered in the order of the
    export by their texts. For a post without a date, the line replaces the chat.
    """
    at = moment(post.create_at)
    if at is None:
        return fit_key(f"mm-{post.create_at}-{post.user}-{line}")
    content = [post.message, [file.path for file in post.attachments or () if file], post.props]
    key = f"mm-{at}-{post.user}-{_digest(chat).hex()}"
    number = ordinals.number(key.encode(), _digest(content))
    return fit_key(key if number == 1 else f"{key}-{number}")


def _digest(content: object) -> bytes:
    return blake2b(msgspec.json.encode(content), digest_size=8).digest()


def _participants(conversation: _Direct | _DirectPost) -> list[str]:
    """Return the user names of a conversation's people, from the field that this version of Mattermost uses."""
    found = conversation.channel_members or conversation.members or conversation.participants or ()
    return [one if isinstance(one, str) else one.username for one in found]
