"""The admin requests about a running relay: its status and its settings."""

import os
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

import trio

from relay import __version__
from relay.core.auth.failures import FailedSignIns
from relay.core.clock.clock import RelayClock
from relay.core.delivery.presence import Presence
from relay.core.delivery.subscriber import Subscriber
from relay.core.maintenance.disk_room import DiskRoom
from relay.core.maintenance.statistics import Statistics, memory_bytes
from relay.core.model.state import State
from relay.keys import DeviceKey
from relay.protocol import codec, control
from relay.protocol.errors import RelayError
from relay.settings import Loaded
from relay.store.files.room import UNCOUNTED
from relay.store.log.log import Log

MAX_SLOW_READERS = 5
"""Slow readers that the status names."""


class Runtime:
    """Facts that only a running, listening relay has."""

    def __init__(
        self,
        *,
        settings: Loaded | None = None,
        url: str | None = None,
        plain_url: str | None = None,
        listening: Sequence[str] = (),
        browser_address: Callable[[], str] = str,
        most_connections: Callable[[], int] | None = None,
    ) -> None:
        """Note how the relay runs. All are empty if a command has opened the store.

        Args:
            settings: the settings in force, with their sources.
            url: the URL by which this machine reaches it.
            plain_url: the same URL without TLS, for programs on this machine.
            listening: the addresses on which it listens, HOST:PORT.
            browser_address: returns where a browser reaches it, for links. Addresses change: at boot the relay starts
                before the network is up.
            most_connections: returns the maximum number of connections.
        """
        self.settings = settings
        self.url = url
        self.plain_url = plain_url
        self.listening = listening
        self.browser_address = browser_address
        self.most_connections = most_connections
        self.hooks = dict[DeviceKey, str]()
        """Why an outgoing hook's posts are failing, by its device."""


class StatusReport:
    """Makes the status."""

    def __init__(
        self,
        state: State,
        log: Log,
        presence: Presence,
        statistics: Statistics,
        runtime: Runtime,
        clock: RelayClock,
        room: DiskRoom,
        refusals: FailedSignIns,
    ) -> None:
        self._room = room
        self._clock = clock
        self._state = state
        self._log = log
        self._presence = presence
        self._statistics = statistics
        self._runtime = runtime
        self._refusals = refusals

    async def show_settings(self, _request: control.Empty) -> list[control.SettingInfo]:
        """List the settings in force."""
        if self._runtime.settings is None:
            raise RelayError("unavailable", "no relay runs, and only a running one has settings in force")
        return settings_in_force(self._runtime.settings)

    async def show(self, _request: control.Empty) -> control.Status:
        """Report the current status."""
        state, statistics, figures = self._state, self._statistics, self._log.figures
        there = [one for several in self._presence.subscribers.values() for one in several]
        rates = statistics.rates()
        settings = self._runtime.settings
        return control.Status(
            version=__version__,
            pid=os.getpid(),
            data=codec.printable(str(statistics.data)),
            url=self._runtime.url,
            listening=list(self._runtime.listening),
            public_url=settings.settings.http.public_url if settings else "",
            trusted_proxies=settings.settings.http.trusted_proxies if settings else [],
            uptime=statistics.uptime,
            connections=len(there),
            max_connections=self._runtime.most_connections() if self._runtime.most_connections else None,
            wanted_connections=settings.settings.limits.connections if settings else None,
            most_connections=self._most_connections(),
            users=sum(not user.removed for user in state.users.values()),
            users_online=sum(self._presence.online(user) for user in self._presence.subscribers),
            chats=sum(not chat.gone for chat in state.chats.values()),
            messages_per_second=rates.messages,
            deliveries_per_second=rates.deliveries,
            requests_per_second=rates.requests,
            median_lag=statistics.lags.percentile(0.5),
            high_lag=statistics.lags.percentile(0.99),
            batch_size=rates.batch_size,
            commit_ms=rates.commit,
            longest_wait=self._longest_wait(),
            writing_for=0.0 if self._log.busy_since is None else trio.current_time() - self._log.busy_since,
            write_failing=not self._log.writable,
            write_failures=figures.failures,
            sign_in_failures=self._refusals.total,
            outbox_bytes=sum(one.outlet.waiting[0] for one in there),
            slow_readers=self._slow_readers(there),
            last_event=state.seq,
            store_bytes=statistics.store_bytes(),
            wal_bytes=statistics.wal_bytes(),
            disk_free=statistics.room().free,
            disk_files_free=_counted(statistics.room().names),
            disk_seconds_left=statistics.seconds_left(),
            memory_bytes=memory_bytes(),
            cpu=rates.cpu,
            disk_full=self._room.full,
            reserve_bytes=self._room.reserve.size,
            clock_ahead=max(0, self._clock.offset()) / 1_000,
            index_behind=self._log.index_behind,
            index_remaking=self._log.index_remaking,
            damaged=self._log.damaged,
            log_ahead=self._clock.behind(state.at) / 1_000,
        )

    def _longest_wait(self) -> control.LongestWait | None:
        now = trio.current_time()
        wait = self._log.stalls.longest(now)
        if wait is None:
            return None
        return control.LongestWait(ms=wait.seconds * 1_000, cause=wait.cause, seconds_ago=now - wait.at)

    def _most_connections(self) -> control.UserConnections | None:
        """Find the user with the most connections, if any user has more than one."""
        subscribers = self._presence.subscribers
        user = max(subscribers, key=lambda one: len(subscribers[one]), default=None)
        if user is None or len(subscribers[user]) < 2:
            return None
        return control.UserConnections(user_id=self._state.users[user].id, connections=len(subscribers[user]))

    def _slow_readers(self, there: Iterable[Subscriber]) -> list[control.SlowReader]:
        """List the connections with the most bytes waiting."""
        waiting = sorted(((*one.outlet.waiting, one) for one in there), key=itemgetter(0), reverse=True)
        now = trio.current_time()
        return [
            control.SlowReader(
                user_id=self._state.users[one.user].id, device_id=one.device, bytes=size, seconds=now - since
            )
            for size, since, one in waiting[:MAX_SLOW_READERS]
            if size
        ]


def settings_in_force(loaded: Loaded) -> list[control.SettingInfo]:
    """List each setting, its value and the source of the value."""
    return [
        control.SettingInfo(
            key=setting.key,
            value=value,
            source=source,
            unit=setting.unit,
            default=setting.default,
            at_start=setting.at_start,
        )
        for setting, value, source in loaded.values()
    ]


def _counted(names: int) -> int | None:
    return None if names == UNCOUNTED else names
