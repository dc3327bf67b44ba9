"""What `relay import` reads: a relay's own export, a Slack export, a Mattermost bulk export.

Each gives people, chats and messages in the relay's terms, the messages in the order they were sent, and
counts what it has to leave behind. Reads files; knows no relay.
"""

import heapq
import html
import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

import msgspec

from relay.protocol import control

TEXT = 65_536
"""Characters of a message (`protocol.base.Text`)."""


class NotUnderstood(Exception):
    """What is wrong with what is to be imported."""


class Person(NamedTuple):
    """A user to be."""

    id: str
    name: str
    bot: bool = False
    admin: bool = False
    disabled: bool = False


class Room(NamedTuple):
    """A group or channel to be."""

    id: str
    name: str
    kind: str
    owner: str
    admins: list[str]
    participants: list[str]


class Enclosed(NamedTuple):
    """A file that a message holds."""

    name: str
    size: int
    read: Callable[[], bytes]


class Said(NamedTuple):
    """A message to be."""

    at: int
    """Unix milliseconds."""
    key: str
    """Its client id: the same whenever it is imported."""
    sender: str
    room: str
    """A group's id; empty in a dialog."""
    people: tuple[str, ...]
    """The two people of a dialog, or one of notes to self."""
    text: str
    answers: str = ""
    """The key of the message that is answered."""
    files: tuple[Enclosed, ...] = ()


class Source(Protocol):
    """Something that can be imported."""

    left: Counter[str]
    """What was left behind, and how much of it."""
    start: int
    """When the oldest of it happened, Unix milliseconds."""

    def people(self) -> Iterator[Person]:
        """All users."""

    def rooms(self) -> Iterator[Room]:
        """All groups and channels."""

    def messages(self) -> Iterator[Said]:
        """All messages, in the order they were sent."""


def open_source(path: Path) -> Source:
    """Find out what is to be imported.

    Raises:
        NotUnderstood: nothing that is known here.
    """
    files = _Files(path)
    if files.has("users.json") and files.has("channels.json"):
        return Slack(files)
    bulk = files.first_with(".jsonl")
    if bulk is None:
        raise NotUnderstood(f"{path} is neither a relay's export nor one of Slack or Mattermost")
    try:
        first = json.loads(next(bulk()))
    except (StopIteration, ValueError):
        raise NotUnderstood(f"{path}: its first line is no JSON object") from None
    if first.get("type") == "relay":
        if first.get("format") != 1:
            raise NotUnderstood(f"{path} was exported by a newer relay: upgrade this one first")
        return Own(bulk, files)
    if first.get("type") == "version":
        return Mattermost(bulk, files)
    raise NotUnderstood(f"{path}: its first line is neither a relay's nor Mattermost's")


class _Files:
    """A directory, a zip file or a single file, all the same to who reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self._tar: Path | None = None
        try:
            if path.is_dir():
                self.names = sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
            elif tarfile.is_tarfile(path):
                self._tar = path
                with tarfile.open(path) as tar:
                    self.names = sorted(tar.getnames())
            elif zipfile.is_zipfile(path):
                self._zip = zipfile.ZipFile(path)
                self.names = sorted(self._zip.namelist())
            else:
                path.open("rb").close()
                self.names = []
        except OSError as error:
            raise NotUnderstood(f"{path} cannot be read: {error.strerror}") from None
        # Some zip files have everything in one folder more.
        tops = {name.partition("/")[0] for name in self.names}
        self._within = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in self.names) else ""
        self.names = [name.removeprefix(self._within) for name in self.names]

    def has(self, name: str) -> bool:
        return name in self.names

    def open(self, name: str) -> IO[bytes]:
        if self._tar is not None:
            return _Unpacked(self._tar, self._within + name)
        if self._zip is not None:
            return self._zip.open(self._within + name)
        return (self._path / self._within / name).open("rb")

    def json(self, name: str) -> Any:
        if not self.has(name):
            return []
        try:
            with self.open(name) as file:
                return json.load(file)
        except ValueError as error:
            raise NotUnderstood(f"{name}: {error}") from None

    def enclosed(self, *candidates: str) -> Enclosed | None:
        """A file by the first of these names that is there."""
        for name in candidates:
            if name in self.names:
                with self.open(name) as file:
                    size = file.seek(0, io.SEEK_END)
                return Enclosed(Path(name).name, size, lambda name=name: self._content(name))  # type: ignore[misc]
            beside = self._path.parent / name
            if not self.names and ".." not in Path(name).parts and beside.is_file():
                return Enclosed(beside.name, beside.stat().st_size, beside.read_bytes)
        return None

    def _content(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def first_with(self, ending: str) -> Callable[[], Iterator[bytes]] | None:
        """The first file of a kind, as a way to read its lines from the beginning."""
        if not self.names and self._path.is_file():
            return lambda: _lines(self._path.open("rb"))
        for name in self.names:
            if name.endswith(ending):
                return lambda: _lines(self.open(name))
        return None


class _Unpacked(io.BufferedReader):
    """A file in a tar file, which is closed with it."""

    def __init__(self, path: Path, name: str) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115 - closed with this one
        content = self._tar.extractfile(name)
        if content is None:
            raise NotUnderstood(f"{path}: {name} is no file")
        super().__init__(cast("io.RawIOBase", content))

    def close(self) -> None:
        """See `io.BufferedReader`."""
        super().close()
        self._tar.close()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        yield from file


def fit_id(name: str, taken: set[str]) -> str:
    """Make a user id of a name: the nearest that may be one, with a number where it is taken."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:56] or "user"
    user_id, number = plain, 1
    while user_id in taken:
        number += 1
        user_id = f"{plain}-{number}"
    taken.add(user_id)
    return user_id


