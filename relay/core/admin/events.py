"""The log as an admin sees it: new entries (`relay tail`), and earlier changes (`relay audit`)."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec
import trio

from relay.core.admin import audit
from relay.core.admin.lookup import Lookup
from relay.core.delivery.hub import Hub
from relay.core.model.changes import is_readable
from relay.core.model.held import held_bytes
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN
from relay.protocol import control
from relay.protocol.request_type import ItemT
from relay.store.entry import Entry
from relay.store.queries import log_entries
from relay.store.sqlite.database import Connection

MAX_WAITING_ENTRIES = 1_000
"""The most entries that wait for one watcher. Entries for a slower watcher are dropped and counted."""
MAX_WAITING_BYTES = 4 * 2**20
"""Bytes that these entries may hold together."""
HEARTBEAT_SECONDS = 10.0
"""Seconds without an entry before an empty item is sent, to find out whether the client is still connected."""

SendItem = Callable[[ItemT | None], Awaitable[None]]
"""Sends an item of a streaming request, before its answer; None only shows that the connection is alive."""


class EventWatch:
    """Log entries for admins."""

    def __init__(self, state: State, hub: Hub, reading: Connection) -> None:
        self._state = state
        self._find = Lookup(state)
        self._hub = hub
        self._reading = reading

    async def list_audit(self, request: control.Audit) -> list[control.EntryInfo]:
        """List the latest changes to users, rights and groups, newest first."""
        actor = None
        if request.actor is not None:
            actor = ADMIN if request.actor == audit.ADMIN_NAME else self._find.past_user(request.actor).key
        found: list[control.EntryInfo] = []
        before = request.before or self._state.seq + 1
        while len(found) < request.count:
            entries = await log_entries.changes(self._reading, before, actor, request.count)
            found += [audit.describe(self._state, one) for one in entries if is_readable(one) and audit.is_audited(one)]
            if len(entries) < request.count:
                break
            before = entries[-1].seq
        return found[: request.count]

    async def watch(self, request: control.Watch, item: SendItem[control.EntryInfo]) -> NoReturn:
        """Send entries as they are written, until the client disconnects."""
        chat = None if request.chat is None else self._find.any_chat(request.chat)
        sender, receiver = trio.open_memory_channel[tuple[Entry, int]](MAX_WAITING_ENTRIES)
        missed = waiting_bytes = 0

        def take(entry: Entry) -> None:
            nonlocal missed, waiting_bytes
            if chat is not None and entry.chat != chat:
                return
            size = held_bytes(entry)
            if waiting_bytes and waiting_bytes + size > MAX_WAITING_BYTES:
                missed += 1
                return
            try:
                sender.send_nowait((entry, size))
            except trio.WouldBlock:
                missed += 1
            else:
                waiting_bytes += size

        self._hub.watchers.append(take)
        try:
            while True:
                with trio.move_on_after(HEARTBEAT_SECONDS) as quiet:
                    entry, size = await receiver.receive()
                if quiet.cancelled_caught:
                    await item(None)
                    continue
                waiting_bytes -= size
                shown = audit.describe(self._state, entry, texts=request.texts)
                if missed:
                    shown, missed = msgspec.structs.replace(shown, missed=missed), 0
                await item(shown)
        finally:
            self._hub.watchers.remove(take)
