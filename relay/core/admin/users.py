"""The admin requests about users, their devices and their passwords."""

from collections import Counter
from collections.abc import Callable

from relay.core.admin.lookup import Lookup
from relay.core.admin.status import Runtime
from relay.core.auth.sign_in import SignIn
from relay.core.auth.tokens import new_token, token_hash
from relay.core.delivery.presence import Presence
from relay.core.model.entities import Device, User
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.submit import AdminCommands
from relay.keys import UserKey
from relay.outcomes import ChangedUser, Decidable
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.log.schedule import Cursors


class UserAdmin:
    """Creates, changes and lists users and devices."""

    def __init__(
        self,
        state: State,
        submit: AdminCommands,
        presence: Presence,
        cursors: Cursors,
        sign_in: SignIn,
        issue_temporary_token: Callable[[UserKey], str],
        runtime: Runtime,
    ) -> None:
        self._state = state
        self._find = Lookup(state)
        self._submit = submit
        self._presence = presence
        self._cursors = cursors
        self._sign_in = sign_in
        self._issue_temporary_token = issue_temporary_token
        self._runtime = runtime

    # Users.

    async def add_user(self, request: control.AddUser) -> control.UserInfo:
        """Create a user."""
        return self._user_info(await self._changed(request))

    async def change_user(self, request: control.ChangeUser) -> control.UserInfo:
        """Rename, disable, enable or remove a user."""
        return self._user_info(await self._changed(request))

    async def _changed(self, request: Decidable[ChangedUser]) -> User:
        changed = await self._submit(request)
        return self._state.users[changed.user]

    async def list_users(self, _request: control.Empty) -> list[control.UserInfo]:
        """List all users, by id."""
        users = sorted(self._state.users.values(), key=lambda user: user.id)
        devices = Counter(device.user for device in self._state.devices.values() if not device.revoked_at)
        return [self._user_info(user, devices[user.key]) for user in users if not user.removed]

    async def show_user(self, request: control.OneUser) -> control.UserInfo:
        """Show one user."""
        return self._user_info(self._find.user(request.id))

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

    async def add_device(self, request: control.AddDeviceRequest) -> control.Token:
        """Create a device, and return its token, which is shown only this once."""
        user = self._find.user(request.user_id)
        token = new_token()
        added = await self._submit(commands.AddDevice(user.key, request.label, token_hash(token)))
        return control.Token(device_id=added.device, user_id=user.id, token=token)

    async def list_devices(self, request: control.ListDevices) -> list[control.DeviceInfo]:
        """List the devices that are not revoked, of one user or of all."""
        of = None if request.user_id is None else self._find.user(request.user_id).key
        return [
            self._device_info(device)
            for device in self._state.devices.values()
            if not device.revoked_at and of in (None, device.user)
        ]

    async def revoke_device(self, request: control.RevokeDevice) -> control.DeviceInfo:
        """Revoke a device; its connection ends at once."""
        revoked = await self._submit(request)
        return self._device_info(self._state.devices[revoked.device])

    async def revoke_devices(self, request: control.RevokeDevicesRequest) -> control.Revoked:
        """Revoke all devices of a user."""
        revoked = await self._submit(commands.RevokeDevices(request.user_id))
        return control.Revoked(count=revoked.number)

    def _device_info(self, device: Device) -> control.DeviceInfo:
        there = self._presence.subscribers.get(device.user, ())
        return control.DeviceInfo(
            device_id=device.key,
            user_id=self._state.users[device.user].id,
            label=device.label,
            created_at=device.created_at,
            revoked_at=device.revoked_at or None,
            last_seen=self._cursors.get(device.key, (0, 0))[1] or None,
            online=any(one.device == device.key for one in there),
        )

    # Signing in.

    async def set_password(self, request: control.SetPasswordRequest) -> control.Revoked:
        """Set or remove the password of a user."""
        count = await self._sign_in.set_password(request.id, request.password, sign_out=request.sign_out)
        return control.Revoked(count=count)

    async def issue_temporary_token(self, request: control.TemporaryTokenRequest) -> control.TemporaryToken:
        """Issue a temporary token for a command on this machine that acts as a user; find the chat that it names.

        Raises:
            RelayError: there is no such user or chat, the user is disabled or not in the chat.
        """
        if self._runtime.plain_url is None:
            raise RelayError("unavailable", "the relay does not listen yet")
        user = self._find.enabled_user(request.id)
        chat_id = None if request.chat is None else self._find.chat_of(user, request.chat)
        return control.TemporaryToken(
            url=self._runtime.plain_url, token=self._issue_temporary_token(user.key), chat_id=chat_id
        )
