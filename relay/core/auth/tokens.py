"""Tokens: the ones that devices sign in with, and temporary ones for commands on this machine.

The store keeps the SHA-256 of a device's token. A temporary token is in memory only and belongs to no device.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

import trio

from relay.core.clock.clock import RelayClock
from relay.core.model.entities import Device
from relay.core.model.state import State
from relay.keys import NO_DEVICE, NO_USER, DeviceKey, Seconds, UnixMs, UserKey
from relay.settings import AuthSection
from relay.store.log.log import Log

TEMPORARY_SECONDS = 86_400.0
"""Seconds for which a temporary token is valid."""
MAX_DIGITS = 20
"""Digits of a device's number in a proof."""
DAY_MS = 86_400_000
HOUR_MS = DAY_MS // 24


def token_hash(token: str) -> str:
    """Hash a token or an invite's code as the store keeps it: SHA-256, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Make a token: 256 random bits."""
    return secrets.token_urlsafe(32)


def device_proof(device: Device) -> str:
    """Make the proof that a device was signed in once. It signs no one in, and never expires."""
    return f"{device.key}.{token_hash(f'proof {device.token_hash}')}"


def proven_device(devices: Mapping[DeviceKey, Device], proof: str) -> Device | None:
    """Find the device, revoked or not, that a proof is for. Hooks do not count."""
    number = proof.partition(".")[0]
    device = devices.get(DeviceKey(int(number))) if number.isdecimal() and len(number) < MAX_DIGITS else None
    if device is None or device.hook is not None:
        return None
    return device if hmac.compare_digest(device_proof(device).encode(), proof.encode()) else None


class Tokens:
    """All valid tokens, and the user that each one signs in."""

    def __init__(self, state: State, log: Log, clock: RelayClock, settings: AuthSection, most_temporary: int) -> None:
        """Begin without temporary tokens.

        Args:
            state: the users and their devices.
            log: knows when each device was last connected.
            clock: Unix milliseconds; knows which stamps were too early.
            settings: after how many days a device has to sign in again.
            most_temporary: maximum temporary tokens; beyond it the oldest are dropped.
        """
        self._most_temporary = most_temporary
        self._state = state
        self._log = log
        self._clock = clock
        self._settings = settings
        self._temporary: dict[str, tuple[UserKey, Seconds]] = {}
        """User and expiry (trio's time) by the token's hash."""
        self._last_sign_in: dict[DeviceKey, UnixMs] = {}
        """When each device last signed in since the start, Unix milliseconds."""

    def authenticate(self, token: str) -> tuple[UserKey, DeviceKey] | None:
        """Find the user and device of a token.

        Returns:
            The keys of user and device (`NO_DEVICE` for a temporary token); None if the token is not valid.
        """
        hashed = token_hash(token)
        state = self._state
        device = state.device_keys.get(hashed)
        if device is not None:
            if state.devices[device].hook is not None or self._is_unused(device):
                return None
            user = state.users[state.devices[device].user]
        else:
            user_key, expires_at = self._temporary.get(hashed, (NO_USER, 0.0))
            if expires_at < trio.current_time():
                return None
            user, device = state.users[user_key], NO_DEVICE
        if user.disabled or user.removed:
            return None
        if device != NO_DEVICE and self._settings.device_days:
            self._note_use(device)
        return user.key, device

    def issue_temporary(self, user: UserKey) -> str:
        """Make a token for a command on this machine that acts as a user. It is kept in memory only."""
        now = trio.current_time()
        self._temporary = {hashed: issued for hashed, issued in self._temporary.items() if issued[1] > now}
        while len(self._temporary) >= self._most_temporary:
            del self._temporary[next(iter(self._temporary))]
        token = new_token()
        self._temporary[token_hash(token)] = (user, now + TEMPORARY_SECONDS)
        return token

    def _is_unused(self, device: DeviceKey) -> bool:
        """Whether a device was away so long that it has to sign in again (`auth.device_days`).

        Nothing is written, so a clock that was wrong for a while signs no device out for good.
        """
        days = self._settings.device_days
        if not days:
            return False
        now = self._clock()
        last = max(self._state.devices[device].created_at, self._log.cursors.get(device, (0, 0))[1])
        return now - self._clock.made_at(max(last, self._last_sign_in.get(device, 0))) > days * DAY_MS

    def _note_use(self, device: DeviceKey) -> None:
        now = self._last_sign_in[device] = self._clock()
        cursor = self._log.cursors.get(device)
        if cursor is not None and now - cursor[1] > HOUR_MS:
            self._log.keep_cursor(device, cursor[0], now)
