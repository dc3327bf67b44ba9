"""The rules of signing in: devices, passwords, invites and sign-ups."""

from relay.core.model import changes
from relay.core.model.entities import Invite, InviteState, User
from relay.core.model.state import State
from relay.core.rules import commands, permissions
from relay.core.rules.commands import ADMIN
from relay.core.rules.draft import DraftBuilder, chat_for
from relay.core.rules.permissions import Action
from relay.core.rules.users import check_admin, check_enabled, check_free, known_user
from relay.keys import NO_CHAT, NO_USER, DeviceKey, UnixMs, UserKey
from relay.outcomes import ChangedDevice, DevicesRevoked, InvitesRevoked, SignedIn
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import DevicesInUse
from relay.unicode.unseen import one_line

MAX_DEVICES = 100
"""Maximum signed-in devices of one user, without hooks. The next sign-in signs out the one unused for longest that is
not connected."""
MAX_LABEL = 128
"""Characters of a device's name."""
MAX_REVOKED_DEVICES = 100
"""Maximum devices that one sign-in signs out, if an older relay let a user have more."""


def add_device(draft: DraftBuilder, command: Command, request: commands.AddDevice) -> ChangedDevice:
    """Add a device of a user, by an admin."""
    check_admin(command)
    user = draft.state.users[request.user]
    check_enabled(user)
    _make_room(draft, command, request.user)
    return ChangedDevice(add_device_entry(draft, command, request.user, request.label, request.token_hash))


def sign_in_by_password(draft: DraftBuilder, command: Command, request: commands.SignInByPassword) -> ChangedDevice:
    """Sign in by a password."""
    user = _user_of(draft, command, request.checked)
    if not user.password:
        raise RelayError("unauthorized", "this user has no password")
    _make_room(draft, command, user.key)
    return ChangedDevice(add_device_entry(draft, command, user.key, request.label, request.token_hash))


def _user_of(draft: DraftBuilder, command: Command, checked: commands.CheckedPassword) -> User:
    """Find the user who gave their password, if it is still the one that was checked.

    Raises:
        RelayError: `unauthorized`, it was changed or removed while the command waited.
    """
    user = draft.state.users[command.user]
    if user.key != checked.user or user.password != checked.hash:
        raise RelayError("unauthorized", "old: the password has been changed meanwhile")
    return user


def revoke_device(draft: DraftBuilder, command: Command, request: control.RevokeDevice) -> ChangedDevice:
    """Sign a device out for good."""
    device = draft.state.devices.get(DeviceKey(request.device_id))
    if device is None or command.user not in (ADMIN, device.user):
        raise RelayError("not_found", f"deviceId: there is no device {request.device_id}")
    if not device.revoked_at:
        draft.change(kinds.DEVICE, NO_CHAT, command, changes.DeviceRevoked(device.key))
    return ChangedDevice(device.key)


GUEST = "Guest"
"""The name of a user who has not chosen one."""


def make_invite(draft: DraftBuilder, command: Command, request: commands.MakeInvite) -> requests.Nothing:
    """Make an invite: its code lets one user in, once."""
    state = draft.state
    if request.chat_id is not None and request.chat_id not in state.user_keys:
        chat_for(draft, command, request.chat_id, Action.INVITE)
    elif not permissions.may_invite(state, command.user):
        raise RelayError.forbidden("only the relay's admins may invite")
    user = NO_USER
    if request.user_id is not None:
        known = known_user(draft, request.user_id)
        check_enabled(known)
        user = known.key
    elif request.name and command.user != ADMIN:
        check_free(draft, request.name)
    draft.change(
        kinds.SIGN_IN,
        NO_CHAT,
        command,
        changes.InviteMade(
            code_hash=request.code_hash,
            expires_at=request.expires_at,
            user=user,
            name=request.name or "",
            chat=request.chat_id or "",
            by=command.user,
            made_at=draft.at,
        ),
    )
    return requests.Nothing()