class Own:
    """A relay's own export."""

    def __init__(self, lines: Callable[[], Iterator[bytes]], files: _Files) -> None:
        self._lines = lines
        self._files = files
        self.left: Counter[str] = Counter()
        self._decode = msgspec.json.Decoder(control.Record).decode
        self.start = min((record.at for record in self._records() if record.type != "relay"), default=0)

    def _records(self) -> Iterator[control.Record]:
        for number, line in enumerate(self._lines(), start=1):
            try:
                yield self._decode(line)
            except msgspec.DecodeError as error:
                raise NotUnderstood(f"line {number}: {error}") from None

    def people(self) -> Iterator[Person]:
        """See `Source`."""
        for record in self._records():
            if record.type == "user":
                yield Person(
                    record.id or "", record.name or "", bot=record.bot, admin=record.admin, disabled=record.disabled
                )

    def rooms(self) -> Iterator[Room]:
        """See `Source`."""
        for record in self._records():
            if record.type == "chat" and record.id is not None:
                yield Room(
                    record.id,
                    record.name or record.id,
                    record.kind or "group",
                    record.owner or "",
                    record.admins or [],
                    record.participants or [],
                )

    def messages(self) -> Iterator[Said]:
        """See `Source`."""
        for record in self._records():
            if record.type != "message":
                continue
            text = record.text or ""
            enclosed = []
            for file in record.attachments or ():
                found = self._files.enclosed(f"files/{file.id}/{file.filename}")
                if found is None:
                    self.left["files"] += 1
                    text += f"\n(file: {file.filename})"
                else:
                    enclosed.append(found)
            yield Said(
                record.at,
                record.client_message_id or "",
                record.sender or "",
                record.chat or "",
                tuple(record.participants or ()) if record.chat is None else (),
                text.strip(),
                record.reply_to or "",
                tuple(enclosed),
            )


