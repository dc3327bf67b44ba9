"""Signs users in by an invite, by a password or, on an open relay, by a name: each gets a token.

Of tokens and invites' codes the relay keeps hashes only. How often one may guess is limited here. No sockets.
"""

import re
import secrets
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import trio

from relay.core.auth.failures import FailedSignIns
from relay.core.auth.passwords import Passwords, check_new
from relay.core.auth.throttle import Throttle, rate_limit_key
from relay.core.auth.tokens import new_token, token_hash
from relay.core.clock.clock import Clock
from relay.core.model.entities import User
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.core.rules.submit import submit
from relay.keys import NO_DEVICE, NO_USER, DeviceKey, UserKey
from relay.outcomes import Decidable, SignedIn
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Invitation
from relay.settings import AuthSection
from relay.store.command import Command
from relay.store.log.log import Log

PAIR_WAIT_SECONDS = 900.0
"""The longest that an address has to wait after its failures to guess one user's password, in seconds."""
USER_WAIT_SECONDS = 60.0
"""The same for a user who is guessed at, from all addresses: a guesser must not lock them out for long."""
ADDRESS_WAIT_SECONDS, ADDRESS_FREE_FAILURES = 60.0, 50
"""The same for an address that guesses at many users, and how many failures are free: an office may share it."""
NETWORK_FREE_SIGN_UPS = 200
"""Users that may be made from one /64 of IPv6 before the next ones wait: a whole camp can be in one."""
INVITE_WAIT_SECONDS, INVITE_FREE_FAILURES = 10.0, 20
"""The same for wrong invites. They have 128 bits, so nobody guesses one; a right one never waits."""
MAX_PROVEN = 8_192
"""Networks with users who signed in from there that are remembered; the least recent is dropped."""
HOUR_MS = 3_600_000

WRONG = "the user id or the password is wrong"


def new_code() -> str:
    """Make an invite's code: 128 random bits, short enough for a small QR code."""
    return secrets.token_urlsafe(16)


def id_for(name: str) -> str:
    """Make a user id from a name: the part of it that an id may contain (PROTOCOL.md, section 3)."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", ".", plain).strip(".")[:48] or "guest"


class Entered(NamedTuple):
    """A new sign-in: its token, which is given this once."""

    token: str
    user_id: str
    chat_id: str | None = None


Address = Callable[[], str]
"""Gives the relay's address as it is at the moment."""


