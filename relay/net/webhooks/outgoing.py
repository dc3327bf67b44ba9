"""Outgoing hooks: what is said in one chat is posted to an address, each event once it is on disk.

A hook reads the log from its cursor on: in order, at least once, one event at a time. What it has not posted waits in
the log, not in memory; where nobody takes it, it is tried again, ever more seldom. It is nobody's device: it makes
nobody online and acknowledges nothing.
"""

import logging
import random
import sqlite3
from collections import defaultdict
from typing import NamedTuple

import trio

from relay.core.auth.rights import KINDS
from relay.core.delivery import views
from relay.core.delivery.replay import ReadAhead
from relay.core.hooks.loops import MAX_IN_A_ROW, TurnsInARow
from relay.core.hooks.rights import chat_of, may_act
from relay.core.model import changes
from relay.core.model.entities import Device
from relay.core.relay import Relay
from relay.core.rules import visibility
from relay.net.webhooks.post import PostFailed, post
from relay.protocol import codec
from relay.store import kinds
from relay.store.entry import Entry
from relay.store.queries.replay import CHANGES

logger = logging.getLogger(__name__)

POSTED = frozenset({kinds.NEW, kinds.EDIT, kinds.DELETE})
"""The entries that are posted."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds between two tries: doubled each time, and jittered."""
GIVE_UP = 3 * 86_400.0
"""Seconds for which one event is tried; then the next one has its turn."""
REMINDER = 3_600.0
"""Seconds between two log records of an address that takes nothing."""


