"""Outgoing hooks: what happens in a chat is posted to an address, each event once it is on disk.

A hook is a device of a bot's, and is told as any device is: from its cursor on, in order, at least once. What
it has not taken waits in the log, not in memory; where nobody answers it is tried again, ever more seldom.
"""

import hashlib
import hmac
import logging
import random
import sqlite3
import ssl
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from relay import __version__
from relay.core.changes import Hook
from relay.core.relay import Relay
from relay.core.state import Device
from relay.core.subscriber import Subscriber
from relay.net import frames
from relay.store import kinds
from relay.store.entry import Entry

logger = logging.getLogger(__name__)

POSTED = {"new", "edit", "delete"}
"""The events that are posted."""
WAITING = 256
"""Events that wait in memory for one hook; further ones are read from the log later."""
WAITING_BYTES = 262_144
"""The same in bytes."""
SECONDS = 10.0
"""How long an address may take for its answer."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds between two tries: doubled each time, and jittered."""
ANSWER_BYTES = 65_536
TRY_AGAIN = {408, 425, 429}
"""Refusals that mean later and not never."""


class Posting(Exception):
    """An event could not be posted; `final` says that trying again is of no use."""

    def __init__(self, what: str, *, final: bool = False) -> None:
        super().__init__(what)
        self.final = final


class _Event(msgspec.Struct, rename="camel"):
    event_type: str
    id: int | None = None


_event = msgspec.json.Decoder(_Event).decode


class Hooks:
    """All outgoing hooks of a relay; each has a task while it is in use."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._running: set[int] = set()
        self._news = trio.Event()

    async def run(self) -> None:
        """Serve the hooks there are and those that come, until cancelled."""
        watchers = self._relay.hub.watchers
        async with trio.open_nursery() as nursery:
            watchers.append(self._watch)
            try:
                while True:
                    self._news = trio.Event()
                    for device, hook in self._resting():
                        self._running.add(device.key)
                        nursery.start_soon(self._serve, device, hook)
                    await self._news.wait()
            finally:
                watchers.remove(self._watch)

    def _watch(self, entry: Entry) -> None:
        """Look again when there may be another hook, or a user whose hooks rest may be back."""
        if entry.kind in (kinds.DEVICE, kinds.USER):
            self._news.set()

    def _resting(self) -> Iterator[tuple[Device, Hook]]:
        """Find the hooks that are to be served and are not."""
        state = self._relay.state
        for device in state.devices.values():
            hook, user = device.hook, state.users[device.user]
            if hook is None or not hook.url or device.key in self._running:
                continue
            if not (device.revoked_at or user.disabled or user.removed):
                yield device, hook

    async def _serve(self, device: Device, hook: Hook) -> None:
        try:
            await Delivery(self._relay, device, hook).run()
        except Exception:
            logger.exception("hook %d failed and rests until the next start", device.key)
        else:
            self._running.discard(device.key)
            # Its user may have been enabled again before it had ended.
            self._news.set()


class Delivery:
    """One hook's connection to the hub: the `Outlet` and the `Connection` of a subscriber."""

    def __init__(self, relay: Relay, device: Device, hook: Hook) -> None:
        self._relay = relay
        self._device = device
        self._hook = hook
        self._queue: deque[bytes] = deque()
        self._wake = trio.Event()
        self._scope = trio.CancelScope()
        self._bytes = 0
        self._since = 0.0

    async def run(self) -> None:
        """Post until the hook is removed."""
        relay, device = self._relay, self._device
        hub, log = relay.hub, relay.log
        # What it took a moment ago, before it was stopped and begun again, is not posted once more.
        relay.service.settle()
        known = log.cursors.get(device.key)
        position = relay.state.seq if known is None else known[0]
        log.keep_cursor(device.key, position, relay.clock())
        subscriber = Subscriber(hub.next_number(), device.user, device.key, self, self, position)
        with self._scope:
            hub.arrive(subscriber)
            try:
                while True:
                    await self._turn(subscriber)
            finally:
                hub.leave(subscriber)
                hub.flush()

    async def _turn(self, subscriber: Subscriber) -> None:
        """Post what waits; then read on in the log, or wait for news."""
        hub = self._relay.hub
        while self._queue:
            await self._take(subscriber, self._queue.popleft())
        if not subscriber.live:
            try:
                if not hub.rejoin(subscriber):
                    await self._relay.service.replay_page(subscriber)
            except sqlite3.Error as error:
                logger.error("hook %d waits: the store cannot be read: %s", self._device.key, error)
                await trio.sleep(FIRST_PAUSE)
            hub.flush()
            if self._queue or not subscriber.live:
                return
        self._wake = trio.Event()
        await self._wake.wait()

    async def _take(self, subscriber: Subscriber, payload: bytes) -> None:
        self._bytes -= len(payload)
        event = _event(payload)
        if event.id is None:
            return
        if event.event_type in POSTED:
            self._since = trio.current_time()
            await self._deliver(payload, event.id)
            self._since = 0.0
        self._relay.service.acknowledge(subscriber, event.id)

    async def _deliver(self, payload: bytes, event_id: int) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await post(self._hook, payload, event_id, self._relay.clock())
            except Posting as error:
                if error.final:
                    logger.warning("hook %d: event %d is given up: %s", self._device.key, event_id, error)
                    return
                if pause == FIRST_PAUSE:
                    logger.warning("hook %d: %s; it is tried again", self._device.key, error)
            else:
                return
            await trio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, LONGEST_PAUSE)

    # The outlet.

    @property
    def full(self) -> bool:
        """See `Outlet`."""
        return len(self._queue) >= WAITING or self._bytes >= WAITING_BYTES

    @property
    def waiting(self) -> tuple[int, float]:
        """See `Outlet`."""
        return self._bytes, self._since

    def put(self, frame: bytes) -> None:
        """See `Outlet`."""
        payload = frames.payload_of(frame)
        self._bytes += len(payload)
        self._queue.append(payload)

    def flush(self) -> None:
        """See `Outlet`."""
        self._wake.set()

    def behind(self) -> None:
        """See `Connection`."""
        self._wake.set()

    def close(self, _code: int, _reason: str) -> None:
        """See `Connection`."""
        self._scope.cancel()


