"""Signs users in by an invite, by a password or, on an open relay, by a name: each gets a token.

The relay stores only hashes of tokens and invite codes. The limits on guessing are here. No sockets.
"""

import re
import secrets
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import trio

from relay.core.auth.failures import FailedSignIns
from relay.core.auth.guesses import PAIR_WAIT_SECONDS, Guesses
from relay.core.auth.passwords import Argon2, Passwords, check_new
from relay.core.auth.throttle import SITE_BITS, Throttle, rate_limit_key
from relay.core.auth.tokens import device_proof, new_token, proven_device, token_hash
from relay.core.clock.clock import Clock
from relay.core.model.entities import User
from relay.core.model.state import State, typed_id
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.core.submit import submit
from relay.core.tuning import SignInTuning
from relay.keys import NO_DEVICE, DeviceKey, UserKey
from relay.outcomes import Decidable, SignedIn
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Invitation
from relay.settings import AuthSection
from relay.store.command import Command
from relay.store.log.log import Log

SIGN_UP_WAIT_SECONDS = 60.0
"""Maximum seconds that an address waits before it makes one more user on an open relay."""
INVITE_WAIT_SECONDS, INVITE_FREE_FAILURES = 10.0, 20
"""Maximum seconds of wait after wrong invites, and how many of them are free. Codes have 128 bits, so none is guessed;
a right one never waits."""
MAX_PROVEN = 8_192
"""Maximum remembered networks with users who signed in from there; the least recent is dropped."""
HOUR_MS = 3_600_000

CONNECTED = "a connection"
"""Placeholder for the address of a signed-in user."""
WRONG = "the user id or the password is wrong"


def new_code() -> str:
    """Make an invite's code: 128 random bits, short enough for a small QR code."""
    return secrets.token_urlsafe(16)


def id_for(name: str) -> str:
    """Make a user id from a name: without the characters that an id may not contain (PROTOCOL.md, section 3)."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", ".", plain).strip(".")[:48] or "guest"


class Entered(NamedTuple):
    """A new sign-in: its token, which is shown only this once."""

    token: str
    user_id: str
    chat_id: str | None = None


Address = Callable[[], str]
"""Returns the relay's current address."""


class _Counted(NamedTuple):
    """An attempt at a password. It counts as a failure before the check, so that parallel attempts are limited too."""

    wait: float
    """Seconds until the password may be checked; 0.0 if the attempt was counted."""
    give_back: Callable[[], None]

    @contextmanager
    def unless_checked(self) -> Iterator[None]:
        """Take back the attempt if the check ends without an answer: no thread, no room, or the client has gone."""
        try:
            yield
        except BaseException:
            self.give_back()
            raise


