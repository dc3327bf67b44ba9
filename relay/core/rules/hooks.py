"""The rules of hooks: adding one, and posts through an incoming one (PROTOCOL.md, section 11).

One command adds a hook together with its bot, its membership and the rights that it needs. So the check and the change
happen in one turn, a refused hook leaves no bot behind, and a change of the chat's admins just before is not undone.

There is one message for each key of a hook. The message's client id is made from the hook and the key, so two hooks of
one user, or a hook and its user's apps, may use the same key. Receipts, exports and apps identify a message by its
sender and client id, so these stay distinct.
"""

from hashlib import blake2b

from relay.core.model import changes
from relay.core.model.entities import Chat, Device, User
from relay.core.rules import commands, permissions
from relay.core.rules.draft import DraftBuilder, chat_for, client_key
from relay.core.rules.messages import new
from relay.core.rules.permissions import Action
from relay.core.rules.sign_in import add_device_entry
from relay.core.rules.users import check_admin, check_enabled, known_user
from relay.keys import NO_CHAT, Seq, UserKey
from relay.outcomes import HookAdded
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import ClientKey

LABEL = "hook"
"""The label of a hook's device."""


def make_hook(draft: DraftBuilder, command: Command, request: commands.MakeHook) -> HookAdded:
    """Add a hook, which acts as a user or as a bot of its own, by an admin."""
    check_admin(command)
    chat = _chat(draft, command, request.hook.chat)
    user = None
    if request.user_id is not None:
        user = known_user(draft, request.user_id)
        check_enabled(user)
    writes = not request.hook.url
    if chat is not None and user is not None and not request.join:
        _check_there(draft, chat, user, writes=writes)
    key = _add_bot(draft, command, request.name) if user is None else user.key
    if chat is not None:
        _let_in(draft, command, chat, key, writes=writes)
    device = add_device_entry(draft, command, key, LABEL, request.token_hash, request.hook)
    return HookAdded(device, Seq(draft.seq))


def _chat(draft: DraftBuilder, command: Command, chat_id: str) -> Chat | None:
    """Find the chat of a hook; None for a user, whose dialog may not have begun.

    Raises:
        RelayError: there is no such chat or user, or the user is disabled.
    """
    if draft.state.user(chat_id) is None:
        return chat_for(draft, command, chat_id, Action.ADD)
    check_enabled(known_user(draft, chat_id))
    return None


def _check_there(draft: DraftBuilder, chat: Chat, user: User, *, writes: bool) -> None:
    """Check that a hook may act for a user in a chat as it is.

    Raises:
        RelayError: `forbidden`, the user is not in the chat, or may not write there and the hook does.
    """
    if user.key not in draft.state.members[chat.key]:
        raise RelayError.forbidden(
            f"{user.id!r} is not in {chat.name!r}: `relay chat add {chat.id} {user.id}` first, or say --add"
        )
    if writes and not permissions.may_once_in(draft.state, chat, user.key, Action.WRITE):
        raise RelayError.forbidden(
            f"{user.id!r} may only read in {chat.name!r}: --add makes them one of its admins, who write there"
        )


def _add_bot(draft: DraftBuilder, command: Command, name: str) -> UserKey:
    state, bot_id = draft.state, command.generated_id
    if bot_id in state.user_keys or bot_id in state.group_keys:
        raise RelayError.conflict("this id is taken, try again")
    key = state.next_user()
    draft.change(kinds.USER, NO_CHAT, command, changes.UserAdded(key=key, id=bot_id, name=name or bot_id, bot=True))
    return key


def _let_in(draft: DraftBuilder, command: Command, chat: Chat, user: UserKey, *, writes: bool) -> None:
    """Add a hook's user to its chat; if the hook posts, make sure that the user may write there."""
    members = draft.state.members[chat.key]
    if user not in members:
        draft.change(kinds.CHATS, chat.key, command, changes.MembersAdded([user]))
    if writes and not permissions.may_once_in(draft.state, chat, user, Action.WRITE):
        admins = [key for key, member in members.items() if member.admin]
        draft.change(kinds.CHATS, chat.key, command, changes.ChatUpdated(admins=[*map(UserKey, admins), user]))


def hook_client_id(device: Device, key: str) -> str:
    """Make the client id of a post under an idempotency key: 32 hexadecimal digits.

    The hook is identified by the hash of its token, which no hook of another relay shares: a post is never mistaken for
    a repeat of an imported message.
    """
    return blake2b(f"{device.token_hash} {key}".encode(), digest_size=16).hexdigest()


def post_by_hook(draft: DraftBuilder, command: Command, request: commands.PostByHook) -> requests.Accepted:
    """Post a message, unless the hook has posted one under this key before."""
    device = draft.state.devices[command.device]
    client_id = command.generated_id
    if request.key:
        posted = _posted_under_bare_key(draft, command, device, request)
        if posted is not None:
            return posted
        client_id = hook_client_id(device, request.key)
    message = requests.New(chat_id=request.chat_id, client_message_id=client_id, message=request.message)
    return new(draft, command, message)


def _posted_under_bare_key(
    draft: DraftBuilder, command: Command, device: Device, request: commands.PostByHook
) -> requests.Accepted | None:
    """Find a post of this hook from an older relay, whose client ids were the bare keys.

    Only a message that still exists has a known sender. One that retention removed may be an app's, so the post counts
    as new: a duplicate is better than a lost post.
    """
    state = draft.state
    chat = state.chat_key(command.user, request.chat_id) or state.group_keys.get(request.chat_id)
    if chat is None:
        return None
    known = draft.fact(ClientKey(client_key(chat, command.user, request.key)))
    if known is None or known.kind != kinds.NEW or (known.chat, known.author) != (chat, command.user):
        return None
    if known.device != device.key or known.client_id != request.key:
        return None
    return requests.Accepted(message_id=known.message_id, timestamp=known.at, client_message_id=request.key)
