"""The admin requests about invites: make one, list the open ones, revoke them."""

from collections.abc import Callable
from typing import Literal

from relay.core.admin.audit import actor_name
from relay.core.admin.lookup import Lookup
from relay.core.auth.sign_in import SignIn
from relay.core.clock.clock import Clock
from relay.core.model.entities import Invite, InviteState
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.core.rules.sign_in import invite_state
from relay.core.submit import AdminCommands
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Invitation

ID_DIGITS = 8
"""Hexadecimal digits of the code's hash that name an invite."""
STATE_NAMES: dict[InviteState, Literal["userDisabled", "makerMayNot"]] = {
    InviteState.USER_DISABLED: "userDisabled",
    InviteState.MAKER_MAY_NOT: "makerMayNot",
}
"""The name in the list for each state in which an invite cannot be used for now."""


class InviteAdmin:
    """Invites."""

    def __init__(self, state: State, submit: AdminCommands, sign_in: SignIn, clock: Clock) -> None:
        self._state = state
        self._find = Lookup(state)
        self._submit = submit
        self._sign_in = sign_in
        self._clock = clock

    async def create(self, request: control.AddInvite) -> Invitation:
        """Make an invite, and its user if `new` asks for it."""
        if request.new and self._state.user(request.user_id) is None:
            await self._submit(control.AddUser(id=request.user_id, name=request.name))
        chat_id = request.chat_id
        if chat_id is not None and self._state.user(chat_id) is None:
            chat_id = self._find.chat_id(chat_id)
        return await self._sign_in.invite(ADMIN, user_id=request.user_id, chat_id=chat_id)

    async def list_all(self, _request: control.Empty) -> list[control.InviteInfo]:
        """List the invites that are neither used nor expired, by expiry, the next first."""
        return [self._info(invite) for invite in self._unfinished(lambda _invite: True)]

    async def revoke(self, request: control.InviteRevocation) -> list[control.InviteInfo]:
        """Revoke one invite, or all for a user. Used and expired ones count as absent.

        Returns:
            The invites that were revoked.

        Raises:
            RelayError: `not_found`, no invite has this id or is for this user; `bad_request`, neither or both are
                given; `conflict`, several invites begin with this id, or it ended while this request waited.
        """
        if (request.id is None) == (request.user_id is None):
            raise RelayError.bad_field("id", "either an invite's id or a user is expected")
        found = self._of_user(request.user_id) if request.id is None else self._by_id(request.id)
        infos = {invite.code_hash: self._info(invite) for invite in found}
        revoked = (await self._submit(commands.RevokeInvites(tuple(infos)))).code_hashes
        if not revoked:
            raise RelayError.conflict("it was used, revoked or expired just before: nothing was revoked")
        return [infos[code_hash] for code_hash in revoked]

    def _by_id(self, invite_id: str) -> list[Invite]:
        found = self._unfinished(lambda invite: invite.code_hash.startswith(invite_id))
        if not found:
            raise RelayError("not_found", f"no invite {invite_id!r} can be used: `relay invite list` shows all")
        if len(found) > 1:
            raise RelayError.conflict(f"several invites begin with {invite_id!r}: give more digits")
        return found

    def _of_user(self, user_id: str | None) -> list[Invite]:
        user = self._state.user(user_id or "")
        if user is None:
            raise RelayError.no_user(user_id or "")
        found = self._unfinished(lambda invite: invite.user == user.key)
        if not found:
            raise RelayError("not_found", f"{user.id!r} has no invite that can be used: `relay invite list` shows all")
        return found

    def _unfinished(self, wanted: Callable[[Invite], bool]) -> list[Invite]:
        """Select from the invites that are open or may open again, by expiry, the next first."""
        found = [
            invite for invite in self._state.invites.values() if wanted(invite) and not self._status(invite).is_final
        ]
        return sorted(found, key=lambda invite: (invite.expires_at, invite.code_hash))

    def _status(self, invite: Invite) -> InviteState:
        # An invite expires by the log's time, which does not go back when the machine's clock is set back.
        return invite_state(self._state, invite, max(self._clock(), self._state.at))

    def _info(self, invite: Invite) -> control.InviteInfo:
        return control.InviteInfo(
            id=invite.code_hash[:ID_DIGITS],
            user_id=self._state.users[invite.user].id if invite.user else None,
            name=invite.name or None,
            chat_id=invite.chat or None,
            made_by=actor_name(self._state, invite.by),
            expires_at=invite.expires_at,
            state=STATE_NAMES.get(self._status(invite), "open"),
        )
