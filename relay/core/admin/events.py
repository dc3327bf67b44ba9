"""An admin's view of what happens: as it does, and what was changed earlier."""

from collections.abc import Awaitable, Callable

import msgspec
import trio

from relay.core.admin import audit
from relay.core.admin.lookup import Lookup
from relay.core.delivery.hub import Hub
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN
from relay.protocol import control
from relay.store.entry import Entry
from relay.store.queries import lookups
from relay.store.sqlite.database import Connection

MAX_WAITING_ENTRIES = 1_000
"""Entries that wait for one who watches; who is slower than that misses some and is told so."""
HEARTBEAT_SECONDS = 10.0
"""Seconds after which a watcher is told that nothing happened: so it is known whether they are still there."""

SendItem = Callable[[object], Awaitable[None]]
"""Takes what comes before an answer, for requests that give much."""


class EventWatch:
    """The entries of the log as an admin sees them."""

    def __init__(self, state: State, hub: Hub, reading: Connection) -> None:
        self._state = state
        self._find = Lookup(state)
        self._hub = hub
        self._reading = reading

    async def list_audit(self, request: control.Audit) -> object:
        """The latest changes to who may be here and who is in what, newest first."""
        actor = None
        if request.actor is not None:
            actor = ADMIN if request.actor == audit.ADMIN_NAME else self._find.user(request.actor).key
        found: list[control.EntryInfo] = []
        before = request.before or self._state.seq + 1
        while len(found) < request.count:
            entries = await lookups.changes(self._reading, before, actor, request.count)
            found += [audit.happened(self._state, one) for one in entries if audit.is_audited(one)]
            if len(entries) < request.count:
                break
            before = entries[-1].seq
        return found[: request.count]

    async def watch(self, request: control.Watch, item: SendItem) -> object:
        """Tell what happens until whoever asked goes away."""
        chat = None if request.chat is None else self._find.any_chat(request.chat)
        sender, receiver = trio.open_memory_channel[Entry](MAX_WAITING_ENTRIES)
        missed = 0

        def take(entry: Entry) -> None:
            nonlocal missed
            try:
                if chat is None or entry.chat == chat:
                    sender.send_nowait(entry)
            except trio.WouldBlock:
                missed += 1

        self._hub.watchers.append(take)
        try:
            while True:
                with trio.move_on_after(HEARTBEAT_SECONDS) as quiet:
                    entry = await receiver.receive()
                if quiet.cancelled_caught:
                    await item(None)
                    continue
                shown = audit.happened(self._state, entry, texts=request.texts)
                if missed:
                    shown, missed = msgspec.structs.replace(shown, missed=missed), 0
                await item(shown)
        finally:
            self._hub.watchers.remove(take)