def use_invite(draft: DraftBuilder, command: Command, request: commands.UseInvite) -> SignedIn:
    """Sign in by an invite."""
    invite = draft.state.invites.get(request.code_hash)
    if invite is None:
        raise RelayError("unauthorized", "there is no such invite: ask for another one")
    refusal = INVITE_REFUSALS.get(invite_state(draft.state, invite, draft.at))
    if refusal is not None:
        raise RelayError("unauthorized", refusal)
    user = invite.user or _join(draft, command, _invited_name(draft, invite))
    _make_room(draft, command, user)
    chat_id = _land(draft, command, user, invite)
    draft.change(kinds.SIGN_IN, NO_CHAT, command, changes.InviteUsed(request.code_hash))
    return SignedIn(user, add_device_entry(draft, command, user, request.label, request.token_hash), chat_id)


def _invited_name(draft: DraftBuilder, invite: Invite) -> str:
    """Choose the name of a user who joins by an invite: not the invite's if somebody has taken it since."""
    if invite.name and invite.by != ADMIN:
        try:
            check_free(draft, invite.name)
        except RelayError:
            return GUEST
    return invite.name or GUEST


INVITE_REFUSALS = {
    InviteState.USED: "this invite was used already, or ended: ask for another one",
    InviteState.EXPIRED: "this invite has expired: ask for another one",
    InviteState.MAKER_MAY_NOT: "the maker of this invite may not invite any more: ask for another one",
    InviteState.USER_DISABLED: "this invite is for somebody who may not sign in any more",
}
"""Why an invite cannot be used, by its state."""


def invite_state(state: State, invite: Invite, at: UnixMs) -> InviteState:
    """Return the state of an invite. An unusable one may be usable again, unless its state is final.

    Args:
        state: the state.
        invite: one of its invites.
        at: the time, Unix milliseconds.
    """
    if invite.used:
        return InviteState.USED
    if invite.expires_at <= at:
        return InviteState.EXPIRED
    if not permissions.may_invite(state, invite.by):
        return InviteState.MAKER_MAY_NOT
    known = state.users.get(invite.user)
    if known is not None and (known.disabled or known.removed):
        return InviteState.USER_DISABLED
    return InviteState.OPEN


def revoke_invites(draft: DraftBuilder, command: Command, request: commands.RevokeInvites) -> InvitesRevoked:
    """Revoke some invites; those that are used, revoked or expired already stay as they are."""
    revoked = []
    for code_hash in dict.fromkeys(request.code_hashes):
        invite = draft.state.invites.get(code_hash)
        if invite is not None and not invite_state(draft.state, invite, draft.at).is_final:
            draft.change(kinds.SIGN_IN, NO_CHAT, command, changes.InviteUsed(code_hash, revoked=True))
            revoked.append(code_hash)
    return InvitesRevoked(tuple(revoked))


def end_invites(draft: DraftBuilder, command: Command, user: UserKey | None = None) -> None:
    """Revoke the open invites: all, or those for one user.

    Args:
        draft: the batch.
        command: the command that ends them.
        user: the key of one user; None for all.
    """
    for invite in draft.state.invites.values():
        if not invite.used and user in (None, invite.user):
            draft.change(kinds.SIGN_IN, NO_CHAT, command, changes.InviteUsed(invite.code_hash, revoked=True))


def _land(draft: DraftBuilder, command: Command, user: UserKey, invite: Invite) -> str | None:
    """Add a user who signed in by an invite to its group or channel; returns the id of the chat to show."""
    state, chat_id = draft.state, invite.chat
    peer = state.user(chat_id)
    if peer is not None:
        return None if peer.removed or peer.key == user else chat_id
    key = state.group_keys.get(chat_id)
    if key is None or state.chats[key].gone:
        return None
    if user not in state.members[key] and not permissions.may(state, state.chats[key], invite.by, Action.INVITE):
        return None
    if user not in state.members[key]:
        draft.change(kinds.CHATS, key, command, changes.MembersAdded([user]))
    return chat_id


def sign_up(draft: DraftBuilder, command: Command, request: commands.SignUp) -> SignedIn:
    """Sign up by a name, if that is open to all."""
    check_free(draft, request.name)
    user_key = _join(draft, command, request.name)
    return SignedIn(user_key, add_device_entry(draft, command, user_key, request.label, request.token_hash), None)


