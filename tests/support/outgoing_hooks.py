"""A relay with outgoing hooks and a receiver in memory."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from relay.core.model.changes import Hook
from relay.core.submit import submit
from relay.keys import NO_DEVICE, DeviceKey
from relay.net.webhooks import outgoing as hooks
from relay.protocol import control, requests
from relay.store.command import Command
from tests.support.sessions import T0, House, house

if TYPE_CHECKING:
    from relay.net.webhooks.post import PostFailed


class Address:
    """The receiver of all outgoing hooks: accepts posts, or refuses them as scripted."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.skipped: list[int] = []
        self.tries = 0
        self.refuses: Callable[[dict[str, Any]], PostFailed | None] = lambda _event: None
        self.answers: Callable[[dict[str, Any]], Awaitable[None]] | None = None
        self.hangs = False
        self.cut_off = 0

    async def post(self, _hook: Hook, payload: bytes, event_id: int, _at: int, skipped: int) -> None:
        self.tries += 1
        event = msgspec.json.decode(payload)
        assert event["id"] == event_id
        if self.hangs:
            try:
                await trio.sleep_forever()
            finally:
                self.cut_off += 1
        error = self.refuses(event)
        if error is not None:
            raise error
        self.taken.append(event)
        self.skipped.append(skipped)
        if self.answers is not None:
            await self.answers(event)

    @property
    def texts(self) -> list[str]:
        """The messages, in the order in which they were accepted."""
        return [event["payload"].get("message", "") for event in self.taken]


class Place:
    """A relay with the group `ops` of anna, ben and others."""

    def __init__(self, house: House, ops: str) -> None:
        self.house = house
        self.relay = house.relay
        self.ops = ops

    async def ask(self, what: str, request: msgspec.Struct) -> Any:
        return await self.relay.admin.handle(what, request)

    async def say(self, who: str, chat: str, text: str, *, device: DeviceKey = NO_DEVICE) -> Any:
        user = self.relay.state.user(who)
        assert user is not None
        message = requests.New(chat_id=chat, client_message_id=str(uuid.uuid4()), message=text)
        return await submit(self.relay.log, Command(T0, user.key, device, message))

    async def hook(self, chat: str = "", **more: Any) -> Any:
        """Add an outgoing hook."""
        return await self.ask("hook.add", control.AddHook(chat=chat or self.ops, url="http://hook.example/", **more))

    async def hook_in(self, **more: Any) -> Any:
        """Add a hook to post through."""
        return await self.ask("hook.add", control.AddHook(chat=self.ops, **more))


async def settled() -> None:
    """Wait until the store and the hooks are idle."""
    for _ in range(4):
        await wait_all_tasks_blocked(0.02)


async def until(what: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not what():
            await trio.sleep(0.005)


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Place]:
    async with house(tmp_path, "anna", "ben", "carol") as relay, trio.open_nursery() as nursery:
        made = await relay.relay.admin.handle(
            "chat.create", control.MakeChat(name="ops", owner="anna", participants=["ben"])
        )
        assert isinstance(made, control.ChatInfo)
        nursery.start_soon(hooks.OutgoingHooks(relay.relay).run)
        await wait_all_tasks_blocked(0.01)
        yield Place(relay, made.id)
        nursery.cancel_scope.cancel()
