"""The replay of the events that a connection has missed, page by page from the log, until it goes live."""

from collections.abc import Awaitable, Callable

import trio

from relay.core.delivery.subscriber import Subscriber
from relay.core.limits.share import Share
from relay.core.service.dispatch import Service
from relay.net.websocket.outbox import Outbox

ACKNOWLEDGE_SECONDS = 1.0
"""How long a replay pauses for acknowledgements. If the client sends none, the replay then goes on without pauses."""


class Replay:
    """One replay of a connection; over when the subscriber is live."""

    __slots__ = (
        "_most_unacknowledged",
        "_outbox",
        "_service",
        "_share",
        "_subscriber",
        "_wait_for_turn",
        "acknowledged",
        "stopped",
    )

    def __init__(
        self,
        service: Service,
        subscriber: Subscriber,
        outbox: Outbox,
        share: Share,
        wait_for_turn: Callable[[], Awaitable[None]],
        most_unacknowledged: int,
    ) -> None:
        """Prepare the replay of a subscriber's missed events.

        Args:
            service: reads the pages.
            subscriber: the recipient.
            outbox: the outbox that has to be empty before the next page.
            share: the user's share, which needs room for the next page.
            wait_for_turn: waits for the user's turn.
            most_unacknowledged: events that may be unacknowledged before the replay pauses.
        """
        self._service = service
        self._subscriber = subscriber
        self._outbox = outbox
        self._share = share
        self._wait_for_turn = wait_for_turn
        self._most_unacknowledged = most_unacknowledged
        self.acknowledged = trio.Event()
        """Set when the client acknowledges something."""
        self.stopped = False
        """Whether the connection is being closed."""

    async def run(self, *, acknowledges: bool) -> bool:
        """Send pages until the subscriber is live.

        Args:
            acknowledges: whether to wait for the client's acknowledgements at all.

        Returns:
            Whether the client acknowledges.

        Raises:
            sqlite3.Error: the log cannot be read.
        """
        hub = self._service.hub
        while not self.stopped:
            await self._outbox.drained()
            if hub.rejoin(self._subscriber):
                break
            hub.flush()
            await self._share.room()
            await self._wait_for_turn()
            await self._service.catch_up.page(self._subscriber)
            hub.flush()
            while acknowledges and self._subscriber.unacknowledged > self._most_unacknowledged and not self.stopped:
                self.acknowledged = trio.Event()
                with trio.move_on_after(ACKNOWLEDGE_SECONDS) as timeout:
                    await self.acknowledged.wait()
                acknowledges = not timeout.cancelled_caught
        return acknowledges
