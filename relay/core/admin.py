"""What an admin may do on the machine: the control socket's requests, from their table to their answers.

The same whether a relay runs or a command has the file to itself.
"""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from operator import itemgetter
from typing import Any, Protocol

import msgspec
import trio

from relay import __version__
from relay.core import commands, trail
from relay.core.asking import decided
from relay.core.carry import Carry
from relay.core.changes import Hook
from relay.core.clock import Clock
from relay.core.commands import ADMIN, Command
from relay.core.decide import ChatChanged, DeviceChanged, UserChanged
from relay.core.files import Files
from relay.core.hub import Hub
from relay.core.meter import Meter, memory_bytes
from relay.core.service import NO_DEVICE, new_chat_id, new_hook_id
from relay.core.sign_in import SignIn, new_token, token_hash
from relay.core.state import Chat, Device, State, User
from relay.core.subscriber import Subscriber
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.settings import Loaded
from relay.store import queries
from relay.store.database import Connection
from relay.store.entry import Entry
from relay.store.log import Log

WATCHED = 1_000
"""Entries that wait for one who watches; who is slower than that misses some and is told so."""
SIGN_OF_LIFE = 10.0
"""Seconds after which a watcher is told that nothing happened: so it is known whether they are still there."""
SLOWEST = 5
"""Slow readers that a status names."""

Item = Callable[[object], Awaitable[None]]


async def nobody(_item: object) -> None:
    """Take an item that nobody wants."""


class Prune(Protocol):
    """Removes old messages; see `Retention.prune`."""

    async def __call__(self, *, days: int | None, max_bytes: int | None) -> int:
        """Give how many entries were removed."""