class SignIn:
    """The ways to sign in."""

    def __init__(
        self,
        state: State,
        log: Log,
        clock: Clock,
        settings: AuthSection,
        tuning: SignInTuning,
        address: Address = str,
    ) -> None:
        """Begin without failures.

        Args:
            state: the users and their devices, and the invites.
            log: takes the commands.
            clock: Unix milliseconds.
            settings: the ways to sign in that are allowed.
            tuning: the cost of a password hash, and how many people may sign up by name.
            address: returns the relay's address for browsers, for links: `http://192.168.1.5:8765`.
        """
        self.address = address
        self.passwords = Passwords(Argon2(tuning.hash_memory_kib, tuning.hash_passes))
        self._state = state
        self._log = log
        self._clock = clock
        self._settings = settings
        self.refusals = FailedSignIns()
        self._guesses = Guesses()
        self._where_known = Throttle(PAIR_WAIT_SECONDS)
        """Failures from networks and devices where the user signed in before, by network or device and user."""
        self._proven: OrderedDict[str, None] = OrderedDict()
        """Networks and the users who signed in from there."""
        self._wrong_invites = Throttle(INVITE_WAIT_SECONDS, free=INVITE_FREE_FAILURES)
        self._signed_up = Throttle(SIGN_UP_WAIT_SECONDS)
        self._signed_up_near = Throttle(SIGN_UP_WAIT_SECONDS, free=tuning.network_free_sign_ups)
        """Users made, by address and by IPv6 network: nobody may fill an open relay with users."""

    def proof(self, token: str) -> str:
        """Make the proof that the device of a valid token was signed in; empty for a temporary token."""
        device = self._state.device_keys.get(token_hash(token))
        return "" if device is None else device_proof(self._state.devices[device])

    def ways(self) -> list[str]:
        """Name the ways to sign in that a page may offer."""
        ways = ["invite", "password"]
        if self._settings.open:
            ways.append("open")
        return ways

    async def by_invite(self, code: str, label: str, address: str) -> Entered:
        """Sign a user in by an invite, which uses it up.

        Args:
            code: the invite's code.
            label: a name for the new device.
            address: the client's address.

        Raises:
            RelayError: `unauthorized`, or `rate_limited` after too many failures.
        """
        invite = self._state.invites.get(token_hash(code))
        if invite is None:
            wait = self._wrong_invites.wait(rate_limit_key(address), trio.current_time())
            self._refuse_early(wait, address, None)
        request = commands.UseInvite(token_hash(code), label, token_hash(token := new_token()))
        generated_id = id_for(invite.name) if invite is not None else ""
        try:
            return await self._enter(request, token, generated_id)
        except RelayError as error:
            if error.error.code == "unauthorized":
                self._wrong_invites.failed(rate_limit_key(address), trio.current_time())
                known = None if invite is None else self._state.users.get(invite.user)
                self.refusals.note(address, "invite", None if known is None else known.id)
            raise

    async def by_name(self, name: str, label: str, address: str) -> Entered:
        """Make a user with a name of their choice, if the relay is open.

        Args:
            name: the name that they choose; their id is made from it.
            label: a name for the new device.
            address: the client's address.

        Raises:
            RelayError: `forbidden`, the relay is not open; `conflict`, the name is taken; `rate_limited`.
        """
        if not self._settings.open:
            raise RelayError.forbidden("this relay is not open: an invite is needed")
        if not name.strip():
            raise RelayError.bad_field("name", "a name is needed")
        now = trio.current_time()
        counted = ((self._signed_up, address), (self._signed_up_near, rate_limit_key(address)))
        wait = max(attempts.wait(who, now) for attempts, who in counted)
        if wait > 0:
            raise RelayError.rate_limited(int(wait * 1_000) + 1)
        for attempts, who in counted:
            attempts.failed(who, now)
        request = commands.SignUp(name, label, token_hash(token := new_token()))
        try:
            return await self._enter(request, token, id_for(name))
        except RelayError:
            # Count only users that were made: a taken name must not delay the next person behind the same address.
            for attempts, who in counted:
                attempts.forgive(who)
            raise

    async def by_password(self, user_id: str, password: str, label: str, address: str, *, proof: str = "") -> Entered:
        """Sign a user in by their password.

        Args:
            user_id: the user's id, as it was typed.
            password: what was typed.
            label: a name for the new device.
            address: the client's address.
            proof: shows that they were signed in from this device before (`tokens.device_proof`).

        Raises:
            RelayError: `unauthorized`, or `rate_limited` after too many failures.
        """
        user = self._state.user_typed(user_id.strip())
        site = rate_limit_key(address, SITE_BITS)
        own_device = None if user is None else self._own_device(user, proof)
        known_at = None if user is None else own_device or self._known_network(user, address)
        if known_at is not None:
            counted = self._count_known(known_at)
        else:
            # Treat an unknown id like a known one, so that an attempt does not show who exists.
            guessed = typed_id(user_id.strip()) if user is None else user.key
            counted = self._count_guess(guessed, site)
        self._refuse_early(counted.wait, address, None if user is None else user.id)
        with counted.unless_checked():
            if user is not None and own_device is not None:
                checked = await self.passwords.prove(user, password, user.key, trusted=True)
            else:
                checked = await self.passwords.prove(user, password, site)
        if checked is None or user is None or user.disabled or user.removed:
            raise self._wrong(address, user)
        self._succeeded(user, address, known_at)
        request = commands.SignInByPassword(checked, label, token_hash(token := new_token()))
        try:
            await submit(self._log, Command(self._clock(), user.key, NO_DEVICE, request))
        except RelayError as error:
            if error.error.code not in ("unauthorized", "forbidden"):
                raise
            # The password was changed or the user disabled meanwhile.
            raise self._wrong(address, user) from None
        return Entered(token, user.id)

    def _wrong(self, address: str, user: User | None) -> RelayError:
        """Note a wrong password, and return the refusal, which does not reveal whether the user exists."""
        self.refusals.note(address, "password", None if user is None else user.id)
        return RelayError("unauthorized", WRONG)

    async def _enter(self, request: Decidable[SignedIn], token: str, generated_id: str) -> Entered:
        entered = await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, request, generated_id=generated_id))
        return Entered(token, self._state.users[entered.user].id, entered.chat_id)

    def _own_device(self, user: User, proof: str) -> str | None:
        """Name the device from which this user signed in before.

        The device is tried before the network, because others may guess from the same network.
        """
        device = proven_device(self._state.devices, proof)
        return f"device {device.key}" if device is not None and device.user == user.key else None

    def _known_network(self, user: User, address: str) -> str | None:
        """Name the network from which this user signed in before; None if this is not one."""
        pair = f"{rate_limit_key(address)} {user.key}"
        return pair if pair in self._proven else None

    def _count_known(self, known_at: str) -> "_Counted":
        """Count an attempt from a network or device where the user signed in before as a failure."""
        now = trio.current_time()
        wait = self._where_known.wait(known_at, now)
        if wait == 0:
            self._where_known.failed(known_at, now)
        return _Counted(wait, partial(self._where_known.forgive, known_at))

    def _count_guess(self, who: UserKey | str, network: str) -> "_Counted":
        """Count an attempt from elsewhere as a failure."""
        attempt = self._guesses.attempt(who, network, trio.current_time())
        return _Counted(attempt.wait, partial(self._guesses.give_back, who, network, attempt))

    def _succeeded(self, user: User, address: str, known_at: str | None) -> None:
        """Forget this user's failures here, and remember the network as known to them."""
        if known_at is not None:
            self._where_known.succeeded(known_at)
        self._guesses.succeeded(user.key, rate_limit_key(address, SITE_BITS))
        pair = f"{rate_limit_key(address)} {user.key}"
        self._proven[pair] = None
        self._proven.move_to_end(pair)
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)

    def _refuse_early(self, wait: float, address: str, user_id: str | None) -> None:
        if wait > 0:
            self.refusals.note(address, "wait", user_id)
            raise RelayError.rate_limited(int(wait * 1_000) + 1)

    # Invites.

    async def invite(
        self,
        by: UserKey,
        device: DeviceKey = NO_DEVICE,
        *,
        user_id: str | None = None,
        name: str | None = None,
        chat_id: str | None = None,
    ) -> Invitation:
        """Make an invite.

        Args:
            by: the user who invites, `ADMIN` for an admin on the machine.
            device: the device they use.
            user_id: the invited user; None for a person who is not a user yet.
            name: the name of a person who is not a user yet.
            chat_id: the chat that they join.

        Raises:
            RelayError: they may not invite, or the user or chat does not exist.
        """
        # By the log's time, as in the check: it does not go back when the machine's clock is set back.
        now = max(self._clock(), self._state.at)
        code = new_code()
        expires_at = now + round(self._settings.invite_hours * HOUR_MS)
        request = commands.MakeInvite(
            code_hash=token_hash(code), expires_at=expires_at, user_id=user_id, name=name, chat_id=chat_id
        )
        await submit(self._log, Command(now, by, device, request))
        # A browser does not send a fragment, so the code reaches no log.
        url = f"{self.address()}/#invite={code}"
        return Invitation(url=url, code=code, expires_at=expires_at, qr=qr(url))

    async def set_password(self, user_id: str, password: str, *, sign_out: bool = False) -> int:
        """Set a user's password as an admin; an empty one removes it.

        Args:
            user_id: the user's id.
            password: the new password.
            sign_out: whether their devices have to sign in again.

        Returns:
            How many devices were signed out.

        Raises:
            RelayError: the user does not exist, or the password is not good enough.
        """
        user = self._state.user(user_id)
        if password and user is not None:
            check_new(password, user.id, user.name)
        hashed = await self.passwords.hash(password, ADMIN) if password else ""
        request = commands.SetPassword(user_id, hashed, sign_out=sign_out)
        signed_out = await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, request))
        return signed_out.number

    async def change_password(
        self, key: UserKey, device: DeviceKey, old: str | None, new: str, *, sign_out_others: bool
    ) -> int:
        """Change a user's own password; the old one is checked first, if there is one.

        Args:
            key: the user's key.
            device: the device they use, which stays signed in.
            old: the current password.
            new: the new password.
            sign_out_others: whether their other devices have to sign in again.

        Returns:
            How many devices were signed out.

        Raises:
            RelayError: `unauthorized`, the old one is wrong; `rate_limited` after too many failures; `bad_request`, the
                new one is not good enough.
        """
        user = self._state.users[key]
        check_new(new, user.id, user.name)
        if user.password:
            # Counted per device, so that guesses from elsewhere do not keep users from changing their password.
            known_at = f"device {device}" if device != NO_DEVICE else f"user {key}"
            counted = self._count_known(known_at)
            self._refuse_early(counted.wait, CONNECTED, user.id)
            with counted.unless_checked():
                checked = await self.passwords.prove(user, old or "", key, trusted=True)
            if checked is None:
                self.refusals.note(CONNECTED, "old", user.id)
                raise RelayError("unauthorized", "old: this is not the current password")
            self._where_known.succeeded(known_at)
        else:
            checked = self.passwords.nothing_to_prove(user)
        request = commands.ChangePassword(checked, await self.passwords.hash(new, key), sign_out=sign_out_others)
        signed_out = await submit(self._log, Command(self._clock(), key, device, request))
        return signed_out.number

    async def sign_out(self, user: UserKey, device: DeviceKey) -> None:
        """Revoke a device; its connection ends at once."""
        request = control.RevokeDevice(device_id=device)
        await submit(self._log, Command(self._clock(), user, device, request))


def qr(text: str) -> list[str]:
    """Make a QR code: rows of modules, 1 for dark, without the quiet zone around it."""
    import segno

    code = segno.make_qr(text, error="m")
    return ["".join("1" if module else "0" for module in row) for row in code.matrix]
