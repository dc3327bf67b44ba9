"""The rules of users: adding, renaming, disabling and removing them."""

from relay.core.model import changes
from relay.core.model.entities import User
from relay.core.rules.chats import remove_member
from relay.core.rules.commands import ADMIN
from relay.core.rules.draft import DraftBuilder, check_photo
from relay.keys import NO_CHAT, NO_USER, ChatKey, MessageId, UserKey
from relay.outcomes import ChangedUser
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command
from relay.unicode.lookalikes import looks, mentions


def change_profile(draft: DraftBuilder, command: Command, request: requests.ProfileRequest) -> ChangedUser:
    """Change the user's own name or picture, or only return them."""
    check_photo(draft, command, request.photo_url)
    if request.name is not None:
        check_free(draft, request.name, but=command.user)
    if request.name is not None or request.photo_url is not None:
        draft.change(
            kinds.USER,
            NO_CHAT,
            command,
            changes.UserChanged(key=command.user, name=request.name, photo_url=request.photo_url),
        )
    return ChangedUser(command.user)


def check_free(draft: DraftBuilder, name: str, but: UserKey = NO_USER) -> None:
    """Refuse a name that looks like another user's name or id, or has it behind an @, as the page tells people apart.

    Only an admin may make two Annas.

    Args:
        draft: the batch.
        name: the new name.
        but: the user who wants it; `NO_USER` for a new one.
    """
    state = draft.state
    # A user may keep the look of the present name: an admin gave it, or it is older than this rule.
    present = state.users[but].name if but else ""
    if state.users_looking_like(looks(name) - looks(present)) - {but}:
        raise RelayError.conflict(f"name: {name!r} is taken, pick another one")
    looks_of_ids = _looks_of_mentions(name) - _looks_of_mentions(present)
    for key in sorted(state.users_looking_like(looks_of_ids) - {but}):
        other = state.users[key].id
        if not looks_of_ids.isdisjoint(looks(other)):
            raise RelayError.conflict(f"name: @{other} stands for somebody else, leave it out")


def _looks_of_mentions(name: str) -> frozenset[str]:
    """Return the looks of the ids after each `@` of a name."""
    return frozenset().union(*map(looks, mentions(name)))


def add_user(draft: DraftBuilder, command: Command, request: control.AddUser) -> ChangedUser:
    """Add a user, by an admin."""
    state = draft.state
    if request.id in state.user_keys or request.id in state.group_keys:
        raise RelayError.conflict(f"the id {request.id!r} is taken")
    key = state.next_user()
    draft.change(
        kinds.USER,
        NO_CHAT,
        command,
        changes.UserAdded(
            key=key, id=request.id, name=request.name or request.id, bot=request.bot, admin=request.admin
        ),
    )
    return ChangedUser(key)


def known_user(draft: DraftBuilder, user_id: str) -> User:
    """Find a user who was not removed.

    Raises:
        RelayError: `not_found`.
    """
    user = draft.state.user(user_id)
    if user is None or user.removed:
        raise RelayError.no_user(user_id)
    return user


def change_user(draft: DraftBuilder, command: Command, request: control.ChangeUser) -> ChangedUser:
    """Rename, disable, enable or remove a user, by an admin."""
    user = known_user(draft, request.id)
    check_photo(draft, command, request.photo_url)
    if request.removed:
        for device in draft.state.devices.values():
            if device.user == user.key and not device.revoked_at:
                draft.change(kinds.DEVICE, NO_CHAT, command, changes.DeviceRevoked(device.key))
        for key in sorted(draft.state.chats_of[user.key]):
            chat = draft.state.chats[key]
            if chat.id is not None:
                remove_member(draft, command, chat, user.key)
    draft.change(
        kinds.USER,
        NO_CHAT,
        command,
        changes.UserChanged(
            key=user.key,
            name=request.name,
            photo_url=request.photo_url,
            admin=request.admin,
            disabled=request.disabled,
            removed=request.removed,
            counts_from=_counts_from(draft, user) if request.disabled is False and user.disabled else [],
        ),
    )
    return ChangedUser(user.key)


def _counts_from(draft: DraftBuilder, user: User) -> list[tuple[ChatKey, MessageId]]:
    """Return the last message id of each chat: messages up to it do not wait for the user's receipts."""
    state = draft.state
    return [(chat.key, chat.last_message_id) for chat in map(state.chats.__getitem__, sorted(state.chats_of[user.key]))]


def check_enabled(user: User) -> None:
    """Refuse to sign in or invite a user who is disabled.

    Raises:
        RelayError: `forbidden`.
    """
    if user.disabled or user.removed:
        raise RelayError.forbidden(f"{user.id!r} is disabled: `relay user enable {user.id}` first")


def check_admin(command: Command) -> None:
    """Refuse a command of anybody but the machine's admin, for whom no password and no right is checked.

    Raises:
        RelayError: `forbidden`.
    """
    if command.user != ADMIN:
        raise RelayError.forbidden("only the machine's admin may do this")
