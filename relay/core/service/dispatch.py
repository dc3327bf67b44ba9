"""Every frame of a client: acknowledgements, client events, and requests with their way to an answer.

A request is weighed, decoded and handed to its handler. A request that changes something becomes a command for the log
and is answered once it is on disk; others are answered from the state and a reading connection. Knows no sockets.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
import trio

from relay.core.auth.sign_in import SignIn
from relay.core.auth.tokens import Tokens
from relay.core.clock.clock import Clock
from relay.core.delivery import chat_views
from relay.core.delivery.catch_up import CatchUp
from relay.core.delivery.chat_lists import ChatLists
from relay.core.delivery.hub import Hub
from relay.core.delivery.replay import Replays
from relay.core.delivery.subscriber import Subscriber
from relay.core.hooks.loops import LoopBrake
from relay.core.limits import fairness, request_weights
from relay.core.limits.share import LOOKED_UP_WEIGHT, Share
from relay.core.limits.user_limits import UserLimits
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import commands, permissions
from relay.core.rules.permissions import Action
from relay.core.service import answer_pages
from relay.core.service.acknowledgements import Acknowledgements
from relay.core.service.search import Searches
from relay.core.tuning import ServiceTuning
from relay.keys import Seconds, UserKey
from relay.outcomes import ChangedChat, Decidable, Outcome
from relay.protocol import codec, events, requests
from relay.protocol.envelopes import Ack, ClientEvent, Request
from relay.protocol.errors import RelayError
from relay.protocol.objects import ChatDetails
from relay.protocol.request_type import PayloadT, RequestType, ResponseT
from relay.settings import Settings
from relay.store.command import Command
from relay.store.log.log import Log
from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

LOOKED_UP_COMMANDS = (commands.MarkRead, commands.MarkDelivered)
"""Commands that usually need a look-up by the writer, besides messages with quotes or files."""

Reply = Callable[[ResponseT | codec.Page | msgspec.Raw | RelayError], None]
"""Takes the answer to a request: its payload or a page of it, maybe already encoded, or the refusal."""
TakeOutcome = Callable[[Outcome | RelayError], None]
"""Takes the outcome of a command."""


class UnfinishedAnswer(Awaitable[None], Protocol):
    """The rest of an answer, to be awaited: a coroutine."""

    def close(self) -> None:
        """Drop it, if it was not awaited."""


Handler = Callable[["Service", Subscriber, Any, Reply[object]], UnfinishedAnswer | None]
"""Handles one kind of request: takes the service, the subscriber, the decoded payload, and the function that takes the
answer. Any: the payload is that of the request that `handled_by` pairs it with, and no other."""


def handled_by(
    kind: RequestType[PayloadT, ResponseT],
    handler: Callable[["Service", Subscriber, PayloadT, Reply[ResponseT]], UnfinishedAnswer | None],
) -> tuple[str, Handler]:
    """Pair a request with its handler, which takes its payload and answers with its response.

    Returns:
        The request's name on the wire, and the handler.
    """
    return kind.name, handler


class _AwaitedReply:
    """A reply that can be waited for."""

    def __init__(self, reply: Reply[object]) -> None:
        self._reply = reply
        self._given = trio.Event()

    def __call__(self, answer: object) -> None:
        self._reply(answer)
        self._given.set()

    async def wait(self) -> None:
        """Wait for the answer."""
        await self._given.wait()


class Service:
    """The requests that a connection may make, and the objects that their handlers need."""

    def __init__(
        self,
        *,
        state: State,
        log: Log,
        hub: Hub,
        reading: Connection,
        limits: UserLimits,
        tokens: Tokens,
        signing_in: SignIn,
        acknowledgements: Acknowledgements,
        chat_lists: ChatLists,
        catch_up: CatchUp,
        searching: Searches,
        replaying: Replays,
        clock: Clock,
        settings: Settings,
        tuning: ServiceTuning,
        handlers: Mapping[str, Handler],
    ) -> None:
        self.state = state
        self.log = log
        self.hub = hub
        self.reading = reading
        self.limits = limits
        self.tokens = tokens
        self.signing_in = signing_in
        self.acknowledgements = acknowledgements
        self.chat_lists = chat_lists
        self.catch_up = catch_up
        self.searching = searching
        self.replaying = replaying
        self.clock = clock
        self.settings = settings
        self.tuning = tuning
        self.answering = LoopBrake(state)
        """Slows down programs that answer each other."""
        self._handlers = handlers

    # Frames.

    def take(self, subscriber: Subscriber, frame: bytes, now: Seconds) -> UnfinishedAnswer | None:
        """Handle one text message of a client.

        Args:
            subscriber: the connection that it came over.
            frame: the message.
            now: when it came, by trio's clock.

        Returns:
            The rest of the work to await, if the answer needs reading.

        Raises:
            RelayError: the frame is not a valid envelope; the caller tells the client and counts it.
        """
        if not subscriber.foreground:
            self.hub.foreground(subscriber)
        # Nearly every frame is an object and begins like this; the check saves a call per acknowledgement.
        if frame[:1] != b"{" and codec.is_keepalive(frame):
            self.hub.send(subscriber.outlet, codec.PONG)
            return None
        envelope = codec.decode_client_frame(frame)
        if type(envelope) is Ack:
            self.acknowledgements.take(subscriber, envelope.id)
            return None
        if type(envelope) is Request:
            return self._request(subscriber, envelope, now)
        assert type(envelope) is ClientEvent
        self._client_event(subscriber, envelope, now)
        return None

    def _request(self, subscriber: Subscriber, request: Request, now: Seconds) -> UnfinishedAnswer | None:
        reply = partial(self._respond, subscriber, request.id)
        name = request.payload_type
        # Most requests have no weight of their own: they count as one, and wait for no other.
        weight = request_weights.WEIGHTS.get(name)
        awaited = _AwaitedReply(reply) if weight is not None and name in request_weights.IN_TURN else None
        size = len(request.payload)
        if weight is None:
            weight = 1.0
        if size >= request_weights.REQUEST_BYTES:
            weight += size // request_weights.REQUEST_BYTES
        wait_ms = self.limits.requests.take(subscriber.user, now, weight)
        if wait_ms:
            reply(RelayError.rate_limited(wait_ms))
            return None
        try:
            payload = codec.decode_request(request)
            if awaited is None:
                waiting = self._handlers[name](self, subscriber, payload, reply)
            else:
                waiting = self._handle_in_turn(subscriber, name, payload, awaited)
        except RelayError as error:
            reply(error)
            return None
        except Exception:
            logger.exception("%s failed; the relay goes on", name)
            reply(RelayError.internal())
            return None
        if waiting is None:
            return None
        share = subscriber.share
        return self._in_turn(share, share.answering if awaited is None else share.changing, waiting, reply, name)

    async def _handle_in_turn(
        self, subscriber: Subscriber, name: str, payload: msgspec.Struct, reply: _AwaitedReply
    ) -> None:
        """Handle a request that occupies the writer alone, after the user's other ones, and charge the user for it.

        It is appended only after the wait, so it delays nobody, however many connections the user has.
        """
        waiting = self._handlers[name](self, subscriber, payload, reply)
        if waiting is not None:
            await waiting
        else:
            await reply.wait()
        await fairness.wait_for_turn()

    async def _in_turn(
        self, share: Share, lock: trio.Lock, waiting: UnfinishedAnswer, reply: Reply[object], name: str
    ) -> None:
        """Await an answer once the user's other answers of this kind are made and there is room for it."""
        try:
            async with lock:
                await share.room()
                await waiting
        except RelayError as error:
            reply(error)
        except sqlite3.Error as error:
            reply(self.log.faults.unread(error, name))
        except Exception:
            logger.exception("%s failed; the relay goes on", name)
            reply(RelayError.internal())
        finally:
            waiting.close()

    def _respond(self, subscriber: Subscriber, request_id: str | int, answer: object) -> None:
        now = self.clock()
        if isinstance(answer, RelayError):
            payload = codec.refusal(request_id, now, answer.error)
        else:
            payload = codec.response(request_id, now, answer)
            if len(payload) >= request_weights.ANSWER_BYTES:
                weight = len(payload) // request_weights.ANSWER_BYTES
                self.limits.requests.charge(subscriber.user, trio.current_time(), weight)
        self.hub.send(subscriber.outlet, payload)

    def _client_event(self, subscriber: Subscriber, event: ClientEvent, now: Seconds) -> None:
        name = event.event_type or event.payload_type
        if name is None:
            raise RelayError.bad_field("eventType", "this field is required")
        payload = codec.decode_client_event(name, event.payload)
        if self.limits.requests.take(subscriber.user, now):
            return
        if isinstance(payload, events.ClientTyping):
            chat = self.chat(subscriber.user, payload.chat_id)
            if payload.stop:
                self.hub.stop_typing(chat.key, subscriber.user)
            elif permissions.may(self.state, chat, subscriber.user, Action.TYPE):
                # Without the right nothing is shown or answered: typing is worthless later.
                self.hub.start_typing(chat.key, subscriber.user, now)
        else:
            self.hub.background(subscriber)

    # For handlers.

    def command(
        self, subscriber: Subscriber, request: Decidable[Outcome], take: TakeOutcome[Outcome], generated_id: str = ""
    ) -> None:
        """Append a connection's request as a command.

        Args:
            subscriber: the connection that asks.
            request: the request, or the command that it stands for.
            take: takes the outcome once it is on disk.
            generated_id: an id that the relay generated for it.
        """
        share, log = subscriber.share, self.log
        command = Command(self.clock(), subscriber.user, subscriber.device, request, subscriber.number, generated_id)
        if not log.append(command, take):
            # The command is in no batch, so its user need not wait for one.
            return
        if share.batch != log.batch:
            share.batch, share.commands = log.batch, 0
        if type(request) is requests.New:
            is_looked_up = request.reply_to is not None or bool(request.attachments)
        else:
            is_looked_up = type(request) in LOOKED_UP_COMMANDS
        share.commands += LOOKED_UP_WEIGHT if is_looked_up else 1

    def command_on_chat(
        self, subscriber: Subscriber, request: Decidable[ChangedChat], reply: Reply[ChatDetails], generated_id: str = ""
    ) -> None:
        """Append a command that changes a chat, and answer with the chat.

        Args:
            subscriber: the connection that asks.
            request: the change.
            reply: takes the changed chat, or the refusal.
            generated_id: the id of a chat that it creates.
        """

        def answer(outcome: ChangedChat | RelayError) -> None:
            if isinstance(outcome, RelayError):
                reply(outcome)
                return
            chat = self.state.chats[outcome.chat]
            # The client knows from its list what is unread in a chat that it has just changed.
            details = chat_views.chat(self.state, subscriber.user, chat, None, self.hub.presence)
            reply(answer_pages.chat(details, self.tuning.page_bytes))

        self.command(subscriber, request, answer, generated_id)

    def chat(self, user: UserKey, chat_id: str) -> Chat:
        """Find a chat that a user may read by the id that it has for them.

        Raises:
            RelayError: `not_found`; it does not reveal whether the chat exists.
        """
        key = self.state.chat_key(user, chat_id)
        if key is None:
            raise RelayError.no_chat(chat_id)
        chat = self.state.chats[key]
        permissions.check(self.state, chat, user, Action.READ)
        return chat
