"""The admin requests about hooks: programs that post into one chat (incoming), or get its events (outgoing)."""

import msgspec

from relay.core.admin.lookup import Lookup
from relay.core.admin.status import Runtime
from relay.core.auth.sign_in import SignIn
from relay.core.auth.tokens import new_token, token_hash
from relay.core.clock.clock import Clock
from relay.core.hooks.hook_rights import problem
from relay.core.model.addresses import without_password
from relay.core.model.changes import Hook
from relay.core.model.entities import Device
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.service.ids import new_hook_id
from relay.core.submit import AdminCommands
from relay.keys import DeviceKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.log.log import Log
from relay.unicode import addresses


class HookAdmin:
    """Creates, lists and removes hooks. A hook is a device of a bot or a user."""

    def __init__(
        self, state: State, submit: AdminCommands, sign_in: SignIn, log: Log, clock: Clock, runtime: Runtime
    ) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._runtime = runtime
        self._find = Lookup(state)
        self._submit = submit
        self._sign_in = sign_in

    async def add(self, request: control.AddHook) -> control.HookInfo:
        """Create a hook.

        Raises:
            RelayError: the chat or user does not exist; or the named user is not in the chat or may not write there,
                and the admin did not ask to change that (`add`).
        """
        state = self._state
        if request.url is not None:
            _check_address(request.url)
        to_person = state.user(request.chat) is not None
        token = new_token()
        hook = Hook(
            chat=request.chat if to_person else self._find.chat_id(request.chat),
            url=request.url or "",
            secret=new_token() if request.url else "",
        )
        added = await self._submit(
            commands.MakeHook(
                hook=hook, token_hash=token_hash(token), user_id=request.user_id, name=request.name, join=request.add
            ),
            new_hook_id(),
        )
        if request.url:
            # Events are posted from here on, even if no relay is running yet.
            self._log.keep_cursor(added.device, added.seq, self._clock())
        info = self._info(state.devices[added.device], hook)
        if request.url:
            return msgspec.structs.replace(info, secret=hook.secret)
        return msgspec.structs.replace(info, url=f"{self._sign_in.address()}/hooks/{token}")

    async def list_all(self, _request: control.Empty) -> list[control.HookInfo]:
        """List all hooks that are not removed."""
        devices = [device for device in self._state.devices.values() if not device.revoked_at]
        return [self._info(device, device.hook) for device in devices if device.hook is not None]

    async def remove(self, request: control.RemoveHook) -> control.HookInfo:
        """Remove a hook; its bot and its messages stay.

        Raises:
            RelayError: `not_found`, no hook has this number.
        """
        device = self._state.devices.get(DeviceKey(request.device_id))
        if device is None or device.hook is None or device.revoked_at:
            raise RelayError("not_found", f"there is no hook {request.device_id}: `relay hook list` shows all")
        await self._submit(control.RevokeDevice(device_id=device.key))
        return self._info(device, device.hook)

    def _info(self, device: Device, hook: Hook) -> control.HookInfo:
        return control.HookInfo(
            device_id=device.key,
            user_id=self._state.users[device.user].id,
            name=self._state.users[device.user].name,
            chat=hook.chat,
            url=without_password(hook.url) or None,
            direction="out" if hook.url else "in",
            created_at=device.created_at,
            problem=None if device.revoked_at else self._problem(device),
        )

    def _problem(self, device: Device) -> str | None:
        return problem(self._state, device) or self._runtime.hooks.get(device.key)


def _check_address(url: str) -> None:
    """Check that a URL can be posted to.

    Raises:
        RelayError: it is not a usable http or https URL.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise RelayError.bad_field("url", f"{url[:64]!r} is not an address: it should begin with http:// or https://")
    address = addresses.parse(url)
    if address is None or address.port == "0" or not url.isascii():
        raise RelayError.bad_field(
            "url",
            f"{without_password(url)[:64]!r} cannot be posted to: a host, a port up to 65535 and plain letters are "
            "expected, others as in xn--bcher-kva.example and %20",
        )
