"""The rules of groups and channels: create, change, join and leave (PROTOCOL.md, section 5)."""

from collections.abc import Iterable, Iterator
from typing import Literal

from relay.core.model import changes, counting
from relay.core.model.entities import Chat
from relay.core.rules import commands, permissions
from relay.core.rules.draft import DraftBuilder, chat_for, check_photo, joining_users, known_users
from relay.core.rules.permissions import Action
from relay.keys import UserKey
from relay.outcomes import ChangedChat
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command


def create_chat(draft: DraftBuilder, command: Command, request: requests.CreateChat) -> ChangedChat:
    """Create a group or channel, which the user owns."""
    check_photo(draft, command, request.photo_url)
    members = joining_users(draft, command, request.participants)
    return _make(draft, command, request.type, request.name, request.photo_url, command.user, members)


def make_chat(draft: DraftBuilder, command: Command, request: control.MakeChat) -> ChangedChat:
    """Create a group or channel for a user, by an admin."""
    (owner,) = known_users(draft, [request.owner], "owner")
    members = known_users(draft, request.participants, "participants")
    admins = known_users(draft, request.admins, "admins")
    for user in admins:
        if user not in (owner, *members):
            raise RelayError.bad_field("admins", f"{draft.state.users[user].id!r} is not among the participants")
    made = _make(draft, command, request.type, request.name, None, owner, members)
    if admins:
        # In the same batch as the chat: a repeated import would not make the chat again.
        draft.change(kinds.CHATS, made.chat, command, changes.ChatUpdated(admins=admins))
    return made


def _make(
    draft: DraftBuilder,
    command: Command,
    type_: Literal["group", "channel"],
    name: str,
    photo_url: str | None,
    owner: UserKey,
    members: list[UserKey],
) -> ChangedChat:
    state = draft.state
    if command.generated_id in state.group_keys or command.generated_id in state.user_keys:
        raise RelayError.conflict("this id is taken, try again")
    key = state.next_chat()
    draft.change(
        kinds.CHATS,
        key,
        command,
        changes.ChatMade(
            type=type_,
            id=command.generated_id,
            name=name,
            photo_url=photo_url or None,
            owner=owner,
            members=list(dict.fromkeys([owner, *members])),
        ),
    )
    return ChangedChat(key)


def update_chat(draft: DraftBuilder, command: Command, request: requests.UpdateChat) -> ChangedChat:
    """Change the name, picture or admins of a group or channel."""
    wanted = [Action.CHANGE] if request.admins is None else [Action.SET_ADMINS, Action.CHANGE]
    chat = chat_for(draft, command, request.chat_id, *wanted)
    check_photo(draft, command, request.photo_url)
    admins = None
    if request.admins is not None:
        admins = known_users(draft, request.admins, "payload.admins")
        for user in admins:
            if user not in draft.state.members[chat.key]:
                raise RelayError.bad_field(
                    "payload.admins", f"{draft.state.users[user].id!r} is not in this chat, add them first"
                )
    if request.name is None and request.photo_url is None and admins is None:
        return ChangedChat(chat.key)
    draft.change(
        kinds.CHATS,
        chat.key,
        command,
        changes.ChatUpdated(name=request.name, photo_url=request.photo_url, admins=admins),
    )
    return ChangedChat(chat.key)


def add_participants(draft: DraftBuilder, command: Command, request: commands.AddParticipants) -> ChangedChat:
    """Add users to a group or channel."""
    chat = chat_for(draft, command, request.chat_id, Action.ADD)
    members = draft.state.members[chat.key]
    users = [u for u in joining_users(draft, command, request.participants) if u not in members]
    if users:
        draft.change(kinds.CHATS, chat.key, command, changes.MembersAdded(users))
    return ChangedChat(chat.key)


def remove_participants(draft: DraftBuilder, command: Command, request: commands.RemoveParticipants) -> ChangedChat:
    """Remove users from a group or channel."""
    chat = chat_for(draft, command, request.chat_id, Action.REMOVE)
    members = draft.state.members[chat.key]
    users = [user for user in dict.fromkeys(_users(draft, request.participants)) if user in members]
    if chat.owner in users:
        chat_for(draft, command, request.chat_id, Action.REMOVE_OWNER)
    if any(members[user].admin for user in users):
        chat_for(draft, command, request.chat_id, Action.REMOVE_ADMIN)
    if users:
        draft.change(kinds.CHATS, chat.key, command, changes.MembersRemoved(users=users, name=chat.name))
    return ChangedChat(chat.key)


def _users(draft: DraftBuilder, ids: Iterable[str]) -> Iterator[UserKey]:
    """Find the users to remove, each once, including disabled and removed users."""
    for user_id in dict.fromkeys(ids):
        user = draft.state.user(user_id)
        if user is None:
            raise RelayError("not_found", f"payload.participants: there is no user {user_id!r} here")
        yield user.key


def leave_chat(draft: DraftBuilder, command: Command, request: commands.LeaveChat) -> requests.Nothing:
    """Leave a group or channel."""
    chat = chat_for(draft, command, request.chat_id, Action.LEAVE)
    remove_member(draft, command, chat, command.user)
    return requests.Nothing()


def remove_member(draft: DraftBuilder, command: Command, chat: Chat, user: UserKey) -> None:
    """Remove one member. If they are the owner, another member becomes the owner, or the chat is deleted if none can.

    Args:
        draft: the batch.
        command: the command, with its actor.
        chat: a group or channel.
        user: the member.
    """
    if chat.owner != user:
        draft.change(kinds.CHATS, chat.key, command, changes.MembersRemoved(users=[user], name=chat.name))
        return
    heir = counting.heir(draft.state, chat, user)
    if heir is None:
        draft.change(kinds.CHATS, chat.key, command, changes.ChatDeleted(sorted(draft.state.users_in(chat)), chat.name))
    else:
        removed = changes.MembersRemoved(users=[user], owner=heir, name=chat.name)
        draft.change(kinds.CHATS, chat.key, command, removed)


def delete_chat(draft: DraftBuilder, command: Command, request: commands.DeleteChat) -> requests.Nothing:
    """Delete a group or channel for all, or clear a dialog for the user."""
    chat = chat_for(draft, command, request.chat_id, Action.CLEAR)
    if chat.id is None:
        draft.change(
            kinds.CHATS,
            chat.key,
            command,
            changes.ChatHidden(command.user, draft.state.chats[chat.key].last_message_id, marks_kept=True),
        )
        return requests.Nothing()
    permissions.check(draft.state, chat, command.user, Action.DELETE_CHAT)
    draft.change(kinds.CHATS, chat.key, command, changes.ChatDeleted(sorted(draft.state.users_in(chat)), chat.name))
    return requests.Nothing()
