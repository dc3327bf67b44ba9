"""A relay's export survives a round trip: from a random store into an empty directory, and out again.

The only differences are the ids of files (secrets that the relay generates) and the time of the export.
Longer than other modules: the life of a random store is one subject.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from relay.core.relay import Relay, open_relay
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.core.submit import submit
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment, AttachmentMeta, ChatListItem
from relay.settings import FilesSection, Settings
from relay.store.command import Command
from tests.support.command_line import done
from tests.support.exports import exported, same
from tests.support.picture_files import png

T0 = 1_700_000_000_000
TEXTS = ("hi", "Straße\nzwei", " spaces ", "e\u0301 und é", "🙂‍↔️", "a" * 5_000, "\u2028<b>&amp;", "x\u200dy")
NAMES = (
    *("Anna", "Ben Ö", "Zoë", "李", "O'Neil", "Dr. No"),
    # Spaces as people write them between names, and as they mistype them: all of these are names.
    *(
        "山田\u3000太郎",
        "M.\u00a0Dupont",
        "Ben  B.",
        " Eva ",
        "\u3000林",
        "Zoe\u2009\u2007K.\u00a0",
        "👩\u200d🚒\ufe0f",
    ),
)

LINKED = (
    ("plan.pdf", "file", AttachmentMeta(size=1, extension="pdf")),
    ("nöte.txt", "file", AttachmentMeta(size=0)),
    ("a/b.png", "image", AttachmentMeta(size=2**40, mimetype="image/png", width=3, height=2)),
    ("film.mp4", "video", AttachmentMeta(size=7, width=640, height=480, duration=1.5)),
)


class Life:
    """Random actions of people, as commands for the log."""

    def __init__(self, relay: Relay, random: Random, seed: int) -> None:
        self.relay = relay
        self.random = random
        self.links = Random(seed)
        """Chooses the files elsewhere. It is another generator, so that old seeds still make the same store."""
        self.ends = Random(seed)
        """Chooses when all in a dialog clear it, and when retention runs; another generator likewise."""
        self.now = T0
        self.files: list[tuple[int, Attachment]] = []
        self.count = 0

    def clock(self) -> int:
        return self.now

    async def say(self, user: UserKey, request: Any, generated_id: str = "") -> Any:
        self.now += self.random.choice((0, 1, 60_000, 86_400_000))
        try:
            return await submit(self.relay.log, Command(self.now, user, NO_DEVICE, request, generated_id=generated_id))
        except RelayError:
            return None

    def user(self) -> UserKey:
        # Removed users do nothing any more; the first one stays, so that somebody can act.
        return self.random.choice([user.key for user in self.relay.state.users.values() if not user.removed])

    def group(self) -> str:
        return self.random.choice(list(self.relay.state.group_keys) or ["none"])

    def some(self) -> list[str]:
        users = [user.id for user in self.relay.state.users.values()]
        return self.random.sample(users, self.random.randrange(len(users)) + 1)

    def place(self, user: UserKey) -> str:
        state = self.relay.state
        if self.random.random() < 0.5:
            mine = [state.chats[key].id for key in sorted(state.chats_of[user])]
            return self.random.choice([one for one in mine if one] or [self.group()])
        return state.users[self.user()].id

    def next_id(self) -> str:
        self.count += 1
        return f"c{self.count}"

    async def add_user(self) -> None:
        number = len(self.relay.state.users) + 1
        flags = {"bot": self.random.random() < 0.2, "admin": self.random.random() < 0.3}
        await self.say(ADMIN, control.AddUser(id=f"u{number}", name=self.random.choice(NAMES), **flags))

    async def change_user(self) -> None:
        change = self.random.choice(
            ({"name": "Renamed"}, {"disabled": True}, {"disabled": False}, {"removed": True}, {"admin": True})
        )
        user = self.user()
        if not (user == 1 and "removed" in change):
            await self.say(ADMIN, control.ChangeUser(id=self.relay.state.users[user].id, **change))

    async def make_group(self) -> None:
        request = requests.CreateChat(
            type=self.random.choice(("group", "channel")), name=self.random.choice(NAMES), participants=self.some()
        )
        await self.say(self.user(), request, f"g-{self.next_id()}")

    async def change_group(self) -> None:
        group, user = self.group(), self.random.choice((ADMIN, self.user()))
        request = self.random.choice(
            (
                commands.AddParticipants(group, self.some()),
                commands.RemoveParticipants(group, self.some()),
                requests.UpdateChat(chat_id=group, admins=self.some()),
                requests.UpdateChat(chat_id=group, name="New name"),
            )
        )
        await self.say(user, request)

    async def leave(self) -> None:
        user = self.user()
        await self.say(user, commands.LeaveChat(self.place(user)))

    async def delete_chat(self) -> None:
        user = self.user()
        await self.say(user, commands.DeleteChat(self.place(user)))

    async def send(self) -> None:
        user = self.user()
        place = self.place(user)
        key = self.relay.state.chat_key(user, place)
        last = self.relay.state.chats[key].last_message_id if key else 0
        reply = self.random.randint(1, last) if last and self.random.random() < 0.4 else None
        mine = [file for owner, file in self.files if owner == user]
        files = self.random.sample(mine, min(len(mine), 2)) if self.random.random() < 0.5 else []
        text = self.random.choice(TEXTS) if not files or self.random.random() < 0.5 else None
        if self.links.random() < 0.4:
            files = [*files, *(self.link(number) for number in range(self.links.randint(1, 3)))]
            self.links.shuffle(files)
            text = text if self.links.random() < 0.5 else None
        await self.say(
            user,
            requests.New(
                chat_id=place,
                client_message_id=self.next_id(),
                message=text,
                attachments=files or None,
                reply_to=reply,
            ),
        )

    def link(self, number: int) -> Attachment:
        """A file that is stored elsewhere: anybody may name one, under any id."""
        name, kind, meta = self.links.choice(LINKED)
        url = self.links.choice(("https://files.example/a%20b?c=d#e", "http://[::1]:9/x", "https://müller.example/ü"))
        return Attachment(type=kind, id=f"x{number}", filename=name, url=url, meta=meta)  # type: ignore[arg-type]

    async def change_message(self) -> None:
        user = self.user()
        place = self.place(user)
        key = self.relay.state.chat_key(user, place)
        if not key or not self.relay.state.chats[key].last_message_id:
            return
        which = self.random.randint(1, self.relay.state.chats[key].last_message_id)
        request: Any = requests.Delete(chat_id=place, original_message_id=which)
        if self.random.random() < 0.6:
            client_id = self.random.choice((None, self.next_id()))
            request = requests.Edit(
                chat_id=place, original_message_id=which, message="edited", client_message_id=client_id
            )
        await self.say(user, request, self.next_id())

    async def end_of_history(self) -> None:
        """Let all in a dialog or in notes clear it, or retention remove what is old."""
        state = self.relay.state
        if self.ends.random() < 0.06:
            dialogs = [chat for chat in state.chats.values() if chat.id is None]
            chat = self.ends.choice(dialogs) if dialogs else None
            for user in sorted(state.users_in(chat)) if chat else ():
                if chat is not None and self.ends.random() < 0.8 and state.is_authorized(user, NO_DEVICE):
                    request = commands.DeleteChat(state.chat_id(chat, user))
                    await submit(self.relay.log, Command(self.now, user, NO_DEVICE, request))
        if self.ends.random() < 0.02:
            await self.relay.retention.prune(days=self.ends.choice((1, 5)))

    async def upload(self) -> None:
        user = self.user()
        if not self.relay.state.is_authorized(user, NO_DEVICE):
            return
        name, content = self.random.choice(
            (
                ("nöte.txt", b"note" * self.random.randrange(4)),
                ("picture.png", png(3, 2)),
                ("film.mp4", b"\0\0\0\x18ftypmp42" + bytes(20)),
                ("._odd", b"odd"),
            )
        )
        rest = [content]

        async def piece() -> bytes:
            return rest.pop() if rest else b""

        file = await self.relay.files.receive(user, NO_DEVICE, name, None, piece, self.now)
        if file.type == "video":
            meta = AttachmentMeta(size=file.meta.size, width=640, height=480, duration=1.5)
            file = Attachment(type="video", id=file.id, filename=file.filename, url=file.url, meta=meta)
        self.files.append((user, file))
        if self.random.random() < 0.5:
            url = file.url
            await self.say(user, requests.ProfileRequest(photo_url=url))
            await self.say(user, requests.UpdateChat(chat_id=self.group(), photo_url=url))


STEPS: tuple[tuple[int, Callable[[Life], Any]], ...] = (
    (2, Life.add_user),
    (1, Life.change_user),
    (2, Life.make_group),
    (3, Life.change_group),
    (1, Life.leave),
    (1, Life.delete_chat),
    (12, Life.send),
    (5, Life.change_message),
    (3, Life.upload),
)


async def live(data: Path, seed: int, steps: int) -> None:
    """Let people use a new relay for a while."""
    random = Random(seed)
    data.mkdir()
    lives: list[Life] = []
    async with open_relay(data, clock=lambda: lives[0].now if lives else T0) as relay:
        life = Life(relay, random, seed)
        lives.append(life)
        for _ in range(3):
            await life.add_user()
        weights = [weight for weight, _ in STEPS]
        for _ in range(steps):
            await random.choices(STEPS, weights)[0][1](life)
            await life.end_of_history()


async def lists(data: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Read what an export does not show: which chats are in each person's list, and with which last message."""
    async with open_relay(data, clock=lambda: T0) as relay:
        return {
            user.id: sorted(
                (one.type, one.id, one.name, one.last_message_text, one.last_message_author or "", one.is_mine)
                for one in msgspec.json.decode(await relay.service.chat_lists.whole(user.key), type=list[ChatListItem])
            )
            for user in relay.state.users.values()
            if not user.removed
        }


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--roundtrip-stores"))


