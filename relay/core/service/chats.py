"""Handlers of requests about chats: the list, one chat, and changes of groups and channels."""

import msgspec
import trio

from relay.core.delivery import chat_views
from relay.core.delivery.subscriber import Subscriber
from relay.core.rules import commands
from relay.core.service import answer_pages
from relay.core.service.dispatch import Reply, Service
from relay.core.service.ids import new_chat_id
from relay.protocol import objects, requests
from relay.protocol.codec import Page
from relay.protocol.errors import RelayError
from relay.store.queries import history


async def one_chat(
    service: Service, subscriber: Subscriber, request: requests.ChatDetailsRequest, reply: Reply[objects.ChatDetails]
) -> None:
    """Answer with one chat in full.

    Raises:
        RelayError: `not_found`, there is no such chat for this user.
    """
    user = subscriber.user
    chat = service.chat(user, request.chat_id)
    state = service.state
    first_missed = None
    if state.missed(chat, user):
        read = state.members[chat.key][user].read_upto
        texts = await history.chat_texts(service.reading, user, [(chat.key, chat.newest, read)])
        first_missed = texts[chat.key].first_missed
        if user not in state.members[chat.key]:
            raise RelayError.no_chat(request.chat_id)
    details = chat_views.chat(state, user, chat, first_missed, service.hub.presence)
    reply(answer_pages.chat(details, service.tuning.page_bytes, request.after))


async def chat_list(
    service: Service, subscriber: Subscriber, request: requests.ChatsRequest, reply: Reply[list[objects.ChatListItem]]
) -> None:
    """Answer with the chat list: whole in version 1 of the protocol, a page of it in version 2."""
    if subscriber.version == 1:
        reply(await service.chat_lists.whole(subscriber.user))
    else:
        reply(await service.chat_lists.page(subscriber, request.after))


def create(
    service: Service, subscriber: Subscriber, request: requests.CreateChat, reply: Reply[objects.ChatDetails]
) -> None:
    """Make a group or a channel.

    Raises:
        RelayError: `rate_limited`, the user has made too many today.
    """
    wait_ms = service.limits.groups.take(subscriber.user, trio.current_time())
    if wait_ms:
        raise RelayError.too_many_groups(service.settings.limits.groups_per_day, wait_ms)

    def answer(decided: objects.ChatDetails | Page | msgspec.Raw | RelayError) -> None:
        if isinstance(decided, RelayError):
            # Count only groups that were made.
            service.limits.groups.refund(subscriber.user)
        reply(decided)

    service.command_on_chat(subscriber, request, answer, new_chat_id())


def update(
    service: Service, subscriber: Subscriber, request: requests.UpdateChat, reply: Reply[objects.ChatDetails]
) -> None:
    """Change a chat's name, photo or admins."""
    service.command_on_chat(subscriber, request, reply)


def add_participants(
    service: Service, subscriber: Subscriber, request: requests.Participants, reply: Reply[objects.ChatDetails]
) -> None:
    """Add people to a chat."""
    service.command_on_chat(subscriber, commands.AddParticipants(request.chat_id, request.participants), reply)


def remove_participants(
    service: Service, subscriber: Subscriber, request: requests.Participants, reply: Reply[objects.ChatDetails]
) -> None:
    """Remove people from a chat."""
    service.command_on_chat(subscriber, commands.RemoveParticipants(request.chat_id, request.participants), reply)


def leave(
    service: Service, subscriber: Subscriber, request: requests.ChatRequest, reply: Reply[requests.Nothing]
) -> None:
    """Leave a chat."""
    service.command(subscriber, commands.LeaveChat(request.chat_id), reply)


def delete(
    service: Service, subscriber: Subscriber, request: requests.ChatRequest, reply: Reply[requests.Nothing]
) -> None:
    """Delete a chat; a dialog is cleared only for the user who asks."""
    service.command(subscriber, commands.DeleteChat(request.chat_id), reply)
