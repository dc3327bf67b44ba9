"""Posts through incoming hooks: each hook has idempotency keys of its own (PROTOCOL.md, section 11)."""

from pathlib import Path
from typing import Any

from relay.core.model.changes import Hook
from relay.core.relay import Relay, open_relay
from relay.core.rules import commands
from relay.core.submit import submit
from relay.keys import NO_DEVICE, DeviceKey
from relay.net.http.routes.hooks import HookPage
from relay.protocol import control, requests
from relay.store import kinds
from relay.store.command import Command
from tests.support.memory_log import MemoryLog

DAY = 86_400_000


class Clock:
    """A wall clock that the test sets, Unix milliseconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


class Post:
    """An HTTP request to a hook, with the parts that the route reads."""

    def __init__(self, path: str, text: str, key: str | None) -> None:
        self.path = path
        self._key, self._body = key, text.encode()

    def header(self, name: bytes) -> str | None:
        """Return a header."""
        return self._key if name == b"idempotency-key" else None

    async def body(self, _most: int, _seconds: float) -> bytes:
        """See `HttpRequest.body`."""
        return self._body


class House:
    """A relay with anna and ben in the group "ops"."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.page: Any = HookPage(relay)

    @classmethod
    async def of(cls, relay: Relay) -> "House":
        """Make the users and their group."""
        for user in ("anna", "ben"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        chat = control.MakeChat(type="group", name="ops", owner="anna", participants=["ben"], admins=[])
        await relay.admin.handle("chat.create", chat)
        return cls(relay)

    @property
    def chat_id(self) -> str:
        """The id of the group."""
        return next(iter(self.relay.state.group_keys))

    async def hook(self, user: str = "anna") -> tuple[str, int]:
        """Make a hook that posts as a user; return its path and device key."""
        request = control.AddHook(chat=self.chat_id, user_id=user)
        made: Any = await self.relay.admin.handle("hook.add", request)
        return f"/hooks/{str(made.url).rpartition('/')[2]}", made.device_id

    async def post(self, path: str, text: str, key: str | None) -> None:
        """Post through a hook; the answer must be 200."""
        answer = await self.page.post(Post(path, text, key))
        assert answer.status == 200

    async def send(self, text: str, client_id: str, device: DeviceKey = NO_DEVICE) -> requests.Accepted:
        """Send like anna's app, or like an older relay's hook: under the bare key."""
        request = requests.New(chat_id=self.chat_id, client_message_id=client_id, message=text)
        user = self.relay.state.user_keys["anna"]
        command = Command(self.relay.clock(), user, device, request)
        answer: requests.Accepted = await submit(self.relay.log, command)
        return answer

    async def texts(self) -> list[str]:
        """The texts in the log, in its order."""
        rows = await self.relay.reading.execute("SELECT message FROM log WHERE kind = 1 ORDER BY seq", ())
        return [text for (text,) in rows]


async def test_two_hooks_of_one_user_may_use_the_same_key(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        house = await House.of(relay)
        (build, _), (deploy, _) = await house.hook(), await house.hook()
        for path, text in ((build, "built"), (deploy, "deployed"), (build, "built"), (deploy, "deployed")):
            await house.post(path, text, "42")
        assert await house.texts() == ["built", "deployed"]
        client_ids = await relay.reading.execute("SELECT DISTINCT client_id FROM log WHERE kind = 1", ())
        assert len(client_ids) == 2, "whatever knows a message by sender and client id tells them apart"
    async with open_relay(tmp_path) as relay:
        house = House(relay)
        await house.post(build, "built", "42")
        assert await house.texts() == ["built", "deployed"], "and after a restart"


async def test_a_hook_and_an_app_of_its_user_may_use_the_same_key(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        house = await House.of(relay)
        path, _ = await house.hook()
        first = await house.send("typed", "42")
        await house.post(path, "built", "42")
        assert await house.send("typed", "42") == first
        await house.post(path, "built", "42")
        assert await house.texts() == ["typed", "built"]


async def test_each_post_without_a_key_is_a_new_message(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        house = await House.of(relay)
        path, _ = await house.hook()
        for key in (None, None, ""):
            await house.post(path, "disk full", key)
        assert await house.texts() == ["disk full"] * 3


async def test_post_kept_by_an_older_relay_is_a_repeat_for_its_hook_only(tmp_path: Path) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        house = await House.of(relay)
        (build, build_key), (deploy, _) = await house.hook(), await house.hook()
        await house.send("built", "42", DeviceKey(build_key))
        await house.post(build, "built", "42")
        assert await house.texts() == ["built"]
        await house.post(deploy, "deployed", "42")
        assert await house.texts() == ["built", "deployed"]


async def test_post_that_retention_removed_is_a_repeat_for_a_week(tmp_path: Path) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        house = await House.of(relay)
        build, _ = await house.hook()
        await house.post(build, "tested", "43")
        clock.now += 2 * DAY
        await house.send("last", "44")
        await relay.retention.prune(days=1)
        await house.post(build, "tested", "43")
        assert await house.texts() == ["last"]
        clock.now += 6 * DAY
        await relay.retention.forget_removed()
        await house.post(build, "tested again", "43")
        assert await house.texts() == ["last", "tested again"]


async def test_first_post_under_a_key_is_kept_after_its_client_id_was_pruned(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        house = await House.of(relay)
        build, _ = await house.hook()
        await house.send("typed", "42")
        clock.now += 2 * DAY
        await house.send("last", "44")
        await relay.retention.prune(days=1)
        for _ in range(2):
            await house.post(build, "built", "42")
        assert await house.texts() == ["last", "built"], "and the second post is a repeat of the first"


def test_hooks_of_one_user_keep_their_keys_apart_within_a_batch() -> None:
    log = MemoryLog()
    log.add_users("User1", "User2")
    log.group("User1", "User2")
    hooks = [commands.MakeHook(hook=Hook(chat="g-1"), token_hash=token, user_id="User1") for token in "ab"]
    devices = [log.do(None, hook).device for hook in hooks]
    log.batches = 0
    post = commands.PostByHook("g-1", "42", "built")
    answers = log.run(*(log.command("User1", post, device=devices[n]) for n in (0, 1, 0, 1)))
    assert [answer.message_id for answer in answers] == [1, 2, 1, 2]
    assert log.batches == 1
    assert [entry.device for entry in log.entries if entry.kind == kinds.NEW] == devices
