"""The requests of the control socket, from their table to their answers.

A running relay and a command that has opened the store itself answer them in the same way. Each module of
this room handles the requests about one subject.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from relay.core.admin.chats import ChatAdmin
from relay.core.admin.events import EventWatch, SendItem
from relay.core.admin.export import Exporter
from relay.core.admin.hooks import HookAdmin
from relay.core.admin.importing.imports import IMPORT_CURSOR, Import
from relay.core.admin.invites import InviteAdmin
from relay.core.admin.messages import MessageAdmin
from relay.core.admin.status import Runtime, StatusReport
from relay.core.admin.users import UserAdmin
from relay.core.clock.clock import RelayClock
from relay.core.delivery.hub import Hub
from relay.core.files.uploads import Uploads
from relay.core.maintenance.disk_room import FREEING, DiskRoom
from relay.core.maintenance.retention import PruneResult
from relay.core.maintenance.statistics import Statistics
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.service.dispatch import Service
from relay.core.submit import AdminCommands
from relay.protocol import control
from relay.protocol.control.table import (
    AUDIT_LIST,
    CHAT_ADD,
    CHAT_CREATE,
    CHAT_DELETE,
    CHAT_LIST,
    CHAT_REMOVE,
    CHAT_SHOW,
    CHAT_UPDATE,
    CLOCK_TRUST,
    CONFIG_SHOW,
    DEVICE_ADD,
    DEVICE_LIST,
    DEVICE_REVOKE,
    DEVICE_REVOKE_ALL,
    EXPORT,
    HOOK_ADD,
    HOOK_LIST,
    HOOK_REMOVE,
    IMPORT_CHAT,
    IMPORT_END,
    IMPORT_FILE,
    IMPORT_MESSAGES,
    IMPORT_PICTURE,
    IMPORT_USER,
    INVITE,
    INVITE_LIST,
    INVITE_REVOKE,
    PRUNE,
    REINDEX,
    SAY,
    STATUS_SHOW,
    TEMPORARY_TOKEN,
    USER_ADD,
    USER_CHANGE,
    USER_LIST,
    USER_PASSWORD,
    USER_SHOW,
    WATCH,
)
from relay.protocol.errors import RelayError
from relay.protocol.request_type import ItemT, PayloadT, RequestType, ResponseT, StreamType
from relay.store.damage import REPAIR_HELPS
from relay.store.log.log import Log
from relay.store.sqlite.database import Connection

__all__ = ["Admin", "discard"]

IMPORT_PREFIX = "import."
"""The prefix of the names of import requests."""

Handler = Callable[[Any], Awaitable[object]]
"""Any: takes the payload of the request that `_by` pairs it with, and no other."""
StreamingHandler = Callable[[Any, SendItem[object]], Awaitable[object]]
"""Any: as above; the items are those of its request, too."""


def _by(
    kind: RequestType[PayloadT, ResponseT], handler: Callable[[PayloadT], Awaitable[ResponseT]]
) -> tuple[str, Handler]:
    """Pair a request with its handler, which takes its payload and returns its response."""
    return kind.name, handler


def _streamed_by(
    kind: StreamType[PayloadT, ResponseT, ItemT],
    handler: Callable[[PayloadT, SendItem[ItemT]], Awaitable[ResponseT]],
) -> tuple[str, StreamingHandler]:
    """Pair a request with its handler, which also sends items of its type."""
    return kind.name, handler


async def discard(_item: object) -> None:
    """Discard an item."""


class PruneNow(Protocol):
    """Removes old messages, like `Retention.prune`."""

    async def __call__(self, *, days: int | None, max_bytes: int | None) -> PruneResult:
        """Prune, and return how much was removed and how much is left."""


class Admin:
    """Answers every request of the control socket."""

    def __init__(
        self,
        state: State,
        log: Log,
        hub: Hub,
        reading: Connection,
        clock: RelayClock,
        statistics: Statistics,
        service: Service,
        prune: PruneNow,
        files: Uploads,
        room: DiskRoom,
        runtime: Runtime,
    ) -> None:
        self._state = state
        self.runtime = runtime
        self._prune = prune
        self.data = statistics.data
        """The path of the data directory, for messages to an admin."""
        self._clock = clock
        self._room = room
        self._log = log
        self.faults = log.faults
        """What is told of the store's faults."""
        self._submit = submit = AdminCommands(log, clock)
        sign_in = service.signing_in
        users = UserAdmin(
            state, submit, hub.presence, log.cursors, sign_in, service.tokens.issue_temporary, self.runtime
        )
        invites = InviteAdmin(state, submit, sign_in, clock)
        hooks = HookAdmin(state, submit, sign_in, log, clock, self.runtime)
        chats = ChatAdmin(state, submit)
        status = StatusReport(state, log, hub.presence, statistics, self.runtime, clock, room, sign_in.refusals)
        events = EventWatch(state, hub, reading)
        export = Exporter(state, log, reading, clock)
        self._imports = imports = Import(state, log, clock, files, service.settings.files)
        self._handlers = dict(
            (
                _by(USER_ADD, users.add_user),
                _by(USER_LIST, users.list_users),
                _by(USER_SHOW, users.show_user),
                _by(USER_CHANGE, users.change_user),
                _by(USER_PASSWORD, users.set_password),
                _by(DEVICE_ADD, users.add_device),
                _by(DEVICE_LIST, users.list_devices),
                _by(DEVICE_REVOKE, users.revoke_device),
                _by(DEVICE_REVOKE_ALL, users.revoke_devices),
                _by(INVITE, invites.create),
                _by(INVITE_LIST, invites.list_all),
                _by(INVITE_REVOKE, invites.revoke),
                _by(TEMPORARY_TOKEN, users.issue_temporary_token),
                _by(CHAT_CREATE, chats.make),
                _by(CHAT_LIST, chats.list_all),
                _by(CHAT_SHOW, chats.show),
                _by(CHAT_ADD, chats.add),
                _by(CHAT_REMOVE, chats.remove),
                _by(CHAT_UPDATE, chats.update),
                _by(CHAT_DELETE, chats.delete),
                _by(HOOK_ADD, hooks.add),
                _by(HOOK_LIST, hooks.list_all),
                _by(HOOK_REMOVE, hooks.remove),
                _by(SAY, MessageAdmin(state, log, clock).say),
                _by(STATUS_SHOW, status.show),
                _by(CONFIG_SHOW, status.show_settings),
                _by(AUDIT_LIST, events.list_audit),
                _by(PRUNE, self._prune_now),
                _by(CLOCK_TRUST, self._trust_clock),
                _by(REINDEX, self._reindex),
                _by(IMPORT_USER, imports.people.import_user),
                _by(IMPORT_CHAT, imports.people.import_chat),
                _by(IMPORT_FILE, imports.import_file),
                _by(IMPORT_PICTURE, imports.people.import_picture),
                _by(IMPORT_MESSAGES, imports.messages.import_messages),
                _by(IMPORT_END, imports.end_import),
            )
        )
        """The handlers, by the names of `control.CONTROL`."""
        self._streaming_handlers = dict((_streamed_by(WATCH, events.watch), _streamed_by(EXPORT, export.export)))
        """The handlers of requests that send items before their answer."""

    async def handle(
        self, name: str, payload: msgspec.Struct, item: SendItem[object] = discard, *, client: object = None
    ) -> object:
        """Handle a request and return its answer.

        Args:
            name: the request's `payloadType`.
            payload: its payload, decoded by `control.CONTROL`.
            item: takes the items that a streaming request sends before its answer.
            client: identifies the client across requests that belong together, until it has `disconnected`.

        Raises:
            RelayError: the request is refused, with a message for a person.
        """
        if name.startswith(IMPORT_PREFIX) and not getattr(payload, "dry", False):
            await self._imports.begin(client)
        if name in FREEING:
            return await self._room.free(lambda: self._handlers[name](payload))
        streaming = self._streaming_handlers.get(name)
        return await (self._handlers[name](payload) if streaming is None else streaming(payload, item))

    async def disconnected(self, client: object) -> None:
        """End the import of a client that has disconnected."""
        await self._imports.disconnected(client)

    async def _trust_clock(self, _request: control.Empty) -> control.ClockTrustResult:
        now = self._clock.trust()
        await self._submit(commands.TrustClock())
        if IMPORT_CURSOR in self._log.cursors:
            # The clock may have been wrong at the earlier time.
            await self._log.first_cursor(IMPORT_CURSOR, self._state.seq, now)
        return control.ClockTrustResult(timestamp=now)

    async def _reindex(self, _request: control.Empty) -> control.Empty:
        if not await self._log.begin_index():
            raise RelayError(
                "unavailable", f"the full-text index lies on damaged pages and cannot be rebuilt there: {REPAIR_HELPS}"
            )
        return control.Empty()

    async def _prune_now(self, request: control.Prune) -> control.Pruned:
        if request.days and not self._clock.credible():
            raise RelayError(
                "unavailable",
                "how old messages are is not known, since the machine's clock is far from the log's last time:"
                " set the clock, or say that it is right (`relay clock trust`)",
            )
        pruned = await self._prune(days=request.days, max_bytes=request.max_bytes)
        return control.Pruned(removed=pruned.removed, bytes=pruned.bytes, too_large=pruned.too_large)
