"""Outgoing hooks: post the messages of one chat to an address, each event once it is on disk.

A hook reads the log from its cursor on: in order, at least once, one event at a time. Events wait in the log, not in
memory. An event that is not accepted is retried with growing pauses. A hook is not a sign-in: it makes no user online
and acknowledges nothing.
"""

import logging
import random
import sqlite3
from collections import defaultdict
from typing import NamedTuple

import trio

from relay.core.auth.rights import KINDS
from relay.core.delivery import message_views
from relay.core.delivery.replay import ReadAhead
from relay.core.hooks.hook_rights import chat_of, may_act
from relay.core.hooks.loops import MAX_MESSAGES_IN_A_ROW, TurnsInARow
from relay.core.model import changes
from relay.core.model.entities import Device
from relay.core.relay import Relay
from relay.core.rules import visibility
from relay.keys import ChatKey, DeviceKey, Seq
from relay.net.webhooks.post import PostFailed, post
from relay.protocol import codec
from relay.store import kinds
from relay.store.entry import Entry
from relay.store.queries.replay import CHANGES_CHAT
from relay.tasks.background import keep_running

logger = logging.getLogger(__name__)

POSTED = frozenset({kinds.NEW, kinds.EDIT, kinds.DELETE})
"""The kinds of entries that are posted."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 300.0
"""Seconds before a retry: doubled each time, and jittered."""
GIVE_UP_SECONDS = 3 * 86_400.0
"""How long one event is retried; then the next one follows."""
LOG_SECONDS = 3_600.0
"""Seconds between two log records of an address that accepts nothing."""


class OutgoingHooks:
    """All outgoing hooks of a relay; each has a task while it has the right to act."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._known = {one.key: one for one in relay.state.devices.values() if _posts(one)}
        """The hooks that are not removed, by device key."""
        self._running: dict[DeviceKey, Delivery] = {}
        self._of_chat: dict[ChatKey, list[Delivery]] = {}
        self._failed: set[DeviceKey] = set()
        self._news = trio.Event()

    @property
    def idle(self) -> bool:
        """Whether all hooks have posted everything."""
        return all(delivery.idle for delivery in self._running.values())

    async def run(self) -> None:
        """Run all hooks, present and future ones, until cancelled."""
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
                    self._index()
                    await self._news.wait()
            finally:
                watchers.remove(self._watch)

    def _watch(self, entry: Entry) -> None:
        """Wake the hooks of a chat that has a new message; check all rights when some may have changed."""
        if entry.kind in POSTED:
            for delivery in self._of_chat.get(entry.chat, ()):
                delivery.wake(entry)
        elif entry.kind in KINDS:
            if entry.kind == kinds.DEVICE:
                self._note(entry)
            if self._known:
                self._news.set()

    def _note(self, entry: Entry) -> None:
        """Add a new hook, or drop one that is removed."""
        change = changes.change_of(entry)
        if isinstance(change, changes.DeviceRevoked):
            self._known.pop(change.key, None)
            self._relay.admin.runtime.hooks.pop(change.key, None)
        elif isinstance(change, changes.DeviceAdded):
            device = self._relay.state.devices[change.key]
            if _posts(device):
                self._known[device.key] = device
                # Post messages from here on, although the task starts a moment later.
                self._relay.log.keep_cursor(device.key, entry.seq, self._relay.clock())

    def _index(self) -> None:
        """Index the hooks by chat: a dialog may have begun."""
        found: defaultdict[ChatKey, list[Delivery]] = defaultdict(list)
        for delivery in self._running.values():
            chat = chat_of(self._relay.state, delivery.device)
            if chat is not None:
                found[chat].append(delivery)
        self._of_chat = dict(found)
        for delivery in self._running.values():
            delivery.check()

    async def _serve(self, delivery: "Delivery") -> None:
        device = delivery.device
        try:
            await keep_running(f"hook {device.key}", delivery.run)
        except Exception:
            logger.exception("hook %d failed and is paused until the next start", device.key)
            self._failed.add(device.key)
            self._relay.admin.runtime.hooks[device.key] = "failed, see the log; it is paused until the next start"
        finally:
            del self._running[device.key]
            # It may have regained its right before its task ended.
            self._news.set()


