"""Handlers of requests about messages: sending and changing them, receipts, history and search."""

import uuid
from collections.abc import Iterable, Sequence

import trio

from relay.core.delivery import message_views
from relay.core.delivery.subscriber import Subscriber
from relay.core.limits import fairness
from relay.core.model.amending import amended_message
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import commands, visibility
from relay.core.service import answer_pages
from relay.core.service.answer_pages import PageMaker
from relay.core.service.dispatch import Reply, Service
from relay.keys import ChatKey, MessageId, UserKey
from relay.protocol import objects, requests
from relay.protocol.errors import RelayError
from relay.store.entry import Entry
from relay.store.queries import history
from relay.store.queries import search as search_queries
from relay.store.queries.search import Sought
from relay.text import fold

SLICE_MESSAGES, SLICE_BYTES = 16, 32_768
"""Messages of an answer, and their bytes, to encode before other tasks get a turn."""
READ_ATTEMPTS = 8
"""Maximum reads of a page that becomes outdated, because its reader clears the chat or too many changes come."""


def new(service: Service, subscriber: Subscriber, request: requests.New, reply: Reply[requests.Accepted]) -> None:
    """Send a message."""
    if request.attachments:
        _check_attachments(service, request.attachments)
    if service.state.users[subscriber.user].bot:
        service.answering.check(subscriber.user, request.chat_id, trio.current_time())
    service.command(subscriber, request, reply)


def edit_or_delete(
    service: Service, subscriber: Subscriber, request: requests.Edit | requests.Delete, reply: Reply[requests.Accepted]
) -> None:
    """Edit or delete a message."""
    if isinstance(request, requests.Edit) and request.attachments:
        _check_attachments(service, request.attachments)
    service.command(subscriber, request, reply, str(uuid.uuid4()))


def _check_attachments(service: Service, attachments: Sequence[objects.Attachment]) -> None:
    if not service.settings.files.elsewhere and any(one.is_elsewhere for one in attachments):
        raise RelayError.forbidden("payload.attachments: this relay takes no files that lie elsewhere: upload them")


def delivered(service: Service, subscriber: Subscriber, request: requests.Mark, reply: Reply[requests.Marked]) -> None:
    """Mark messages as delivered."""
    chat = service.chat(subscriber.user, request.chat_id)
    service.command(subscriber, commands.MarkDelivered(chat.key, request.message_id), reply)


def read(service: Service, subscriber: Subscriber, request: requests.Mark, reply: Reply[requests.Marked]) -> None:
    """Mark messages as read."""
    chat = service.chat(subscriber.user, request.chat_id)
    service.command(subscriber, commands.MarkRead(chat.key, request.message_id), reply)


async def history_page(
    service: Service, subscriber: Subscriber, request: requests.Messages, reply: Reply[list[objects.Message]]
) -> None:
    """Answer with a page of a chat's history.

    Raises:
        RelayError: `bad_request`, both ends are given; `not_found`, there is no such chat for this user.
    """
    if request.start_id is not None and request.end_id is not None:
        raise RelayError.bad_field("payload.endId", "give startId or endId, not both")
    for _ in range(READ_ATTEMPTS):
        found = await _read_page(service, subscriber.user, request)
        if found is not None:
            page, more = found
            reply(page.made(more=more, upwards=request.start_id is not None))
            return
    raise _outdated()


def _outdated() -> RelayError:
    return RelayError("unavailable", "what you asked for changed each time while it was read: try again later")