def signature(secret: str, timestamp: int, payload: bytes) -> str:
    """Sign an event: HMAC-SHA256 over the time, a full stop and the body, in hexadecimal."""
    return hmac.new(secret.encode(), b"%d." % timestamp + payload, hashlib.sha256).hexdigest()


async def post(hook: Hook, payload: bytes, event_id: int, timestamp: int) -> None:
    """Post one event to a hook's address.

    Args:
        hook: where to, and what to sign with.
        payload: the event as on the wire.
        event_id: its id.
        timestamp: Unix milliseconds; it is signed, too, so that nobody can post it again later.

    Raises:
        Posting: nobody took it.
    """
    url = urlsplit(hook.url)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    request = h11.Request(
        method="POST",
        target=target,
        headers=[
            ("Host", url.netloc.rpartition("@")[2]),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(payload))),
            ("User-Agent", f"chat-relay/{__version__}"),
            ("X-Relay-Event-Id", str(event_id)),
            ("X-Relay-Timestamp", str(timestamp)),
            ("X-Relay-Signature", f"sha256={signature(hook.secret, timestamp, payload)}"),
            ("Connection", "close"),
        ],
    )
    try:
        with trio.fail_after(SECONDS):
            status = await _exchange(url.scheme == "https", url.hostname or "", url.port, request, payload)
    except trio.TooSlowError:
        raise Posting(f"no answer within {SECONDS:.0f} s") from None
    except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        raise Posting(f"cannot be reached: {error.__cause__ or error}") from None
    if not 200 <= status < 300:
        raise Posting(f"the answer is {status}", final=status < 500 and status not in TRY_AGAIN)


async def _exchange(secure: bool, host: str, port: int | None, request: h11.Request, payload: bytes) -> int:
    """Send a request and read the head of its answer; give the status."""
    tcp = await trio.open_tcp_stream(host, port or (443 if secure else 80))
    stream: trio.abc.Stream = tcp
    if secure:
        stream = trio.SSLStream(tcp, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    async with stream:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_BYTES)
        head = connection.send(request) or b""
        await stream.send_all(head + (connection.send(h11.Data(data=payload)) or b""))
        connection.send(h11.EndOfMessage())
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(ANSWER_BYTES)))
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("the connection closed before an answer")