class OutgoingHooks:
    """All outgoing hooks of a relay; each has a task while it may act."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._known = {one.key: one for one in relay.state.devices.values() if _posts(one)}
        """Those that are not removed."""
        self._running: dict[int, Delivery] = {}
        self._of_chat: dict[int, list[Delivery]] = {}
        self._failed: set[int] = set()
        self._news = trio.Event()

    async def run(self) -> None:
        """Serve the hooks there are and those that come, until cancelled."""
        watchers = self._relay.hub.watchers
        async with trio.open_nursery() as nursery:
            watchers.append(self._watch)
            try:
                while True:
                    self._news = trio.Event()
                    for device in self._known.values():
                        resting = device.key not in self._running and device.key not in self._failed
                        if resting and may_act(self._relay.state, device):
                            self._running[device.key] = delivery = Delivery(self._relay, device)
                            nursery.start_soon(self._serve, delivery)
                    self._sort()
                    await self._news.wait()
            finally:
                watchers.remove(self._watch)

    def _watch(self, entry: Entry) -> None:
        """Wake the hooks of a chat; look who may act where somebody may have lost a right, or got one."""
        if entry.kind in POSTED:
            for delivery in self._of_chat.get(entry.chat, ()):
                delivery.wake(entry)
        elif entry.kind in KINDS:
            if entry.kind == kinds.DEVICE:
                self._note(entry)
            if self._known:
                self._news.set()

    def _note(self, entry: Entry) -> None:
        """Take a new hook in, and let one that is removed go."""
        change = changes.decode(entry.extra or "")
        if isinstance(change, changes.DeviceRevoked):
            self._known.pop(change.key, None)
            self._relay.admin.runtime.hooks.pop(change.key, None)
        elif isinstance(change, changes.DeviceAdded):
            device = self._relay.state.devices[change.key]
            if _posts(device):
                self._known[device.key] = device
                # What is said from here on is posted, though its task begins a moment later.
                self._relay.log.keep_cursor(device.key, entry.seq, self._relay.clock())

    def _sort(self) -> None:
        """Note which chat each hook waits for: a dialog may have begun."""
        found: defaultdict[int, list[Delivery]] = defaultdict(list)
        for delivery in self._running.values():
            chat = chat_of(self._relay.state, delivery.device)
            if chat is not None:
                found[chat].append(delivery)
        self._of_chat = dict(found)
        for delivery in self._running.values():
            delivery.look()

    async def _serve(self, delivery: "Delivery") -> None:
        device = delivery.device
        try:
            await delivery.run()
        except Exception:
            logger.exception("hook %d failed and rests until the next start", device.key)
            self._failed.add(device.key)
            self._relay.admin.runtime.hooks[device.key] = "failed, the log says how; it rests until the next start"
        finally:
            del self._running[device.key]
            # It may have got its right back before it had ended.
            self._news.set()


def _posts(device: Device) -> bool:
    return device.hook is not None and bool(device.hook.url) and not device.revoked_at


class _Tried(NamedTuple):
    """An event that was not taken."""

    seq: int
    since: float
    times: int
    told: float
    """When the log was told last."""


class Delivery:
    """One hook, from its cursor on."""

    def __init__(self, relay: Relay, device: Device) -> None:
        assert device.hook is not None
        self._relay = relay
        self.device = device
        self._hook = device.hook
        self._wake = trio.Event()
        self._idle = False
        self._position = 0
        self._ahead = ReadAhead()
        self._row = TurnsInARow()
        self._weighed = 0
        """Up to this `seq` it is known what is held back."""
        self._skipped = 0
        self._tried = _Tried(0, 0.0, 0, 0.0)

    async def run(self) -> None:
        """Post for as long as it may; what is under way then is cut off."""
        relay, device = self._relay, self.device
        known = relay.log.cursors.get(device.key)
        self._keep(relay.state.seq if known is None else known[0])
        with relay.hub.rights.while_allowed(lambda: may_act(relay.state, device)):
            while True:
                self._wake = trio.Event()
                self._idle = await self._catch_up()
                if self._idle:
                    await self._wake.wait()

    def wake(self, entry: Entry) -> None:
        """Take note that something was said in its chat."""
        if self._idle:
            # All before it is posted: that much of the log may be removed meanwhile.
            self._keep(entry.seq - 1)
            self._idle = False
        self._wake.set()

    def look(self) -> None:
        """Look whether there is something to post."""
        self._idle = False
        self._wake.set()

    def _keep(self, position: int) -> None:
        self._position = position
        self._relay.log.keep_cursor(self.device.key, position, self._relay.clock())

    async def _catch_up(self) -> bool:
        """Post what the log has; tells whether that was all."""
        relay, state = self._relay, self._relay.state
        chat = chat_of(state, self.device)
        if chat is None or state.chats[chat].last_seq <= self._position:
            return True
        if self._position < state.pruned:
            logger.warning(
                "hook %d: what was said up to event %d is removed (retention); it goes on after it",
                self.device.key,
                state.pruned,
            )
            self._keep(state.pruned)
        try:
            async with relay.service.replaying.turn(self.device.user):
                upto = state.seq
                ends = {chat: state.chats[chat].last_seq, CHANGES: upto}
                page = await relay.service.replaying.page(self._ahead, self._position, upto, ends, upto, state.users)
        except sqlite3.Error as error:
            logger.error("hook %d waits: the store cannot be read: %s", self.device.key, error)
            await trio.sleep(FIRST_PAUSE)
            return False
        for entry in page.entries:
            if not await self._take(entry, upto):
                self._ahead.clear()
                return False
            self._keep(entry.seq)
        self._keep(page.upto)
        if page.upto >= upto:
            self._ahead.clear()
        return page.upto >= state.chats[chat].last_seq

    async def _take(self, entry: Entry, read_at: int) -> bool:
        """Post one entry of the chat, if it is to be posted; tells whether the next one has its turn.

        Args:
            entry: it.
            read_at: the last `seq` when it was read.
        """
        if entry.kind not in POSTED or not self._passes(entry):
            return True
        # After each pause it is looked at again: it may be changed, deleted or cleared, or be nothing for it any more.
        while self._is_told(entry):
            if entry.seq <= self._relay.state.pruned or not self._relay.hub.refresh([entry], read_at):
                # It is removed, or so much happened that it has to be read again to be told as it is now.
                return False
            name, payload = views.event(self._relay.state, entry, self.device.user)
            try:
                await post(
                    self._hook,
                    codec.event(name, entry.at, payload, entry.seq),
                    entry.seq,
                    self._relay.clock(),
                    self._skipped,
                )
            except PostFailed as error:
                if error.final or self._given_up(entry, error):
                    logger.warning("hook %d: event %d is given up: %s", self.device.key, entry.seq, error)
                    return True
                pause = min(FIRST_PAUSE * 2.0 ** (min(self._tried.times, 16) - 1), LONGEST_PAUSE)
                await trio.sleep(max(error.after, random.uniform(pause / 2, pause)))  # noqa: S311 - jitter, no secret
            else:
                self._taken(entry)
                return True
        return True

    def _is_told(self, entry: Entry) -> bool:
        return visibility.is_event_for(self._relay.state, entry, self.device.user)

    def _passes(self, entry: Entry) -> bool:
        """Tell whether an entry is no echo, and no part of a loop."""
        state = self._relay.state
        device = state.devices.get(entry.device)
        by_hook = device is not None and device.hook is not None
        if by_hook and entry.actor == self.device.user:
            return False
        if entry.seq <= self._weighed:
            return True
        self._weighed = entry.seq
        if not by_hook and not state.users[entry.actor].bot:
            self._row.person()
            return True
        if self._row.passes(entry.at):
            return True
        if not self._skipped:
            logger.warning(
                "hook %d: programs said more than %d things in a row in %s: some of it is held back from here on, "
                "in case they answer each other",
                self.device.key,
                MAX_IN_A_ROW,
                self._hook.chat,
            )
        self._skipped += 1
        return False

    def _given_up(self, entry: Entry, error: PostFailed) -> bool:
        """Note that an event was not taken; tells whether it was tried for long enough."""
        now, tried = trio.current_time(), self._tried
        if tried.seq != entry.seq:
            tried = _Tried(entry.seq, now, 0, float("-inf"))
        if now - tried.told >= REMINDER:
            since = f" for {(now - tried.since) / 3_600:.0f} h" if tried.times else ""
            logger.warning("hook %d: %s%s; it is tried again", self.device.key, error, since)
            tried = tried._replace(told=now)
        self._tried = tried = tried._replace(times=tried.times + 1)
        self._relay.admin.runtime.hooks[self.device.key] = f"{error}; tried {tried.times} times, event {entry.seq}"
        return now - tried.since >= GIVE_UP

    def _taken(self, entry: Entry) -> None:
        if self._skipped:
            logger.warning("hook %d: %d things that programs said were held back", self.device.key, self._skipped)
            self._skipped = 0
        self._relay.admin.runtime.hooks.pop(self.device.key, None)
        if self._tried.seq == entry.seq:
            logger.info("hook %d: events are taken again, after %d tries", self.device.key, self._tried.times)
            self._tried = _Tried(0, 0.0, 0, 0.0)