def _join(draft: DraftBuilder, command: Command, name: str) -> UserKey:
    """Add a user under the generated id, with a number appended if it is taken."""
    state = draft.state
    wanted = user_id = command.generated_id
    number = 1
    while user_id in state.user_keys or user_id in state.group_keys:
        number += 1
        user_id = f"{wanted}{number}"
    key = state.next_user()
    draft.change(kinds.USER, NO_CHAT, command, changes.UserAdded(key=key, id=user_id, name=name))
    return key


def add_device_entry(
    draft: DraftBuilder, command: Command, user: UserKey, label: str, token_hash: str, hook: changes.Hook | None = None
) -> DeviceKey:
    """Add a device, or a hook, to the draft; the caller has checked that it may be added.

    Args:
        draft: the batch.
        command: the command that adds it.
        user: the key of its user.
        label: its name.
        token_hash: the hash of its token.
        hook: the settings of a hook; None for a device.

    Returns:
        The new device's key.
    """
    key = draft.state.next_device()
    label = one_line(label, MAX_LABEL)
    device = changes.DeviceAdded(key=key, user=user, label=label, token_hash=token_hash, hook=hook)
    draft.change(kinds.DEVICE, NO_CHAT, command, device)
    return key


def _make_room(draft: DraftBuilder, command: Command, user: UserKey) -> None:
    """Sign out the devices that a user has not used for the longest time, if they have as many as allowed.

    Connected devices stay: a script that signs in at each run must not sign out a phone that is in use.
    """
    devices = [
        device
        for device in draft.state.devices.values()
        if device.user == user and not device.revoked_at and device.hook is None
    ]
    if len(devices) < MAX_DEVICES:
        return
    uses = draft.fact(DevicesInUse(user))
    unused = [device for device in devices if device.key not in uses.connected]
    if not unused:
        raise RelayError.conflict(f"{len(devices)} devices are signed in and connected: sign one of them out first")
    unused.sort(key=lambda device: (uses.seen.get(device.key, device.created_at), device.key))
    for device in unused[: min(len(devices) - MAX_DEVICES + 1, MAX_REVOKED_DEVICES)]:
        draft.change(kinds.DEVICE, NO_CHAT, command, changes.DeviceRevoked(device.key))


def set_password(draft: DraftBuilder, command: Command, request: commands.SetPassword) -> DevicesRevoked:
    """Set a user's password, by an admin; on request, sign out their devices."""
    check_admin(command)
    user = known_user(draft, request.user_id)
    return _give_password(draft, command, user, request.hash, sign_out=request.sign_out)


def change_password(draft: DraftBuilder, command: Command, request: commands.ChangePassword) -> DevicesRevoked:
    """Change one's own password; on request, sign out the other devices."""
    user = _user_of(draft, command, request.checked)
    return _give_password(draft, command, user, request.hash, sign_out=request.sign_out)


def _give_password(
    draft: DraftBuilder, command: Command, user: User, password_hash: str, *, sign_out: bool
) -> DevicesRevoked:
    draft.change(kinds.SIGN_IN, NO_CHAT, command, changes.PasswordSet(user=user.key, hash=password_hash))
    return DevicesRevoked(_revoke_all(draft, command, user.key) if sign_out else 0)


def revoke_devices(draft: DraftBuilder, command: Command, request: commands.RevokeDevices) -> DevicesRevoked:
    """Sign out all other devices of a user."""
    user = known_user(draft, request.user_id)
    if command.user not in (ADMIN, user.key):
        raise RelayError.forbidden("only their user and the machine's admin may sign devices out")
    return DevicesRevoked(_revoke_all(draft, command, user.key))


def _revoke_all(draft: DraftBuilder, command: Command, user: UserKey) -> int:
    """Sign out all other devices of a user, and revoke invites for the user; hooks stay.

    Returns how many devices were signed out.
    """
    end_invites(draft, command, user)
    devices = [
        device.key
        for device in draft.state.devices.values()
        if device.user == user and not device.revoked_at and device.hook is None and device.key != command.device
    ]
    for device in devices:
        draft.change(kinds.DEVICE, NO_CHAT, command, changes.DeviceRevoked(device))
    return len(devices)
