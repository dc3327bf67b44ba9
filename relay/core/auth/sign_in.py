"""Who comes in, and by what: an invite, a password, or a name where the relay is open. Gives them a token.

Of tokens and invites' codes the relay keeps hashes only. How often one may guess is limited here. No sockets.
"""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import trio

from relay.core.auth.failures import FailedSignIns
from relay.core.auth.passwords import Passwords, check_new
from relay.core.auth.throttle import Throttle, network
from relay.core.clock.clock import Clock
from relay.core.model.entities import User
from relay.core.model.state import State
from relay.core.rules import ChangedDevice, DevicesRevoked, SignedIn, commands
from relay.core.rules.commands import ADMIN, Command
from relay.core.rules.submit import submit
from relay.keys import UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Invitation
from relay.settings import AuthSection
from relay.store.log.log import Log

PAIR_WAIT = 900.0
"""The longest that an address has to wait after its failures to guess one user's password, in seconds."""
USER_WAIT = 60.0
"""The same for the user whom somebody guesses at: a guesser must not be able to lock them out for long."""
ADDRESS_WAIT, ADDRESS_FREE = 60.0, 50
"""The same for an address that guesses at many users, and how many failures are free: an office may be behind it."""
NEAR_FREE = 200
"""How many users may be made from one network of IPv6 before the next ones wait: all of a camp are in the same one."""
INVITE_WAIT, INVITE_FREE = 10.0, 20
"""The same for wrong invites. They have 128 bits: nobody guesses one, and a right one never waits."""
HOUR = 3_600_000

WRONG = "the user id or the password is wrong"


def token_hash(token: str) -> str:
    """What the store keeps of a token or an invite's code: its SHA-256, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Make a token: 256 random bits."""
    return secrets.token_urlsafe(32)


def new_code() -> str:
    """Make an invite's code: 128 random bits, short enough for a small QR code."""
    return secrets.token_urlsafe(16)