class Admin:
    """Users, devices and chats as an admin handles them."""

    def __init__(
        self,
        state: State,
        log: Log,
        hub: Hub,
        reading: Connection,
        clock: Clock,
        meter: Meter,
        lend: Callable[[int], str],
        prune: Prune,
        sign_in: SignIn,
        files: Files,
    ) -> None:
        self.url: str | None = None
        """Where the relay can be reached from this machine, once it listens."""
        self.settings: Loaded | None = None
        """Where the settings in force come from, while a relay runs."""
        self.carry = Carry(state, log, reading, clock, files)
        self._lend = lend
        self._prune = prune
        self._sign_in = sign_in
        self._state = state
        self._log = log
        self._hub = hub
        self._presence = hub.presence
        self._meter = meter
        self._reading = reading
        self._clock = clock

    async def handle(self, name: str, payload: msgspec.Struct, item: Item = nobody) -> object:
        """Do what a request asks and give its answer.

        Args:
            name: its `payloadType`.
            payload: decoded by `control.CONTROL`.
            item: takes what comes before the answer, for requests that give much.

        Raises:
            RelayError: what is wrong, for a person.
        """
        many = _GIVING_MUCH.get(name)
        return await (_HANDLERS[name](self, payload) if many is None else many(self, payload, item))

    async def _decided(self, request: msgspec.Struct, made_up: str = "") -> Any:
        return await decided(self._log, Command(self._clock(), ADMIN, 0, request, made_up=made_up))

    def _user(self, user_id: str) -> User:
        user = self._state.user(user_id)
        if user is None or user.removed:
            raise RelayError.no_user(user_id)
        return user

    def _chat(self, called: str) -> Chat:
        """A group or channel by its id, else by its name."""
        state = self._state
        chat_id = called
        if called not in state.group_keys:
            alike = [
                chat
                for chat in state.chats.values()
                if chat.id and not chat.gone and chat.name.casefold() == called.casefold()
            ]
            chat_id = self._only(alike, called) or called
        key = state.group_keys.get(chat_id)
        if key is None or self._state.chats[key].gone:
            raise RelayError("not_found", f"there is no group or channel {chat_id!r}: `relay chat list` shows all")
        return self._state.chats[key]

    def _chat_id(self, called: str) -> str:
        return self._chat(called).id or ""

    # Users.

    async def add_user(self, request: control.AddUser) -> object:
        """Make a user."""
        return self._user_info(self._state.users[(await self._user_decided(request)).user])

    async def change_user(self, request: control.ChangeUser) -> object:
        """Rename, disable, enable or remove a user."""
        return self._user_info(self._state.users[(await self._user_decided(request)).user])

    async def _user_decided(self, request: msgspec.Struct) -> UserChanged:
        answer = await self._decided(request)
        assert isinstance(answer, UserChanged)
        return answer

    async def list_users(self, _request: control.Empty) -> object:
        """All users, by id."""
        users = sorted(self._state.users.values(), key=lambda user: user.id)
        devices = Counter(device.user for device in self._state.devices.values() if not device.revoked_at)
        return [self._user_info(user, devices[user.key]) for user in users if not user.removed]

    async def show_user(self, request: control.OneUser) -> object:
        """One user."""
        return self._user_info(self._user(request.id))

    def _user_info(self, user: User, devices: int | None = None) -> control.UserInfo:
        if devices is None:
            devices = sum(one.user == user.key and not one.revoked_at for one in self._state.devices.values())
        return control.UserInfo(
            id=user.id,
            name=user.name,
            bot=user.bot,
            admin=user.admin,
            disabled=user.disabled,
            online=self._presence.online(user.key),
            devices=devices,
            chats=len(self._state.chats_of[user.key]),
            created_at=user.created_at,
        )

    # Devices.

    async def add_device(self, request: control.AddDevice) -> object:
        """Make a device and give its token, this once."""
        user = self._user(request.user_id)
        token = new_token()
        answer = await self._decided(commands.AddDevice(user.key, request.label, token_hash(token)))
        assert isinstance(answer, DeviceChanged)
        return control.Token(device_id=answer.device, user_id=user.id, token=token)

    async def list_devices(self, request: control.ListDevices) -> object:
        """The devices that may sign in, of one user or of all."""
        of = None if request.user_id is None else self._user(request.user_id).key
        return [
            self._device_info(device)
            for device in self._state.devices.values()
            if not device.revoked_at and of in (None, device.user)
        ]

    async def revoke_device(self, request: control.RevokeDevice) -> object:
        """Let a device sign in no more; if it is connected it is told so at once."""
        answer = await self._decided(request)
        assert isinstance(answer, DeviceChanged)
        return self._device_info(self._state.devices[answer.device])

    def _device_info(self, device: Device) -> control.DeviceInfo:
        there = self._presence.subscribers.get(device.user, ())
        return control.DeviceInfo(
            device_id=device.key,
            user_id=self._state.users[device.user].id,
            label=device.label,
            created_at=device.created_at,
            revoked_at=device.revoked_at or None,
            last_seen=self._log.cursors.get(device.key, (0, 0))[1] or None,
            online=any(one.device == device.key for one in there),
        )

    async def prune(self, request: control.Prune) -> object:
        """Remove old messages."""
        return control.Pruned(removed=await self._prune(days=request.days, max_bytes=request.max_bytes))

    async def lend(self, request: control.OneUser) -> object:
        """Let a command on this machine talk as a user."""
        if self.url is None:
            raise RelayError("unavailable", "the relay does not listen yet")
        return control.Lent(url=self.url, token=self._lend(self._user(request.id).key))

    async def show_settings(self, _request: control.Empty) -> object:
        """The settings in force."""
        if self.settings is None:
            raise RelayError("unavailable", "no relay runs, and only a running one has settings in force")
        return settings_in_force(self.settings)

    async def show_status(self, _request: control.Empty) -> object:
        """What goes on just now."""
        state, meter, figures = self._state, self._meter, self._log.figures
        there = [one for several in self._presence.subscribers.values() for one in several]
        rates = meter.rates()
        return control.Status(
            version=__version__,
            pid=os.getpid(),
            data=str(meter.data),
            url=self.url,
            uptime=meter.uptime,
            connections=len(there),
            max_connections=self.settings.settings.limits.connections if self.settings else None,
            users=sum(not user.removed for user in state.users.values()),
            users_online=sum(self._presence.online(user) for user in self._presence.subscribers),
            chats=sum(not chat.gone for chat in state.chats.values()),
            messages_per_second=rates.messages,
            deliveries_per_second=rates.deliveries,
            requests_per_second=rates.requests,
            median_lag=meter.lags.percentile(0.5),
            high_lag=meter.lags.percentile(0.99),
            batch_size=rates.batch_size,
            commit_ms=rates.commit,
            write_failing=self._log.failing,
            write_failures=figures.failures,
            outbox_bytes=sum(one.outlet.waiting[0] for one in there),
            slow_readers=self._slow_readers(there),
            last_event=state.seq,
            store_bytes=meter.store_bytes(),
            wal_bytes=meter.wal_bytes(),
            disk_free=meter.free_bytes(),
            disk_seconds_left=meter.seconds_left(),
            memory_bytes=memory_bytes(),
            cpu=rates.cpu,
        )

    def _slow_readers(self, there: Iterable[Subscriber]) -> list[control.SlowReader]:
        """Those for whom most waits."""
        waiting = sorted(((*one.outlet.waiting, one) for one in there), key=itemgetter(0), reverse=True)
        now = trio.current_time()
        return [
            control.SlowReader(
                user_id=self._state.users[one.user].id, device_id=one.device, bytes=size, seconds=now - since
            )
            for size, since, one in waiting[:SLOWEST]
            if size
        ]

    async def list_audit(self, request: control.Audit) -> object:
        """The latest changes to who may be here and who is in what, newest first."""
        actor = None
        if request.actor is not None:
            actor = ADMIN if request.actor == trail.ADMIN_NAME else self._user(request.actor).key
        found: list[control.Happened] = []
        before = request.before or self._state.seq + 1
        while len(found) < request.count:
            entries = await queries.changes(self._reading, before, actor, request.count)
            found += [trail.happened(self._state, one) for one in entries if trail.belongs_in_audit(one)]
            if len(entries) < request.count:
                break
            before = entries[-1].seq
        return found[: request.count]

    async def watch(self, request: control.Watch, item: Item) -> object:
        """Tell what happens until whoever asked goes away."""
        chat = None if request.chat is None else self._any_chat(request.chat)
        sender, receiver = trio.open_memory_channel[Entry](WATCHED)
        missed = 0

        def take(entry: Entry) -> None:
            nonlocal missed
            try:
                if chat is None or entry.chat == chat:
                    sender.send_nowait(entry)
            except trio.WouldBlock:
                missed += 1

        self._hub.watchers.append(take)
        try:
            while True:
                with trio.move_on_after(SIGN_OF_LIFE) as quiet:
                    entry = await receiver.receive()
                if quiet.cancelled_caught:
                    await item(None)
                    continue
                shown = trail.happened(self._state, entry, texts=request.texts)
                if missed:
                    shown, missed = msgspec.structs.replace(shown, missed=missed), 0
                await item(shown)
        finally:
            self._hub.watchers.remove(take)

    async def say(self, request: control.Say) -> object:
        """Send a user's message from the machine itself."""
        user = self._user(request.user_id)
        if user.disabled:
            raise RelayError.forbidden(f"{user.id!r} is disabled: `relay user enable {user.id}` first")
        chat_id = self._chat_of(user, request.chat_id)
        message = requests.New(chat_id=chat_id, client_message_id=request.client_message_id, message=request.message)
        return await decided(self._log, Command(self._clock(), user.key, NO_DEVICE, message))

    def _chat_of(self, user: User, called: str) -> str:
        """The id of the chat that a user means: an id, else the name of one of their groups."""
        state = self._state
        if state.chat_key(user.key, called) is not None or state.user(called) is not None:
            return called
        named = [chat for chat, _ in state.listed(user.key) if chat.id and chat.name.casefold() == called.casefold()]
        return self._only(named, called) or called

    def _only(self, named: list[Chat], called: str) -> str | None:
        if len(named) > 1:
            ids = ", ".join(sorted(chat.id or "" for chat in named))
            raise RelayError.conflict(f"several chats are called {called!r}: say which by its id ({ids})")
        return named[0].id if named else None

    def _any_chat(self, called: str) -> int:
        """The key of a chat by a group's id or name, or by a dialog's two people (`anna~ben`)."""
        state = self._state
        first, _, second = called.partition("~")
        one, other = state.user(first), state.user(second)
        if one is not None and other is not None:
            key = state.chat_key(one.key, other.id)
            if key is None:
                raise RelayError("not_found", f"{one.id} and {other.id} have not written to each other")
            return key
        return self._chat(called).key

    # Signing in.

    async def invite(self, request: control.Invite) -> object:
        """Let a user sign in once, by a link; make the user where that is asked for."""
        if request.new and self._state.user(request.user_id) is None:
            await self._decided(control.AddUser(id=request.user_id, name=request.name))
        return await self._sign_in.invite(ADMIN, user_id=request.user_id, chat_id=request.chat_id)

    async def set_password(self, request: control.SetPassword) -> object:
        """Let a user sign in by a password."""
        await self._sign_in.set_password(request.id, request.password)
        return control.Empty()

    # Hooks.

    async def add_hook(self, request: control.AddHook) -> object:
        """Make a hook: a device of a bot's that may only post to one chat, or is only told of one."""
        state = self._state
        if request.url is not None and not request.url.startswith(("http://", "https://")):
            raise RelayError.bad_field(
                "url", f"{request.url[:64]!r} is no address that begins with http:// or https://"
            )
        chat = None if state.user(request.chat) is not None else self._chat(request.chat)
        bot = await self._bot(request)
        if chat is not None and bot.key not in state.members[chat.key]:
            await self._decided(commands.AddParticipants(chat.id or "", [bot.id]))
        if chat is not None and chat.type == "channel" and request.url is None:
            admins = [state.users[key].id for key, member in state.members[chat.key].items() if member.admin]
            await self._decided(requests.UpdateChat(chat_id=chat.id or "", admins=[*admins, bot.id]))
        token = new_token()
        hook = Hook(
            chat=request.chat if chat is None else chat.id or "",
            url=request.url or "",
            secret=new_token() if request.url else "",
        )
        answer = await self._decided(commands.AddDevice(bot.key, "hook", token_hash(token), hook))
        assert isinstance(answer, DeviceChanged)
        info = self._hook_info(state.devices[answer.device], hook)
        if request.url:
            return msgspec.structs.replace(info, secret=hook.secret)
        return msgspec.structs.replace(info, url=f"{self._sign_in.address()}/hooks/{token}")

    async def _bot(self, request: control.AddHook) -> User:
        if request.user_id is not None:
            return self._user(request.user_id)
        made = await self._user_decided(control.AddUser(id=new_hook_id(), name=request.name, bot=True))
        return self._state.users[made.user]

    async def list_hooks(self, _request: control.Empty) -> object:
        """All hooks that are in use."""
        devices = [device for device in self._state.devices.values() if not device.revoked_at]
        return [self._hook_info(device, device.hook) for device in devices if device.hook is not None]

    def _hook_info(self, device: Device, hook: Hook) -> control.HookInfo:
        return control.HookInfo(
            device_id=device.key,
            user_id=self._state.users[device.user].id,
            chat=hook.chat,
            url=hook.url or None,
            direction="out" if hook.url else "in",
            created_at=device.created_at,
        )

    # Chats.

    async def make_chat(self, request: control.MakeChat) -> object:
        """Make a group or channel."""
        return await self._chat_decided(request, new_chat_id())

    async def add_to_chat(self, request: control.ChatUsers) -> object:
        """Put users into a group or channel."""
        return await self._chat_decided(commands.AddParticipants(self._chat_id(request.id), request.participants))

    async def remove_from_chat(self, request: control.ChatUsers) -> object:
        """Take users out of a group or channel."""
        return await self._chat_decided(commands.RemoveParticipants(self._chat_id(request.id), request.participants))

    async def delete_chat(self, request: control.OneChat) -> object:
        """Delete a group or channel for all who are in it."""
        await self._decided(commands.DeleteChat(self._chat_id(request.id)))
        return control.Empty()

    async def _chat_decided(self, request: msgspec.Struct, made_up: str = "") -> object:
        answer = await self._decided(request, made_up)
        assert isinstance(answer, ChatChanged)
        return self._chat_info(self._state.chats[answer.chat])

    async def list_chats(self, _request: control.Empty) -> object:
        """All groups and channels, by name."""
        chats = [chat for chat in self._state.chats.values() if chat.id is not None and not chat.gone]
        return [self._chat_info(chat) for chat in sorted(chats, key=lambda chat: (chat.name, chat.key))]

    async def show_chat(self, request: control.OneChat) -> object:
        """One group or channel."""
        return self._chat_info(self._chat(request.id))

    def _chat_info(self, chat: Chat) -> control.ChatInfo:
        users = self._state.users
        members = self._state.members[chat.key]
        return control.ChatInfo(
            id=chat.id or "",
            type=chat.type,
            name=chat.name,
            owner=users[chat.owner].id,
            admins=[users[key].id for key, member in members.items() if member.admin],
            participants=[users[key].id for key in members],
            messages=chat.count,
            created_at=chat.created_at,
            last_message_time=chat.newest_at or None,
        )