def there_and_back(seed: int, steps: int) -> None:
    here = Path(tempfile.mkdtemp(prefix="relay-carry-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    try:
        trio.run(partial(live, here / "one", seed, steps))
        first = exported(here / "one", here / "one.tar")
        planned = done("import", "--dry-run", "--json", here / "one.tar", data=here / "two").json
        assert not (here / "two").exists()
        came = done("import", "--json", here / "one.tar", data=here / "two").json
        assert came["left"] == {}
        assert {**came, "dryRun": True} == planned
        same(exported(here / "two", here / "two.tar"), first)
        assert trio.run(lists, here / "two") == trio.run(lists, here / "one")
        again = done("import", "--json", here / "one.tar", data=here / "two").json
        assert set(again["added"].values()) == {0}
        assert again["left"] == {}
        same(exported(here / "two", here / "three.tar"), first)
        assert "wrong" not in done("check", data=here / "two").out
        in_use(here, first[0])
    finally:
        shutil.rmtree(here)


def in_use(here: Path, first: list[dict[str, Any]]) -> None:
    """Import into a relay in use, and check that everything keeps its dates and people."""
    done("user", "add", "local", data=here / "used")
    done("send", "--as", "local", "local", "said today", data=here / "used")
    done("import", here / "one.tar", data=here / "used")
    copy, _ = exported(here / "used", here / "used.tar")
    kinds = ("user", "chat", "edit", "delete", "message")

    def lines_of(records: list[dict[str, Any]]) -> list[str]:
        # A deletion erases everything of a message, including its own date.
        found = []
        for record in records:
            if record["type"] in kinds:
                kept = {name: value for name, value in record.items() if name not in ("attachments", "picture")}
                if record.get("deleted"):
                    kept.pop("at")
                if record["type"] in ("edit", "delete"):
                    kept.pop("at")
                found.append(json.dumps(kept, sort_keys=True))
        return found

    assert [one for one in lines_of(copy) if '"local"' not in one] == lines_of(first)


@pytest.mark.parametrize(("seed", "steps"), [(0, 60), (857, 98), (103, 42)])
def test_a_relays_export_is_imported_identically(seed: int, steps: int) -> None:
    there_and_back(seed, steps)


def test_any_relays_export_is_imported_identically(examples: int) -> None:
    @settings(
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate] if examples <= 5 else list(Phase),
        database=None,
    )
    @given(st.integers(0, 2**32), st.integers(1, 120))
    def check(seed: int, steps: int) -> None:
        there_and_back(seed, steps)

    check()


LINK = {
    "type": "file",
    "id": "e1",
    "filename": "plan.pdf",
    "url": "https://files.example/plan.pdf",
    "meta": {"extension": "pdf", "size": 1},
}


async def _talk(data: Path) -> None:
    """Let anna send ben a link with a text, and one without."""
    data.mkdir()
    link = msgspec.convert(LINK, Attachment)
    async with open_relay(data, clock=lambda: T0) as relay:
        for user in ("anna", "ben"):
            await submit(relay.log, Command(T0, ADMIN, NO_DEVICE, control.AddUser(id=user, name=user)))
        for text in ("see this", None):
            request = requests.New(
                chat_id="ben", client_message_id=f"link {text}", message=text, attachments=[link, link]
            )
            await submit(relay.log, Command(T0, UserKey(1), NO_DEVICE, request))


def _messages(data: Path) -> list[tuple[str | None, list[dict[str, Any]] | None]]:
    lines = map(json.loads, done("export", "-", data=data).out.splitlines())
    return [(one.get("text"), one.get("attachments")) for one in lines if one["type"] == "message"]


@pytest.mark.parametrize("files", [True, False])
def test_a_file_elsewhere_keeps_its_address_through_export_and_import(tmp_path: Path, files: bool) -> None:
    trio.run(_talk, tmp_path / "one")
    export = tmp_path / ("one.zip" if files else "one.jsonl")
    done("export", *(["--files"] if files else []), export, data=tmp_path / "one")
    planned = done("import", "--dry-run", "--json", export, data=tmp_path / "two").json
    came = done("import", "--json", export, data=tmp_path / "two").json
    assert {**came, "dryRun": True} == planned
    assert came["left"] == {}
    assert came["added"]["files"] == 0
    assert _messages(tmp_path / "two") == _messages(tmp_path / "one") == [("see this", [LINK]), (None, [LINK])]


def test_a_relay_without_files_elsewhere_says_what_it_left_and_keeps_the_address_as_text(tmp_path: Path) -> None:
    trio.run(_talk, tmp_path / "one")
    done("export", tmp_path / "one.jsonl", data=tmp_path / "one")
    with patch.dict(os.environ, RELAY_FILES_ELSEWHERE="false"):
        planned = done("import", "--dry-run", "--json", tmp_path / "one.jsonl", data=tmp_path / "two").json
        came = done("import", "--json", tmp_path / "one.jsonl", data=tmp_path / "two").json
    assert {**came, "dryRun": True} == planned
    assert came["left"] == {"files elsewhere (files.elsewhere is off: messages here link no files elsewhere)": 2}
    said = "(file: plan.pdf, https://files.example/plan.pdf)"
    assert _messages(tmp_path / "two") == [(f"see this\n{said}", None), (f"\n{said}", None)]


async def test_the_relay_itself_refuses_files_elsewhere_of_an_import(tmp_path: Path) -> None:
    """The setting may change while an import runs."""
    settings_ = Settings(files=FilesSection(elsewhere=False))
    async with open_relay(tmp_path, clock=lambda: T0, settings=settings_) as relay:
        for user in ("anna", "ben"):
            await submit(relay.log, Command(T0, ADMIN, NO_DEVICE, control.AddUser(id=user, name=user)))
        start = requests.New(chat_id="ben", client_message_id="start", message="start")
        await submit(relay.log, Command(T0, UserKey(1), NO_DEVICE, start))
        message = control.MessageImport(
            participants=["anna", "ben"],
            sender="anna",
            client_message_id="link",
            text="see this",
            attachments=[msgspec.convert(LINK, Attachment)],
            at=T0,
        )
        answers: Any = await relay.admin.handle("import.messages", control.MessagesImport(messages=[message]))
        assert [one.error for one in answers] == ["files.elsewhere is off: messages here link no files elsewhere"]
