"""How a user sees chats and people: lines of the chat list, one chat in full, profiles.

Reads the state and its arguments; no I/O.
"""

from collections.abc import Iterable

from relay.core.delivery.message_views import status_for
from relay.core.delivery.presence import Presence
from relay.core.model.entities import Chat, Member, User
from relay.core.model.state import State
from relay.core.rules import attachments, visibility
from relay.core.rules.visibility import LostChat
from relay.keys import ChatKey, MessageId, UnixMs, UserKey
from relay.protocol import events, objects
from relay.store.entry import read_extra
from relay.store.queries.history import LIST_PREVIEW_CHARACTERS, ChatTexts


def profile(user: User, last_seen: UnixMs | None = None) -> objects.Profile:
    """Show a user as others see them; `last_seen` is Unix milliseconds."""
    return objects.Profile(
        id=user.id,
        name=user.name,
        avatar_url=attachments.shown(user.picture),
        last_seen=last_seen,
        bot=user.bot or None,
    )


def _title(state: State, chat: Chat, user: UserKey) -> tuple[str, str | None]:
    if chat.id is not None:
        return chat.name, attachments.shown(chat.photo_url)
    peer = state.users[state.peer(chat, user)]
    return peer.name, attachments.shown(peer.picture)


def wanted_texts(
    state: State, user: UserKey, chats: Iterable[tuple[Chat, Member]]
) -> list[tuple[ChatKey, MessageId, MessageId]]:
    """Return the texts that lines of a user's chat list need, as `history.chat_texts` takes them.

    Args:
        state: the state.
        user: the user's key.
        chats: the chats, with the user's membership in each.

    Returns:
        For each chat its key, the id of its newest message, and the id after which to look for the user's first unread
        message (-1: nothing is unread).
    """
    return [(chat.key, chat.newest, member.read_upto if state.missed(chat, user) else -1) for chat, member in chats]


def list_position(chat: Chat) -> tuple[UnixMs, ChatKey]:
    """Return a chat's sort key in a list; the greatest comes first.

    Returns:
        The time of its last message, or of its creation (Unix milliseconds), and its key.
    """
    return chat.newest_at or chat.created_at, chat.key


def listed(state: State, user: UserKey) -> list[tuple[Chat, Member]]:
    """Return the chats of a user's list, the latest first.

    Returns:
        Each chat with the user's membership in it.
    """
    return sorted(state.listed(user), key=lambda one: list_position(one[0]), reverse=True)


def list_item(
    state: State, user: UserKey, chat: Chat, member: Member, texts: ChatTexts | None, presence: Presence
) -> objects.ChatListItem:
    """Make one line of a user's chat list.

    Args:
        state: the state.
        user: the owner of the list.
        chat: the chat.
        member: the user as its member.
        texts: the texts read for the line; None if none were.
        presence: the users who are online.
    """
    name, photo_url = _title(state, chat, user)
    missed = state.missed(chat, user)
    shown = visibility.sees(chat, member, chat.newest)
    text = (texts.message if texts and shown else None) or ""
    if not text and texts and texts.extra and shown:
        attachments = read_extra(texts.extra).attachments or []
        text = ", ".join(attachment.filename for attachment in attachments)
    return objects.ChatListItem(
        type=chat.type,
        id=state.chat_id(chat, user),
        name=name,
        photo_url=photo_url,
        last_message_text=text[:LIST_PREVIEW_CHARACTERS],
        last_message_time=(texts.said_at if texts else None) or chat.newest_at if shown else chat.created_at,
        last_message_author=state.users[chat.newest_by].id if shown else None,
        last_message_status=(
            status_for(state, chat.key, user, chat.newest_by, chat.newest, deleted=chat.newest_deleted)
            if shown
            else "read"
        ),
        last_message_id=chat.newest if shown else 0,
        missed=missed or None,
        first_missed=texts.first_missed if texts else None,
        is_mine=shown and chat.newest_by == user,
        last_seen=presence.last(state.peer(chat, user)) if chat.type == "dialog" else None,
    )


def gone(state: State, user: UserKey, chat: Chat, loss: LostChat | None) -> events.ChatGone:
    """Describe to a user how a chat left their list.

    Args:
        state: the state.
        user: the owner of the list.
        chat: the chat.
        loss: how they lost it; None if unknown.
    """
    chat_id = state.chat_id(chat, user)
    if loss is None:
        return events.ChatGone(chat_id=chat_id)
    actor = state.users.get(loss.actor)
    return events.ChatGone(
        chat_id=chat_id,
        title=loss.title or None,
        by=actor.id if actor else None,
        by_name=actor.name if actor else None,
        reason=loss.reason_for(user),
    )


def chat(state: State, user: UserKey, chat: Chat, first_missed: str | None, presence: Presence) -> objects.ChatDetails:
    """Show one chat in full, as a member sees it.

    Args:
        state: the state.
        user: the key of a member.
        chat: the chat.
        first_missed: the client id of their first unread message; None if all is read.
        presence: the users who are online.
    """
    name, photo_url = _title(state, chat, user)
    if chat.id is None:
        meta = objects.ChatMeta(first_name=name, last_seen=presence.last(state.peer(chat, user)))
    else:
        members = state.members[chat.key]
        meta = objects.ChatMeta(
            owner=state.users[chat.owner].id,
            admins=[state.users[key].id for key, member in members.items() if member.admin],
            participants=[profile(state.users[key], presence.last(key)) for key in members],
            created_at=chat.created_at,
        )
    return objects.ChatDetails(
        chat_id=state.chat_id(chat, user),
        type=chat.type,
        name=name,
        photo_url=photo_url,
        last_message_id=chat.last_message_id or None,
        missed=state.missed(chat, user),
        first_missed=first_missed,
        meta=meta,
    )