def settings_in_force(loaded: Loaded) -> list[control.SettingInfo]:
    """Each setting, its value and where that comes from."""
    return [
        control.SettingInfo(
            key=setting.key,
            value=value,
            source=source,
            unit=setting.unit,
            default=setting.default,
            at_start=setting.at_start,
        )
        for setting, value, source in loaded.values()
    ]


_HANDLERS: dict[str, Callable[[Admin, Any], Awaitable[object]]] = {
    "user.add": Admin.add_user,
    "user.list": Admin.list_users,
    "user.show": Admin.show_user,
    "user.change": Admin.change_user,
    "device.add": Admin.add_device,
    "device.list": Admin.list_devices,
    "device.revoke": Admin.revoke_device,
    "bring.user": lambda admin, request: admin.carry.bring_user(request),
    "bring.chat": lambda admin, request: admin.carry.bring_chat(request),
    "bring.file": lambda admin, request: admin.carry.bring_file(request),
    "bring.messages": lambda admin, request: admin.carry.bring_messages(request),
    "bring.end": lambda admin, request: admin.carry.bring_end(request),
    "hook.add": Admin.add_hook,
    "hook.list": Admin.list_hooks,
    "chat.create": Admin.make_chat,
    "chat.list": Admin.list_chats,
    "chat.show": Admin.show_chat,
    "chat.add": Admin.add_to_chat,
    "chat.remove": Admin.remove_from_chat,
    "chat.delete": Admin.delete_chat,
    "config.show": Admin.show_settings,
    "status.show": Admin.show_status,
    "say": Admin.say,
    "audit.list": Admin.list_audit,
    "lend": Admin.lend,
    "prune": Admin.prune,
    "invite": Admin.invite,
    "user.password": Admin.set_password,
}
"""Who handles what of `control.CONTROL`."""
_GIVING_MUCH: dict[str, Callable[[Admin, Any, Item], Awaitable[object]]] = {
    "watch": Admin.watch,
    "export": lambda admin, request, item: admin.carry.export(request, item),
}
"""Who handles those that send items first."""
