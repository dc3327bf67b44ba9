"""The requests of the control socket, from their table to their answers.

They are answered in the same way by a running relay and by a command that has opened the store itself. Each module of
this room handles the requests about one subject.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from relay.core.admin.chats import ChatAdmin
from relay.core.admin.events import EventWatch, SendItem
from relay.core.admin.export import Exporter
from relay.core.admin.hooks import HookAdmin
from relay.core.admin.imports import IMPORT_CURSOR, Import
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
from relay.core.rules.submit import AdminCommands
from relay.core.service.dispatch import Service
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.log.log import Log
from relay.store.sqlite.database import Connection

__all__ = ["Admin", "discard"]

IMPORT_PREFIX = "import."
"""The prefix of the names of import requests."""

Handler = Callable[[Any], Awaitable[object]]
StreamingHandler = Callable[[Any, SendItem], Awaitable[object]]


async def discard(_item: object) -> None:
    """Discard an item."""


class PruneNow(Protocol):
    """Removes old messages, like `Retention.prune`."""

    async def __call__(self, *, days: int | None, max_bytes: int | None) -> PruneResult:
        """Prune, and return what was removed and what is left."""


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
    ) -> None:
        self._state = state
        self.runtime = Runtime()
        self._prune = prune
        self.data = statistics.data
        """The path of the data directory, for messages to an admin."""
        self._clock = clock
        self._room = room
        self._log = log
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
        self._imports = imports = Import(state, log, clock, files)
        self._handlers: dict[str, Handler] = {
            "user.add": users.add_user,
            "user.list": users.list_users,
            "user.show": users.show_user,
            "user.change": users.change_user,
            "user.password": users.set_password,
            "device.add": users.add_device,
            "device.list": users.list_devices,
            "device.revoke": users.revoke_device,
            "device.revokeAll": users.revoke_devices,
            "invite": invites.create,
            "invite.list": invites.list_all,
            "invite.revoke": invites.revoke,
            "lend": users.lend,
            "chat.create": chats.make,
            "chat.list": chats.list_all,
            "chat.show": chats.show,
            "chat.add": chats.add,
            "chat.remove": chats.remove,
            "chat.update": chats.update,
            "chat.delete": chats.delete,
            "hook.add": hooks.add,
            "hook.list": hooks.list_all,
            "hook.remove": hooks.remove,
            "say": MessageAdmin(state, log, clock).say,
            "status.show": status.show,
            "config.show": status.show_settings,
            "audit.list": events.list_audit,
            "prune": self._prune_now,
            "clock.trust": self._trust_clock,
            "reindex": self._reindex,
            "import.user": imports.import_user,
            "import.chat": imports.import_chat,
            "import.file": imports.import_file,
            "import.picture": imports.import_picture,
            "import.messages": imports.import_messages,
            "import.end": imports.end_import,
        }
        """The handlers, by the names of `control.CONTROL`."""
        self._streaming_handlers: dict[str, StreamingHandler] = {
            "watch": events.watch,
            "export": export.export,
        }
        """The handlers of requests that send items before their answer."""

    async def handle(
        self, name: str, payload: msgspec.Struct, item: SendItem = discard, *, client: object = None
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
            # The earlier time may be one at which the clock was wrong.
            await self._log.first_cursor(IMPORT_CURSOR, self._state.seq, now)
        return control.ClockTrustResult(timestamp=now)

    async def _reindex(self, _request: control.Empty) -> control.Empty:
        await self._log.begin_index()
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