def _posts(device: Device) -> bool:
    return device.hook is not None and bool(device.hook.url) and not device.revoked_at


class _Retried(NamedTuple):
    """An event that was not accepted yet."""

    seq: Seq
    since: float
    """When it was tried first, trio's time."""
    times: int
    logged_at: float
    """When a failure was logged last, trio's time."""


class Delivery:
    """The delivery to one hook, from its cursor on."""

    def __init__(self, relay: Relay, device: Device) -> None:
        assert device.hook is not None
        self._relay = relay
        self.device = device
        self._hook = device.hook
        self._wake = trio.Event()
        self.idle = False
        """Whether everything is posted."""
        self._position = 0
        self._ahead = ReadAhead()
        self._row = TurnsInARow()
        self._decided = 0
        """Up to this `seq`, the filter has decided."""
        self._skipped = 0
        self._retried = _Retried(0, 0.0, 0, 0.0)

    async def run(self) -> None:
        """Post while the hook has the right; a post under way is cancelled when the hook loses it."""
        relay, device = self._relay, self.device
        known = relay.log.cursors.get(device.key)
        self._keep(relay.state.seq if known is None else known[0])
        with relay.hub.rights.while_allowed(lambda: may_act(relay.state, device)):
            while True:
                self._wake = trio.Event()
                self.idle = await self._catch_up()
                if self.idle:
                    await self._wake.wait()

    def wake(self, entry: Entry) -> None:
        """Note a new message in the hook's chat."""
        if self.idle:
            # Everything before it is posted, so retention may remove it from the log.
            self._keep(entry.seq - 1)
            self.idle = False
        self._wake.set()

    def check(self) -> None:
        """Check whether there is something to post."""
        self.idle = False
        self._wake.set()

    def _keep(self, position: int) -> None:
        self._position = position
        self._relay.log.keep_cursor(self.device.key, position, self._relay.clock())

    async def _catch_up(self) -> bool:
        """Post the next entries of the log; return whether these were all."""
        relay, state = self._relay, self._relay.state
        chat = chat_of(state, self.device)
        if chat is None or state.chats[chat].last_seq <= self._position:
            return True
        if self._position < state.pruned:
            logger.warning(
                "hook %d: messages up to event %d were removed by retention; it goes on after them",
                self.device.key,
                state.pruned,
            )
            self._keep(state.pruned)
        try:
            async with relay.service.replaying.turn(self.device.user):
                upto = state.seq
                ends = {chat: state.chats[chat].last_seq, CHANGES_CHAT: upto}
                page = await relay.service.replaying.page(self._ahead, self._position, upto, ends, upto, state.users)
        except sqlite3.Error as error:
            relay.log.faults.unread(error, f"hook {self.device.key}")
            await trio.sleep(FIRST_RETRY_SECONDS)
            return False
        for entry in page.entries:
            if not await self._post_entry(entry, upto):
                self._ahead.clear()
                return False
            self._keep(entry.seq)
        self._keep(page.upto)
        if page.upto >= upto:
            self._ahead.clear()
        return page.upto >= state.chats[chat].last_seq

    async def _post_entry(self, entry: Entry, read_at: int) -> bool:
        """Post one entry of the chat, unless it is filtered.

        Args:
            entry: the entry.
            read_at: the last `seq` when the entry was read.

        Returns:
            Whether to go on with the next entry; otherwise the log has to be read again.
        """
        if entry.kind not in POSTED or not self._passes(entry):
            return True
        # Checked again after each pause: the message may have been edited, deleted or hidden from this user.
        while self._is_visible(entry):
            if entry.seq <= self._relay.state.pruned or not self._relay.hub.recent.refresh([entry], read_at):
                # It was removed, or has to be read again to be posted in its present form.
                return False
            try:
                await self._try_once(entry)
            except PostFailed as error:
                if error.final or self._is_given_up(entry, error):
                    logger.warning("hook %d: event %d is given up: %s", self.device.key, entry.seq, error)
                    return True
                pause = min(FIRST_RETRY_SECONDS * 2.0 ** (min(self._retried.times, 16) - 1), LONGEST_RETRY_SECONDS)
                await trio.sleep(max(error.after, random.uniform(pause / 2, pause)))  # noqa: S311 - jitter, no secret
            else:
                self._accepted(entry)
                return True
        return True

    async def _try_once(self, entry: Entry) -> None:
        """Post an entry in its current form.

        Raises:
            PostFailed: it was not accepted. A bug in the relay is attached as its cause: it may concern only this event
                or moment, and must not end the hook.
        """
        try:
            name, payload = message_views.event(self._relay.state, entry, self.device.user)
            event = codec.event(name, entry.at, payload, entry.seq)
            await post(self._hook, event, entry.seq, self._relay.clock(), self._skipped)
        except PostFailed:
            raise
        except Exception as error:
            raise PostFailed(f"the relay failed to post ({type(error).__name__}), its log says how") from error

    def _is_visible(self, entry: Entry) -> bool:
        return visibility.is_event_for(self._relay.state, entry, self.device.user)

    def _passes(self, entry: Entry) -> bool:
        """Return whether an entry is neither an echo nor part of a loop."""
        state = self._relay.state
        device = state.devices.get(entry.device)
        by_hook = device is not None and device.hook is not None
        if by_hook and entry.actor == self.device.user:
            return False
        if entry.seq <= self._decided:
            return True
        self._decided = entry.seq
        if not by_hook and not state.users[entry.actor].bot:
            self._row.person()
            return True
        if self._row.passes(entry.at):
            return True
        if not self._skipped:
            logger.warning(
                "hook %d: programs sent more than %d messages in a row in %s: some are held back from here on, "
                "in case they answer each other",
                self.device.key,
                MAX_MESSAGES_IN_A_ROW,
                self._hook.chat,
            )
        self._skipped += 1
        return False

    def _is_given_up(self, entry: Entry, error: PostFailed) -> bool:
        """Note that an event was not accepted; return whether it was retried long enough."""
        now, tried = trio.current_time(), self._retried
        if tried.seq != entry.seq:
            tried = _Retried(entry.seq, now, 0, float("-inf"))
        if now - tried.logged_at >= LOG_SECONDS:
            since = f" for {(now - tried.since) / 3_600:.0f} h" if tried.times else ""
            # Log the traceback of a bug in the relay once per event.
            cause = None if tried.times else error.__cause__
            logger.warning("hook %d: %s%s; it is retried", self.device.key, error, since, exc_info=cause)
            tried = tried._replace(logged_at=now)
        self._retried = tried = tried._replace(times=tried.times + 1)
        self._relay.admin.runtime.hooks[self.device.key] = f"{error}; tried {_times(tried.times)}, event {entry.seq}"
        return now - tried.since >= GIVE_UP_SECONDS

    def _accepted(self, entry: Entry) -> None:
        if self._skipped:
            logger.warning("hook %d: %d messages of programs were held back", self.device.key, self._skipped)
            self._skipped = 0
        self._relay.admin.runtime.hooks.pop(self.device.key, None)
        if self._retried.seq == entry.seq:
            failed = _times(self._retried.times)
            logger.info("hook %d: events are accepted again; one had failed %s", self.device.key, failed)
            self._retried = _Retried(0, 0.0, 0, 0.0)


def _times(count: int) -> str:
    """Say how often, in words."""
    return "once" if count == 1 else f"{count} times"
