"""What an admin may do on the machine: the control socket's requests, from their table to their answers.

The same whether a relay runs or a command has the file to itself.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import trio

from relay.core import commands
from relay.core.clock import Clock
from relay.core.commands import ADMIN, Command
from relay.core.decide import ChatChanged, DeviceChanged, UserChanged
from relay.core.presence import Presence
from relay.core.service import new_chat_id, new_token, token_hash
from relay.core.state import Chat, Device, State, User
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.log import Log


async def decided(log: Log, command: Command) -> Any:
    """Append a command and wait for its answer.

    Raises:
        RelayError: it was refused, or could not be written.
    """
    answers: list[object] = []
    done = trio.Event()

    def answer(payload: object) -> None:
        answers.append(payload)
        done.set()

    log.append(command, answer)
    await done.wait()
    (payload,) = answers
    if isinstance(payload, RelayError):
        raise payload
    return payload


class Prune(Protocol):
    """Removes old messages; see `Retention.prune`."""

    async def __call__(self, *, days: int | None, max_bytes: int | None) -> int:
        """Give how many entries were removed."""


class Admin:
    """Users, devices and chats as an admin handles them."""

    def __init__(
        self, state: State, log: Log, presence: Presence, clock: Clock, lend: Callable[[int], str], prune: Prune
    ) -> None:
        self.url: str | None = None
        """Where the relay can be reached from this machine, once it listens."""
        self._lend = lend
        self._prune = prune
        self._state = state
        self._log = log
        self._presence = presence
        self._clock = clock

    async def handle(self, name: str, payload: msgspec.Struct) -> object:
        """Do what a request asks and give its answer.

        Args:
            name: its `payloadType`.
            payload: decoded by `control.CONTROL`.

        Raises:
            RelayError: what is wrong, for a person.
        """
        return await _HANDLERS[name](self, payload)

    async def _decided(self, request: msgspec.Struct, made_up: str = "") -> Any:
        return await decided(self._log, Command(self._clock(), ADMIN, 0, request, made_up=made_up))

    def _user(self, user_id: str) -> User:
        user = self._state.user(user_id)
        if user is None or user.removed:
            raise RelayError.no_user(user_id)
        return user

    def _chat(self, chat_id: str) -> Chat:
        key = self._state.group_keys.get(chat_id)
        if key is None or self._state.chats[key].gone:
            raise RelayError("not_found", f"there is no group or channel {chat_id!r}: `relay chat list` shows all")
        return self._state.chats[key]

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
        return [self._user_info(user) for user in users if not user.removed]

    async def show_user(self, request: control.OneUser) -> object:
        """One user."""
        return self._user_info(self._user(request.id))

    def _user_info(self, user: User) -> control.UserInfo:
        devices = [d for d in self._state.devices.values() if d.user == user.key and not d.revoked_at]
        return control.UserInfo(
            id=user.id,
            name=user.name,
            bot=user.bot,
            admin=user.admin,
            disabled=user.disabled,
            online=self._presence.online(user.key),
            devices=len(devices),
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

    # Chats.

    async def make_chat(self, request: control.MakeChat) -> object:
        """Make a group or channel."""
        return await self._chat_decided(request, new_chat_id())

    async def add_to_chat(self, request: control.ChatUsers) -> object:
        """Put users into a group or channel."""
        return await self._chat_decided(commands.AddParticipants(request.id, request.participants))

    async def remove_from_chat(self, request: control.ChatUsers) -> object:
        """Take users out of a group or channel."""
        return await self._chat_decided(commands.RemoveParticipants(request.id, request.participants))

    async def delete_chat(self, request: control.OneChat) -> object:
        """Delete a group or channel for all who are in it."""
        await self._decided(commands.DeleteChat(request.id))
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


_HANDLERS: dict[str, Callable[[Admin, Any], Awaitable[object]]] = {
    "user.add": Admin.add_user,
    "user.list": Admin.list_users,
    "user.show": Admin.show_user,
    "user.change": Admin.change_user,
    "device.add": Admin.add_device,
    "device.list": Admin.list_devices,
    "device.revoke": Admin.revoke_device,
    "chat.create": Admin.make_chat,
    "chat.list": Admin.list_chats,
    "chat.show": Admin.show_chat,
    "chat.add": Admin.add_to_chat,
    "chat.remove": Admin.remove_from_chat,
    "chat.delete": Admin.delete_chat,
    "lend": Admin.lend,
    "prune": Admin.prune,
}
"""Who handles what of `control.CONTROL`."""