async def _read_page(service: Service, user: UserKey, request: requests.Messages) -> tuple[PageMaker, bool] | None:
    """Read a page of messages, and whether there are more; None if it became outdated meanwhile."""
    state = service.state
    chat = service.chat(user, request.chat_id)
    member = state.members[chat.key][user]
    as_of, since, cleared = state.seq, visibility.since(chat, member), member.cleared
    rows, more = await history.messages(
        service.reading,
        chat.key,
        start=request.start_id,
        end=request.end_id,
        after=since,
        cleared=cleared,
        count=request.count,
    )
    shown = _messages_of(rows)
    page = PageMaker(service.tuning.page_bytes)
    added: list[objects.Message] = []
    while rows and not page.full:
        members = state.members[chat.key]
        some = (
            rows[: max(1, service.tuning.slice_receipts // len(members))] if chat.id is not None and members else rows
        )
        rows = rows[len(some) :]
        receipts = []
        if chat.id is not None:
            ids = [row.message_id for row in some]
            receipts = await history.receipts(service.reading, chat.key, list(members), min(ids), max(ids))
        if members.get(user) is not member:
            # They left or were removed meanwhile, and may have joined again.
            return None
        await _add_all(page, message_views.messages(state, user, chat, some, receipts), added)
    # Nothing waits from here on, so the page is current when it is sent.
    changes = service.hub.recent.changes_since(shown, as_of)
    is_same_view = state.members[chat.key].get(user) is member and visibility.since(chat, member) == since
    if changes is None or not is_same_view:
        return None
    if changes:
        is_full, page = page.full, PageMaker(service.tuning.page_bytes)
        page.add_all(_amended(state, user, chat, added, changes))
        more = more or is_full
    return page, more


def _amended(
    state: State, user: UserKey, chat: Chat, messages: Iterable[objects.Message], changes: Sequence[Entry]
) -> list[objects.Message]:
    """Bring messages of a chat up to date with these changes of them or of quoted messages."""
    member = state.members[chat.key].get(user)
    amended = list(messages)
    for change in changes:
        if change.chat == chat.key:
            sees = visibility.sees(chat, member, change.target)
            amended = [amended_message(one, change, sees=sees) for one in amended]
    return amended


def _messages_of(rows: Iterable[history.HistoryRow]) -> set[tuple[ChatKey, MessageId]]:
    """Name the messages that rows show, including quoted ones, as pairs of chat and message id."""
    return {(row.chat, shown) for row in rows for shown in (row.message_id, row.target)}


async def _add_all(page: PageMaker, items: Iterable[objects.Message], added: list[objects.Message]) -> None:
    """Add items up to the first one without room, a few at a time, and note them in `added`."""
    size = page.size
    for count, item in enumerate(items, 1):
        if not page.add(item):
            return
        added.append(item)
        if page.size - size > SLICE_BYTES or count % SLICE_MESSAGES == 0:
            size = page.size
            await fairness.wait_for_turn()


async def search(
    service: Service, subscriber: Subscriber, request: requests.Search, reply: Reply[list[objects.Message]]
) -> None:
    """Answer with a page of the messages that a query finds.

    Raises:
        RelayError: `bad_request`, the query or its cursor is not valid; `not_found`, there is no such chat.
    """
    state, user = service.state, subscriber.user
    if not Sought(request.query, {}).folded:
        raise RelayError.bad_field("payload.query", "the query is empty: it needs a letter, a digit or a sign")
    chats = sorted(state.chats_of[user]) if request.chat_id is None else [service.chat(user, request.chat_id).key]
    before = older = search_queries.END
    if isinstance(request.before, str):
        before = answer_pages.seq_of(request.before)
    elif request.before is not None:
        older = request.before
    unseen = {chat: visibility.since(state.chats[chat], state.members[chat][user]) for chat in chats}
    said = sum(state.chats[chat].last_message_id - upto for chat, upto in unseen.items())
    sought = Sought(request.query, unseen, before, older, request.count, said)
    for _ in range(READ_ATTEMPTS):
        found = await _search_page(service, user, sought)
        if found is not None:
            page, more, last = found
            reply(page.made(more=more, after=None if last is None else answer_pages.cursor(last)))
            return
    raise _outdated()


async def _search_page(service: Service, user: UserKey, sought: Sought) -> tuple[PageMaker, bool, int | None] | None:
    """Find a page of messages, whether there are more, and the `seq` of the last; None if it has to be read again."""
    state = service.state
    as_of = state.seq
    rows, more = await service.searching.find(user, sought)
    shown: list[tuple[history.HistoryRow, objects.Message]] = []
    size = 0
    for row in rows:
        # The user may have left a chat or cleared it meanwhile.
        if visibility.sees(state.chats[row.chat], state.members[row.chat].get(user), row.message_id):
            (message,) = message_views.messages(state, user, state.chats[row.chat], [row], (), with_chat_id=True)
            shown.append((row, message))
            size += len(message.message or "")
            if size > SLICE_BYTES:
                size = 0
                await fairness.wait_for_turn()
    # Nothing waits from here on, so the page is current when it is sent.
    changes = service.hub.recent.changes_since(_messages_of(rows), as_of)
    if changes is None:
        return None
    page = PageMaker(service.tuning.page_bytes)
    last = None
    for row, message in shown:
        chat = state.chats[row.chat]
        (now,) = _amended(state, user, chat, [message], changes)
        is_gone = now is not message and not (now.attachments or sought.folded in fold(now.message or ""))
        is_shown = not is_gone and visibility.sees(chat, state.members[row.chat].get(user), row.message_id)
        if is_shown and not page.add(now):
            break
        last = row.seq
    return page, more, last
