"""The admin requests about a running relay: its status, settings, log and history."""

from typing import Annotated

import msgspec

from relay.protocol.base import Timestamp, Wire
from relay.protocol.control.common import Value
from relay.settings import MAX_BYTES, MAX_DAYS


class Prune(Wire, frozen=True, kw_only=True):
    """`relay prune`; by default with the values of the settings."""

    days: Annotated[int, msgspec.Meta(ge=0, le=MAX_DAYS)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_BYTES)] | None = None


class Pruned(Wire, frozen=True, kw_only=True):
    """The number of entries that were removed, and the size of the store."""

    removed: int
    bytes: int = 0
    """The bytes that the store uses now."""
    too_large: bool = False
    """Whether this is over the limit: the rest is not history, or came after the prune began."""


class ClockTrustResult(Wire, frozen=True, kw_only=True):
    """`relay clock trust`: from now on the log's time is that of the machine, given here."""

    timestamp: Timestamp


class SettingInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A setting in force, with the source of its value: `default`, a file, a variable or an option."""

    key: str
    value: Value
    source: str
    unit: str = ""
    default: Value
    at_start: bool = False


class SlowReader(Wire, frozen=True, kw_only=True):
    """A connection that reads too slowly."""

    user_id: str
    device_id: int
    bytes: int
    seconds: float


class LongestWait(Wire, frozen=True, kw_only=True):
    """The longest time that a message waited for its response in the last hour."""

    ms: float
    cause: str
    """The work that took most of the time: sync, checkpoint, prune, index, snapshot, keys or loop."""
    seconds_ago: float


class UserConnections(Wire, frozen=True, kw_only=True):
    """The number of connections of a user."""

    user_id: str
    connections: int


class Status(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """The status of a running relay. Rates are averages over the last 10 seconds."""

    version: str
    pid: int
    data: str
    url: str | None = None
    listening: list[str] = msgspec.field(default_factory=list)
    """The addresses it listens on, HOST:PORT; 0.0.0.0 and [::] mean all of the machine."""
    public_url: str = ""
    trusted_proxies: list[str] = msgspec.field(default_factory=list)
    uptime: float
    """Seconds."""
    connections: int
    max_connections: int | None = None
    wanted_connections: int | None = None
    """The value of `limits.connections`; higher than `max_connections` if there are too few file descriptors."""
    most_connections: UserConnections | None = None
    """The user with the most connections, if any user has more than one."""
    users: int
    users_online: int
    chats: int
    messages_per_second: float
    deliveries_per_second: float
    requests_per_second: float
    median_lag: int | None = None
    """The median lag of the latest batches, in milliseconds from arrival to delivery."""
    high_lag: int | None = None
    """The 99th percentile of this lag."""
    batch_size: float
    commit_ms: float
    longest_wait: LongestWait | None = None
    """None if nothing was sent in the last hour."""
    writing_for: float = 0.0
    """Seconds since the current write began, 0 if there is none. More than a few seconds mean that the disk is slow."""
    write_failing: bool
    write_failures: int
    sign_in_failures: int = 0
    """Failed sign-ins since the start."""
    outbox_bytes: int
    slow_readers: list[SlowReader]
    last_event: int
    store_bytes: int
    wal_bytes: int
    disk_free: int
    disk_files_free: int | None = None
    """Free inodes; None if the disk does not limit them."""
    disk_seconds_left: float | None = None
    memory_bytes: int
    cpu: float
    """The share of one core."""
    disk_full: bool = False
    """Whether the disk is full, so that people can only read."""
    reserve_bytes: int = 0
    """Bytes reserved on the disk."""
    clock_ahead: float = 0.0
    """Seconds that the machine's clock is ahead of the relay's time while it is not believed, else 0."""
    index_behind: int = 0
    """Entries that are not yet in the full-text index."""
    index_remaking: bool = False
    """Whether the full-text index is being rebuilt: it was damaged, or an admin asked for it."""
    damaged: list[str] = msgspec.field(default_factory=list)
    """The parts of the store that cannot be written because their pages are damaged, in words."""
    log_ahead: float = 0.0
    """Seconds that the log's last time is ahead of the machine's clock if that is over an hour, else 0."""


class Watch(Wire, frozen=True, kw_only=True):
    """`relay tail`: new entries of one chat or of all, without the texts of messages by default."""

    chat: str | None = None
    texts: bool = False


class Audit(Wire, frozen=True, kw_only=True):
    """`relay audit`: the latest changes to users, devices, groups and history, newest first."""

    actor: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    before: int | None = None


class EntryInfo(Wire, frozen=True, kw_only=True):
    """A log entry as an admin reads it."""

    id: int
    timestamp: Timestamp
    event_type: str
    actor: str
    chat: str | None = None
    """The id of a group, or the two users of a dialog with a `~` between them."""
    chat_name: str | None = None
    message_id: int | None = None
    original_message_id: int | None = None
    message: str | None = None
    characters: int | None = None
    attachments: int | None = None
    change: str | None = None
    details: dict[str, Value] | None = None
    missed: int | None = None
    """The number of entries before this one that were dropped, because the client read too slowly."""