def id_for(name: str) -> str:
    """The user id that goes with a name: what of it may stand in one (PROTOCOL.md, section 3)."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", ".", plain).strip(".")[:48] or "guest"


class Entered(NamedTuple):
    """Somebody is in: their token, said this once."""

    token: str
    user_id: str
    chat_id: str | None = None


Address = Callable[[], str]
"""Gives an address as it is at the moment."""


class SignIn:
    """The ways in."""

    def __init__(self, state: State, log: Log, clock: Clock, settings: AuthSection) -> None:
        self.address: Address = str
        """Where a browser reaches the relay, for links: `http://192.168.1.5:8765`."""
        self.passwords = Passwords()
        self._state = state
        self._log = log
        self._clock = clock
        self._settings = settings
        self.refusals = FailedSignIns()
        self._by_pair = Throttle(PAIR_WAIT)
        self._by_user = Throttle(USER_WAIT)
        self._by_address = Throttle(ADDRESS_WAIT, free=ADDRESS_FREE)
        self._wrong_invites = Throttle(INVITE_WAIT, free=INVITE_FREE)
        self._signed_up = Throttle(USER_WAIT)
        self._signed_up_near = Throttle(USER_WAIT, free=NEAR_FREE)
        """Each user that is made counts here, for the address and for its network of IPv6: an open relay is no reason
        to be filled with them."""

    def ways(self) -> list[str]:
        """What a sign-in page may offer."""
        ways = ["invite", "password"]
        if self._settings.open:
            ways.append("open")
        return ways

    async def by_invite(self, code: str, label: str, address: str) -> Entered:
        """Let somebody in by an invite, which lets nobody in afterwards.

        Args:
            code: the invite's.
            label: what the device is called.
            address: where they come from.

        Raises:
            RelayError: `unauthorized`, or `rate_limited` after too many that were.
        """
        invite = self._state.invites.get(token_hash(code))
        if invite is None:
            self._wait_first((self._wrong_invites, network(address)), address=address, user_id=None)
        request = commands.UseInvite(token_hash(code), label, token_hash(token := new_token()))
        generated_id = id_for(invite.name) if invite is not None else ""
        try:
            return await self._enter(request, token, generated_id)
        except RelayError as error:
            if error.error.code == "unauthorized":
                self._wrong_invites.failed(network(address), trio.current_time())
                self.refusals.note(address, "invite", None)
            raise

    async def by_name(self, name: str, label: str, address: str) -> Entered:
        """Make a user of somebody who picks a name, where the relay is open.

        Raises:
            RelayError: `forbidden`, the relay is not open; `conflict`, the name is taken; `rate_limited`.
        """
        if not self._settings.open:
            raise RelayError.forbidden("this relay is not open: an invite is needed")
        name = " ".join(name.split())
        if not name:
            raise RelayError.bad_field("name", "a name is needed")
        now = trio.current_time()
        counted = ((self._signed_up, address), (self._signed_up_near, network(address)))
        wait = max(attempts.wait(who, now) for attempts, who in counted)
        if wait > 0:
            raise RelayError.rate_limited(int(wait * 1_000) + 1)
        for attempts, who in counted:
            attempts.failed(who, now)
        request = commands.SignUp(name, label, token_hash(token := new_token()))
        return await self._enter(request, token, id_for(name))

    async def by_password(self, user_id: str, password: str, label: str, address: str) -> Entered:
        """Let a user in by their password.

        Raises:
            RelayError: `unauthorized`, or `rate_limited` after too many that were.
        """
        user = self._state.user_typed(user_id.strip())
        # However the id was written it is one user that is guessed at.
        counted = self._count_guess(user_id if user is None else user.id, address, known=user)
        right = await self.passwords.check(user.password if user is not None else None, password)
        if not right or user is None or user.disabled or user.removed:
            self.refusals.note(address, "password", None if user is None else user.id)
            raise RelayError("unauthorized", WRONG)
        self._forgive(counted)
        token = new_token()
        request = commands.AddDevice(user.key, label, token_hash(token))
        await submit(self._log, Command(self._clock(), user.key, 0, request))
        return Entered(token, user.id)

    async def _enter(self, request: msgspec.Struct, token: str, generated_id: str) -> Entered:
        answer = await submit(self._log, Command(self._clock(), ADMIN, 0, request, generated_id=generated_id))
        assert isinstance(answer, SignedIn)
        return Entered(token, self._state.users[answer.user].id, answer.chat_id)

    def _count_guess(self, user_id: str, address: str, known: User | None) -> "list[tuple[Throttle, str]]":
        """Count a guess at a password before it is known whether it is one: many at once are not all looked at.

        Raises:
            RelayError: `rate_limited`, there were too many.
        """
        where = network(address)
        counted = [
            (self._by_pair, f"{where} {user_id}"),
            (self._by_user, user_id),
            (self._by_address, where),
        ]
        self._wait_first(*counted, address=address, user_id=None if known is None else known.id)
        now = trio.current_time()
        for attempts, who in counted:
            attempts.failed(who, now)
        return counted

    def _forgive(self, counted: "list[tuple[Throttle, str]]") -> None:
        """Forget the guesses of one who knows the password; of all others from the same address only this one."""
        *own, (by_address, where) = counted
        for attempts, who in own:
            attempts.succeeded(who)
        by_address.forgive(where)

    def _wait_first(self, *counted: tuple[Throttle, str], address: str, user_id: str | None) -> None:
        now = trio.current_time()
        wait = max(attempts.wait(who, now) for attempts, who in counted)
        if wait > 0:
            self.refusals.note(address, "wait", user_id)
            raise RelayError.rate_limited(int(wait * 1_000) + 1)

    # Invites.

    async def invite(
        self,
        by: int,
        device: int = 0,
        *,
        user_id: str | None = None,
        name: str | None = None,
        chat_id: str | None = None,
    ) -> Invitation:
        """Make an invite.

        Args:
            by: who invites, `ADMIN` for an admin on the machine.
            device: from which device.
            user_id: whom; somebody who is not a user yet where it is None.
            name: what such a one is called.
            chat_id: where they land.

        Raises:
            RelayError: they may not, or there is no such user or chat.
        """
        # By the log's time, by which it is looked at, and which does not go back when the machine's clock is set back.
        now = max(self._clock(), self._state.at)
        code = new_code()
        expires_at = now + round(self._settings.invite_hours * HOUR)
        request = commands.MakeInvite(
            code_hash=token_hash(code), expires_at=expires_at, user_id=user_id, name=name, chat_id=chat_id
        )
        await submit(self._log, Command(now, UserKey(by), device, request))
        # In a fragment a browser sends it to nobody, so that it reaches no log.
        url = f"{self.address()}/#invite={code}"
        return Invitation(url=url, code=code, expires_at=expires_at, qr=qr(url))

    async def set_password(self, user_id: str, password: str, *, sign_out: bool = False) -> int:
        """Let a user sign in by a password, as an admin; an empty one takes it away.

        Args:
            user_id: whose.
            password: the new one.
            sign_out: whether their devices have to sign in again.

        Returns:
            How many devices were signed out.

        Raises:
            RelayError: there is no such user, or the password may not be one.
        """
        user = self._state.user(user_id)
        if password and user is not None:
            check_new(password, user.id, user.name)
        hashed = await self.passwords.hash(password) if password else ""
        request = commands.SetPassword(user_id, hashed, sign_out=sign_out)
        answer = await submit(self._log, Command(self._clock(), ADMIN, 0, request))
        assert isinstance(answer, DevicesRevoked)
        return answer.number

    async def change_password(
        self, key: int, device: int, old: str | None, new: str, *, sign_out_others: bool, address: str
    ) -> int:
        """Let a user choose another password: whoever has one says it first.

        Args:
            key: whose.
            device: from which device, which stays signed in.
            old: the one they have.
            new: the one they want.
            sign_out_others: whether their other devices have to sign in again.
            address: where they come from.

        Returns:
            How many devices were signed out.

        Raises:
            RelayError: `unauthorized`, the old one is wrong; `rate_limited` after too many that were; `bad_request`,
                the new one may not be one.
        """
        user = self._state.users[key]
        check_new(new, user.id, user.name)
        if user.password:
            counted = self._count_guess(user.id, address, known=user)
            if not await self.passwords.check(user.password, old or ""):
                self.refusals.note(address, "old", user.id)
                raise RelayError("unauthorized", "old: this is not the current password")
            self._forgive(counted)
        request = commands.SetPassword(user.id, await self.passwords.hash(new), sign_out=sign_out_others)
        answer = await submit(self._log, Command(self._clock(), UserKey(key), device, request))
        assert isinstance(answer, DevicesRevoked)
        return answer.number

    async def sign_out(self, user: int, device: int) -> None:
        """Let a device sign in no more; its connection ends at once."""
        answer = await submit(
            self._log, Command(self._clock(), UserKey(user), device, control.RevokeDevice(device_id=device))
        )
        assert isinstance(answer, ChangedDevice)


def qr(text: str) -> list[str]:
    """A QR code as rows of modules, 1 for dark, without the quiet zone around it."""
    import segno

    code = segno.make_qr(text, error="m")
    return ["".join("1" if module else "0" for module in row) for row in code.matrix]
