"""The admin requests about a running relay: its status, settings, log and history."""

from typing import Annotated

import msgspec

from relay.protocol.base import Timestamp, Wire
from relay.protocol.control.common import Value


class Prune(Wire, frozen=True, kw_only=True):
    """`relay prune`: what the settings say where nothing is given."""

    days: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Pruned(Wire, frozen=True, kw_only=True):
    """How many entries were removed, and how large the store is."""

    removed: int
    bytes: int = 0
    """What the store has in use now."""
    too_large: bool = False
    """Whether that is more than it may be: what is left is no history, or came since the prune began."""


class ClockTrusted(Wire, frozen=True, kw_only=True):
    """`relay clock trust`: the log's time is the machine's, this one, from now on."""

    timestamp: Timestamp


class SettingInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A setting in force, and where its value comes from: `default`, a file, a variable or an option."""

    key: str
    value: Value
    source: str
    unit: str = ""
    default: Value
    at_start: bool = False


class SlowReader(Wire, frozen=True, kw_only=True):
    """A connection that does not keep up."""

    user_id: str
    device_id: int
    bytes: int
    seconds: float


class LongestWait(Wire, frozen=True, kw_only=True):
    """The longest that a send waited for its answer in the last hour."""

    ms: float
    cause: str
    """What took most of it: sync, checkpoint, prune, index, snapshot, filing or loop."""
    seconds_ago: float


class UserConnections(Wire, frozen=True, kw_only=True):
    """How many connections a user has."""

    user_id: str
    connections: int


class Status(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """What goes on in a relay that runs. Rates are over the last 10 seconds."""

    version: str
    pid: int
    data: str
    url: str | None = None
    listening: list[str] = msgspec.field(default_factory=list)
    """Each address where it listens, HOST:PORT; 0.0.0.0 and [::] stand for all of the machine's."""
    public_url: str = ""
    trusted_proxies: list[str] = msgspec.field(default_factory=list)
    uptime: float
    """Seconds."""
    connections: int
    max_connections: int | None = None
    wanted_connections: int | None = None
    """What `limits.connections` says; more than `max_connections` where the process may have too few descriptors."""
    most_connections: UserConnections | None = None
    """Who has most of them, where anybody has more than one."""
    users: int
    users_online: int
    chats: int
    messages_per_second: float
    deliveries_per_second: float
    requests_per_second: float
    median_lag: int | None = None
    """Milliseconds from a message's coming in to its going out: half of the latest batches took no longer."""
    high_lag: int | None = None
    """Likewise, but 99 of 100."""
    batch_size: float
    commit_ms: float
    longest_wait: LongestWait | None = None
    """None where nothing was sent in the last hour."""
    writing_for: float = 0.0
    """Seconds that a write has been under way for, 0 where none is: more than a few means that the disk is slow."""
    write_failing: bool
    write_failures: int
    sign_in_failures: int = 0
    """Sign-ins that failed since the start."""
    outbox_bytes: int
    slow_readers: list[SlowReader]
    last_event: int
    store_bytes: int
    wal_bytes: int
    disk_free: int
    disk_seconds_left: float | None = None
    memory_bytes: int
    cpu: float
    """Share of one core."""
    disk_full: bool = False
    """Whether people can only read, since the disk has no more room than is set aside."""
    reserve_bytes: int = 0
    """What is set aside on the disk."""
    clock_ahead: float = 0.0
    """Seconds that the machine's clock is ahead of the relay's time while nothing vouches for it, else 0."""
    index_behind: int = 0
    """Entries that are not in the full-text index yet."""
    index_remaking: bool = False
    """Whether the full-text index is being made once more, since it was damaged or an admin asked for it."""
    log_ahead: float = 0.0
    """Seconds that the log's last time is ahead of the machine's clock, where that is more than an hour, else 0."""


class Watch(Wire, frozen=True, kw_only=True):
    """`relay tail`: what happens from now on, in one chat or in all, without what was said unless asked for."""

    chat: str | None = None
    texts: bool = False


class Audit(Wire, frozen=True, kw_only=True):
    """`relay audit`: the latest changes to users, devices, groups and history, newest first."""

    actor: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    before: int | None = None


class EntryInfo(Wire, frozen=True, kw_only=True):
    """An entry of the log as an admin reads it."""

    id: int
    timestamp: Timestamp
    event_type: str
    actor: str
    chat: str | None = None
    """A group's id, or a dialog's two users with a `~` between."""
    chat_name: str | None = None
    message_id: int | None = None
    original_message_id: int | None = None
    message: str | None = None
    characters: int | None = None
    attachments: int | None = None
    change: str | None = None
    details: dict[str, Value] | None = None
    missed: int | None = None
    """How many entries were left out before this one, since nobody read fast enough."""
