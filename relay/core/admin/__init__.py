"""What an admin may do on the machine: the control socket's requests, from their table to their answers.

The same whether a relay runs or a command has the file to itself. Each module has what is about one thing.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from relay.core.admin.chats import ChatAdmin
from relay.core.admin.events import EventWatch, SendItem
from relay.core.admin.export import Export
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

__all__ = ["Admin", "nobody"]

IMPORT_PREFIX = "import."
"""How the requests of an import begin."""

Handler = Callable[[Any], Awaitable[object]]
StreamingHandler = Callable[[Any, SendItem], Awaitable[object]]


async def nobody(_item: object) -> None:
    """Take an item that nobody wants."""


class PruneNow(Protocol):
    """Removes old messages; see `Retention.prune`."""

    async def __call__(self, *, days: int | None, max_bytes: int | None) -> PruneResult:
        """Give what was removed and what is left."""


class Admin:
    """Every request of the control socket."""

    def __init__(
        self,
        state: State,
        log: Log,
        hub: Hub,
        reading: Connection,
        clock: RelayClock,
        meter: Statistics,
        service: Service,
        prune: PruneNow,
        files: Uploads,
        room: DiskRoom,
    ) -> None:
        self._state = state
        self.runtime = Runtime()
        self._prune = prune
        self.data = meter.data
        """The data directory, as it is named to an admin."""
        self._clock = clock
        self._room = room
        self._log = log
        self._decided = decided = AdminCommands(log, clock)
        signing_in = service.signing_in
        people = UserAdmin(state, decided, hub.presence, log.cursors, signing_in, service.lend, self.runtime)
        invites = InviteAdmin(state, decided, signing_in, clock)
        hooks = HookAdmin(state, decided, signing_in, log, clock, self.runtime)
        chats = ChatAdmin(state, decided)
        status = StatusReport(state, log, hub.presence, meter, self.runtime, clock, room, signing_in.refusals)
        watching = EventWatch(state, hub, reading)
        carry = Export(state, log, reading, clock)
        self._imports = imports = Import(state, log, clock, files)
        self._handlers: dict[str, Handler] = {
            "user.add": people.add_user,
            "user.list": people.list_users,
            "user.show": people.show_user,
            "user.change": people.change_user,
            "user.password": people.set_password,
            "device.add": people.add_device,
            "device.list": people.list_devices,
            "device.revoke": people.revoke_device,
            "device.revokeAll": people.revoke_devices,
            "invite": invites.create,
            "invite.list": invites.list_all,
            "invite.revoke": invites.revoke,
            "lend": people.lend,
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
            "audit.list": watching.list_audit,
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
        """Who handles what of `control.CONTROL`."""
        self._giving_much: dict[str, StreamingHandler] = {
            "watch": watching.watch,
            "export": carry.export,
        }
        """Who handles those that send items first."""

    async def handle(
        self, name: str, payload: msgspec.Struct, item: SendItem = nobody, *, client: object = None
    ) -> object:
        """Do what a request asks and give its answer.

        Args:
            name: its `payloadType`.
            payload: decoded by `control.CONTROL`.
            item: takes what comes before the answer, for requests that give much.
            client: stands for whoever asks several things that belong together, until it has `disconnected`.

        Raises:
            RelayError: what is wrong, for a person.
        """
        if name.startswith(IMPORT_PREFIX) and not getattr(payload, "dry", False):
            await self._imports.begin(client)
        if name in FREEING:
            return await self._room.free(lambda: self._handlers[name](payload))
        many = self._giving_much.get(name)
        return await (self._handlers[name](payload) if many is None else many(payload, item))

    async def disconnected(self, client: object) -> None:
        """End what somebody had begun who asks for nothing more."""
        await self._imports.disconnected(client)

    async def _trust_clock(self, _request: control.Empty) -> object:
        now = self._clock.trust()
        await self._decided(commands.TrustClock())
        if IMPORT_CURSOR in self._log.cursors:
            # It may be from a time when the clock was wrong.
            await self._log.first_cursor(IMPORT_CURSOR, self._state.seq, now)
        return control.ClockTrusted(timestamp=now)

    async def _reindex(self, _request: control.Empty) -> object:
        await self._log.begin_index()
        return control.Empty()

    async def _prune_now(self, request: control.Prune) -> object:
        if request.days and not self._clock.credible():
            raise RelayError(
                "unavailable",
                "how old messages are is not known, since the machine's clock is far from the log's last time:"
                " set the clock, or say that it is right (`relay clock trust`)",
            )
        pruned = await self._prune(days=request.days, max_bytes=request.max_bytes)
        return control.Pruned(removed=pruned.removed, bytes=pruned.bytes, too_large=pruned.too_large)