class SignIn:
    """The ways in."""

    def __init__(
        self,
        state: State,
        log: Log,
        clock: Clock,
        settings: AuthSection,
        uses: Callable[[UserKey], commands.DeviceUses],
    ) -> None:
        """Begin without failures.

        Args:
            state: the users and their devices, and the invites.
            log: takes the commands.
            clock: Unix milliseconds.
            settings: the ways in that are open.
            uses: tells how a user's devices are used.
        """
        self.address: Address = str
        """Where a browser reaches the relay, for links: `http://192.168.1.5:8765`."""
        self.passwords = Passwords()
        self._state = state
        self._log = log
        self._clock = clock
        self._settings = settings
        self.uses = uses
        """Tells how a user's devices are used: a command that signs in one more says it."""
        self.refusals = FailedSignIns()
        self._by_pair = Throttle(PAIR_WAIT_SECONDS)
        self._by_user = Throttle(USER_WAIT_SECONDS)
        self._by_address = Throttle(ADDRESS_WAIT_SECONDS, free=ADDRESS_FREE_FAILURES)
        """Guesses at users who were guessed at from the same address before."""
        self._first_by_address = Throttle(ADDRESS_WAIT_SECONDS, free=ADDRESS_FREE_FAILURES)
        """First guesses at a user from an address: counted apart, so that guesses at one user lock out no others."""
        self._proven: OrderedDict[str, None] = OrderedDict()
        """Networks and the users who signed in from there: what others guess elsewhere does not keep them out."""
        self._wrong_invites = Throttle(INVITE_WAIT_SECONDS, free=INVITE_FREE_FAILURES)
        self._signed_up = Throttle(USER_WAIT_SECONDS)
        self._signed_up_near = Throttle(USER_WAIT_SECONDS, free=NETWORK_FREE_SIGN_UPS)
        """Users made, by address and by its network of IPv6: an open relay must not be filled with them."""

    def ways(self) -> list[str]:
        """Name the ways in that a sign-in page may offer."""
        ways = ["invite", "password"]
        if self._settings.open:
            ways.append("open")
        return ways

    async def by_invite(self, code: str, label: str, address: str) -> Entered:
        """Sign somebody in by an invite, which is used up by it.

        Args:
            code: the invite's.
            label: what the device is called.
            address: where they come from.

        Raises:
            RelayError: `unauthorized`, or `rate_limited` after too many that were.
        """
        invite = self._state.invites.get(token_hash(code))
        if invite is None:
            self._wait_first((self._wrong_invites, rate_limit_key(address)), address=address, user_id=None)
        uses = self.uses(invite.user if invite is not None else NO_USER)
        request = commands.UseInvite(token_hash(code), label, token_hash(token := new_token()), uses)
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
        """Make a user of somebody who picks a name, if the relay is open.

        Raises:
            RelayError: `forbidden`, the relay is not open; `conflict`, the name is taken; `rate_limited`.
        """
        if not self._settings.open:
            raise RelayError.forbidden("this relay is not open: an invite is needed")
        name = " ".join(name.split())
        if not name:
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
            # Only users that were made count: a name that is taken must not hold up the next person behind an address.
            for attempts, who in counted:
                attempts.forgive(who)
            raise

    async def by_password(self, user_id: str, password: str, label: str, address: str) -> Entered:
        """Sign a user in by their password.

        Raises:
            RelayError: `unauthorized`, or `rate_limited` after too many that were.
        """
        user = self._state.user_typed(user_id.strip())
        # However the id was written, it is one user who is guessed at.
        counted = self._count_guess(user_id if user is None else user.id, address, known=user)
        right = await self.passwords.check(user.password if user is not None else None, password)
        if not right or user is None or user.disabled or user.removed:
            self.refusals.note(address, "password", None if user is None else user.id)
            raise RelayError("unauthorized", WRONG)
        self._succeeded(counted)
        token = new_token()
        request = commands.AddDevice(user.key, label, token_hash(token), uses=self.uses(user.key))
        await submit(self._log, Command(self._clock(), user.key, NO_DEVICE, request))
        return Entered(token, user.id)

    async def _enter(self, request: Decidable[SignedIn], token: str, generated_id: str) -> Entered:
        entered = await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, request, generated_id=generated_id))
        return Entered(token, self._state.users[entered.user].id, entered.chat_id)

    def _count_guess(self, user_id: str, address: str, known: User | None) -> "list[tuple[Throttle, str]]":
        """Count an attempt as a guess before the password is checked, so that many at once are not all checked.

        Returns:
            What it was counted in, and under which key; that of the address and the user first.

        Raises:
            RelayError: `rate_limited`, there were too many.
        """
        where = rate_limit_key(address)
        pair = f"{where} {user_id}"
        counted = [(self._by_pair, pair)]
        if pair not in self._proven:
            by_address = self._by_address if pair in self._by_pair else self._first_by_address
            counted += [(self._by_user, user_id), (by_address, where)]
        self._wait_first(*counted, address=address, user_id=None if known is None else known.id)
        now = trio.current_time()
        for attempts, who in counted:
            attempts.failed(who, now)
        return counted

    def _succeeded(self, counted: "list[tuple[Throttle, str]]") -> None:
        """Forget the failures of this user and address, and take this attempt back from those of the whole address."""
        (by_pair, pair), *others = counted
        by_pair.succeeded(pair)
        for attempts, who in others:
            if attempts is self._by_user:
                attempts.succeeded(who)
            else:
                attempts.forgive(who)
        self._proven[pair] = None
        self._proven.move_to_end(pair)
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)

    def _wait_first(self, *counted: tuple[Throttle, str], address: str, user_id: str | None) -> None:
        now = trio.current_time()
        wait = max(attempts.wait(who, now) for attempts, who in counted)
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
            by: who invites, `ADMIN` for an admin on the machine.
            device: from which device.
            user_id: whom; None for somebody who is not a user yet.
            name: what somebody is called who is not a user yet.
            chat_id: the chat that they join.

        Raises:
            RelayError: they may not, or there is no such user or chat.
        """
        # By the log's time, which it is checked by: it does not go back when the machine's clock is set back.
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
        """Set a user's password as an admin; an empty one takes it away.

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
        signed_out = await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, request))
        return signed_out.number

    async def change_password(
        self, key: UserKey, device: DeviceKey, old: str | None, new: str, *, sign_out_others: bool, address: str
    ) -> int:
        """Change a user's own password; whoever has one says it first.

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
            self._succeeded(counted)
        request = commands.SetPassword(user.id, await self.passwords.hash(new), sign_out=sign_out_others)
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