class Slack:
    """A workspace's export: a zip file, or the folder that it unpacks to."""

    SKIPPED = ("channel_", "group_", "bot_add", "bot_remove", "pinned_item", "reminder_add", "tombstone")
    """Subtypes of messages that nobody wrote."""

    def __init__(self, files: _Files) -> None:
        self._files = files
        self.left: Counter[str] = Counter()
        self._people: dict[str, Person] = {}
        taken: set[str] = set()
        for user in files.json("users.json"):
            profile = user.get("profile") or {}
            name = profile.get("display_name") or profile.get("real_name") or user.get("real_name") or user["name"]
            self._people[user["id"]] = Person(
                fit_id(user.get("name") or user["id"], taken),
                name[:128],
                bot=bool(user.get("is_bot")),
                admin=bool(user.get("is_admin")),
                disabled=bool(user.get("deleted")),
            )
        self._taken = taken
        self._channels = [
            (channel, channel.get("name") or channel["id"])
            for name in ("channels.json", "groups.json", "mpims.json")
            for channel in files.json(name)
        ]
        self._dialogs = [(dialog, dialog["id"]) for dialog in files.json("dms.json")]
        self._bots()
        first = min((day for one in self._folders().values() for day in one), default="1970-01-01.json")
        self.start = int(datetime.strptime(first[:10], "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1_000)

    def _folders(self) -> dict[str, list[str]]:
        """The days of each folder."""
        found: dict[str, list[str]] = {}
        for name in self._files.names:
            folder, _, day = name.rpartition("/")
            if re.fullmatch(r"\d{4}-\d\d-\d\d\.json", day):
                found.setdefault(folder, []).append(day)
        return found

    def _bots(self) -> None:
        """Programs that wrote something need not be among the users."""
        for folder, days in self._folders().items():
            for day in days:
                for message in self._files.json(f"{folder}/{day}"):
                    bot = message.get("bot_id")
                    if bot and bot not in self._people and message.get("user") not in self._people:
                        name = message.get("username") or (message.get("bot_profile") or {}).get("name") or bot
                        self._people[bot] = Person(fit_id(name, self._taken), name[:128], bot=True)

    def people(self) -> Iterator[Person]:
        """See `Source`."""
        yield from self._people.values()

    def rooms(self) -> Iterator[Room]:
        """See `Source`."""
        for channel, name in self._channels:
            members = [self._people[one].id for one in channel.get("members", ()) if one in self._people]
            creator = self._people.get(channel.get("creator", ""))
            owner = creator.id if creator else (members or [""])[0]
            if not owner:
                self.left["channels without people"] += 1
                continue
            yield Room(f"slack-{channel['id']}", name[:128], "group", owner, [], members)

    def messages(self) -> Iterator[Said]:
        """See `Source`."""
        folders = self._folders()
        streams = [
            self._channel(f"slack-{channel['id']}", (), channel["id"], name, folders.get(name, ()))
            for channel, name in self._channels
        ]
        for dialog, folder in self._dialogs:
            people = tuple(self._people[one].id for one in dialog.get("members", ()) if one in self._people)
            if len(people) in (1, 2):
                streams.append(self._channel("", people, dialog["id"], folder, folders.get(folder, ())))
            else:
                self.left["dialogs with people who are not in the export"] += 1
        yield from heapq.merge(*streams, key=lambda said: said.at)

    def _channel(
        self, room: str, people: tuple[str, ...], channel: str, folder: str, days: "list[str] | tuple[()]"
    ) -> Iterator[Said]:
        for day in days:
            for message in sorted(self._files.json(f"{folder}/{day}"), key=lambda one: float(one["ts"])):
                said = self._message(room, people, channel, message)
                if said is not None:
                    yield said

    def _message(self, room: str, people: tuple[str, ...], channel: str, message: dict[str, Any]) -> Said | None:
        subtype = message.get("subtype") or ""
        if message.get("type") != "message" or subtype.startswith(self.SKIPPED):
            self.left["notes that somebody joined, left or changed something"] += 1
            return None
        sender = self._people.get(message.get("user") or "") or self._people.get(message.get("bot_id") or "")
        if sender is None:
            self.left["messages of people who are not in the export"] += 1
            return None
        text = self._plain(message.get("text") or "")
        text += "".join(f"\n{one.get('text') or one.get('fallback') or ''}" for one in message.get("attachments") or ())
        for file in message.get("files") or ():
            self.left["files"] += 1
            text += f"\n(file: {file.get('name') or file.get('id')})"
        self.left["reactions"] += sum(len(one.get("users", ())) for one in message.get("reactions") or ())
        if not text.strip():
            self.left["messages without text"] += 1
            return None
        thread = message.get("thread_ts")
        return Said(
            int(float(message["ts"]) * 1_000),
            f"slack-{channel}-{message['ts']}",
            sender.id,
            room,
            people,
            text.strip(),
            f"slack-{channel}-{thread}" if thread and thread != message["ts"] else "",
        )

    def _plain(self, text: str) -> str:
        """Slack's markup in plain words: people, channels and links by their names."""

        def name(found: re.Match[str]) -> str:
            target, _, label = found[1].partition("|")
            if target.startswith("@"):
                person = self._people.get(target[1:])
                return f"@{person.name if person else label or target[1:]}"
            if target.startswith("#"):
                return f"#{label or target[1:]}"
            if target.startswith("!"):
                return f"@{label or target[1:].partition('^')[0]}"
            return f"{label} ({target})" if label and label not in target else target.removeprefix("mailto:")

        return html.unescape(re.sub(r"<([^<>\n]+)>", name, text))


class Mattermost:
    """A server's bulk export: a JSONL file, or the zip file that it is in."""

    def __init__(self, lines: Callable[[], Iterator[bytes]], files: _Files) -> None:
        self._lines = lines
        self._files = files
        self.left: Counter[str] = Counter()
        self._people: dict[str, Person] = {}
        self._members: dict[tuple[str, str], list[str]] = {}
        self._admins: dict[tuple[str, str], list[str]] = {}
        self._channels: list[dict[str, Any]] = []
        self._groups: dict[str, list[str]] = {}
        self._posts: list[tuple[int, int]] = []
        taken: set[str] = set()
        for number, record in enumerate(self._records()):
            kind = record.get("type")
            body = record.get(str(kind)) or {}
            if kind == "user":
                self._user(body, taken)
            elif kind == "bot":
                name = body.get("display_name") or body["username"]
                self._people[body["username"]] = Person(fit_id(body["username"], taken), name[:128], bot=True)
            elif kind == "channel":
                self._channels.append(body)
            elif kind == "direct_channel":
                self._group(_people_of(body))
            elif kind in ("post", "direct_post"):
                self._posts.append((body.get("create_at", 0), number))
            elif kind not in ("version", "team"):
                self.left[f"records of the kind {kind}"] += 1
        self._posts.sort()
        self.start = self._posts[0][0] if self._posts else 0

    def _records(self) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(self._lines(), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise NotUnderstood(f"line {number}: {error}") from None
            if isinstance(record, dict):
                yield record

    def _user(self, user: dict[str, Any], taken: set[str]) -> None:
        username = user["username"]
        real = f"{user.get('first_name') or ''} {user.get('last_name') or ''}".strip()
        person = self._people[username] = Person(
            fit_id(username, taken),
            (user.get("nickname") or real or username)[:128],
            admin="system_admin" in (user.get("roles") or ""),
            disabled=bool(user.get("delete_at")),
        )
        for team in user.get("teams") or ():
            for channel in team.get("channels") or ():
                place = (team["name"], channel["name"])
                self._members.setdefault(place, []).append(person.id)
                if "channel_admin" in (channel.get("roles") or ""):
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
            place = (channel.get("team", ""), channel["name"])
            members = self._members.get(place, [])
            admins = self._admins.get(place, [])
            if not members:
                self.left["channels without people"] += 1
                continue
            name = channel.get("display_name") or channel["name"]
            yield Room(self._room(place), name[:128], "group", (admins or members)[0], admins[1:], members)
        for group, members in self._groups.items():
            known = [self._people[one].id for one in members if one in self._people]
            if known:
                yield Room(group, ", ".join(members)[:128], "group", known[0], [], known)

    @staticmethod
    def _room(place: tuple[str, str]) -> str:
        return fit_id(f"mm-{place[0]}-{place[1]}", set())

    def messages(self) -> Iterator[Said]:
        """See `Source`."""
        wanted = {number: None for _, number in self._posts}
        kept = {number: record for number, record in enumerate(self._records()) if number in wanted}
        said = [one for _, number in self._posts for one in self._post(kept.pop(number), number)]
        said.sort(key=lambda one: one.at)
        yield from said

    def _post(self, record: dict[str, Any], number: int) -> Iterator[Said]:
        post = record[record["type"]]
        if record["type"] == "post":
            room = self._room((post.get("team", ""), post.get("channel", "")))
            people: tuple[str, ...] = ()
        else:
            members = _people_of(post)
            room = self._group(members)
            people = () if room else tuple(self._people[one].id for one in members if one in self._people)
            if not room and not people:
                self.left["messages of people who are not in the export"] += 1
                return
        key = f"mm-{post.get('create_at')}-{post.get('user')}-{number}"[:100]
        first = self._said(post, key, room, people, "")
        if first is not None:
            yield first
        for index, reply in enumerate(post.get("replies") or ()):
            answer = self._said(reply, f"{key}-{index}", room, people, key if first else "")
            if answer is not None:
                yield answer

    def _said(self, post: dict[str, Any], key: str, room: str, people: tuple[str, ...], answers: str) -> Said | None:
        sender = self._people.get(post.get("user", ""))
        if sender is None:
            self.left["messages of people who are not in the export"] += 1
            return None
        if (post.get("type") or "").startswith("system_"):
            self.left["notes that somebody joined, left or changed something"] += 1
            return None
        text = post.get("message") or ""
        self.left["reactions"] += len(post.get("reactions") or ())
        enclosed = []
        for file in post.get("attachments") or ():
            path = file.get("path", "")
            found = self._files.enclosed(path, f"data/{path}")
            if found is None:
                self.left["files"] += 1
                text += f"\n(file: {Path(path).name})"
            else:
                enclosed.append(found)
        if not text.strip() and not enclosed:
            self.left["messages without text"] += 1
            return None
        return Said(post.get("create_at", 0), key, sender.id, room, people, text.strip(), answers, tuple(enclosed))


def _people_of(body: dict[str, Any]) -> list[str]:
    """The people of a direct channel, under whichever name a version of Mattermost gives them."""
    found = body.get("channel_members") or body.get("members") or body.get("participants") or ()
    return [one if isinstance(one, str) else one.get("username", "") for one in found]
