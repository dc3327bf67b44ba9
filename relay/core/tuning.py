"""Numbers inside the relay that were found by measuring: amounts of work at a time, sizes kept in memory, waits.

They are not settings: nobody who runs a relay has a reason to change them. `open_relay` takes other values, and tests
pass small ones. Bounds are read at each use; sizes of portions and tables when their object is made. Pure.
"""

import msgspec

from relay.store.files.lock import WAIT_SECONDS
from relay.store.log.tuning import LogTuning
from relay.store.portion import PortionSize
from relay.store.queries.history import HISTORY_PAGE_BYTES
from relay.store.queries.replay import PAGE_ENTRIES
from relay.store.sqlite.database import BUSY_SECONDS
from relay.store.sqlite.wal import WalTuning


class DeliveryTuning(msgspec.Struct, kw_only=True):
    """Amounts sent to connections at a time, and remembered for them."""

    recent_entries: int = 4_096
    """How many of the latest entries are kept in memory, and how many of the latest edits and deletions."""
    recent_bytes: int = 16 * 2**20
    """Bytes that these entries may hold together, with all that is in them: a quarter of what one user may cost."""
    slice_connections: int = 256
    """Connections that get an entry before other tasks get a turn: some 2 ms, flushes included."""
    slice_members: int = 64
    """Members of a large chat between two counts of the connections reached."""
    slice_pairs: int = 1_024
    """About how many pairs of users are announced to each other at once; the others follow at the next ticks."""
    list_page_bytes: int = 262_144
    """Bytes of a page of a chat list (version 2)."""
    list_page_chats: int = 1_000
    """Chats on such a page."""
    replay_page_entries: int = PAGE_ENTRIES
    """Entries on a page of a replay."""
    replay_read_ahead_entries: int = 4
    """Minimum entries read ahead per chat, however many chats there are."""
    own_entries: int = 4_096
    """Maximum entries of its own that a connection remembers while it is behind; beyond it, all earlier ones of its
    device count as its own."""


class ServiceTuning(msgspec.Struct, kw_only=True):
    """How requests are answered."""

    page_bytes: int = HISTORY_PAGE_BYTES
    """Bytes of a page of an answer (PROTOCOL.md, section 5)."""
    slice_receipts: int = 4_096
    """Receipts read for an answer before other tasks get a turn, and before checking whether the answer is full."""
    slice_users: int = 64
    """Users of the directory that a request visits before other tasks get a turn. They count as one request more."""
    temporary_tokens: int = 1_024
    """Temporary tokens that are valid at a time."""


class LimitsTuning(msgspec.Struct, kw_only=True):
    """Limits on what one user holds at a time."""

    waiting_bytes: int = 4 * 2**20
    """Maximum waiting bytes in all outboxes of one user before their requests are held back."""
    unacknowledged_events: int = 98_304
    """Events of one user that may wait for acknowledgements over all connections, some 18 MB. A connection
    may have 2,048 without asking."""
    pieces_bytes: int = 2 * 2**20
    """Bytes of unfinished messages that one user's connections may hold together."""
    all_pieces_bytes: int = 32 * 2**20
    """Bytes of unfinished messages that all connections may hold together; beyond it, the user who holds most loses
    one."""
    list_bytes_per_second: float = 512 * 2**10
    """Bytes of chat lists and their changes that one user is sent as events each second, over all connections."""
    list_burst_bytes: float = 8 * 2**20
    """The same, at once. Beyond it lists wait and are not refused: others change them."""


class SignInTuning(msgspec.Struct, kw_only=True):
    """The cost of a password hash, and how many people may sign up by name."""

    hash_memory_kib: int = 19_456
    """KiB for one hash: with `hash_passes` the minimum of OWASP's Password Storage Cheat Sheet for argon2id."""
    hash_passes: int = 2
    network_free_sign_ups: int = 200
    """Users made from one /64 of IPv6 before the next ones wait: a whole camp can share one."""


class FilesTuning(msgspec.Struct, kw_only=True):
    """Limits on uploads."""

    reserve_step_bytes: int = 8 * 2**20
    """Bytes reserved at a time for an upload whose size is not announced."""
    uploads: int = 64
    """Uploads that may run at the same time."""
    uploads_per_user: int = 8
    """Uploads that one user may run at the same time."""


class DiskTuning(msgspec.Struct, kw_only=True):
    """How the relay gets by with a disk that is full or busy."""

    fill_seconds: float = 5.0
    """Seconds between two attempts to fill the reserve."""
    retry_seconds: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)
    """Seconds before each new attempt of work that frees space, but found none for itself."""
    lock_wait_seconds: float = WAIT_SECONDS
    """Seconds that a start waits for the process that has the data directory open."""
    busy_seconds: float = BUSY_SECONDS
    """Seconds that the writer waits for a lock that another program has on the file."""


class RetentionTuning(msgspec.Struct, kw_only=True):
    """The pace of retention."""

    period_seconds: float = 3_600.0
    """Seconds between two runs of retention."""
    retry_seconds: float = 30.0
    """Seconds before a retry after the store or its disk has failed: erasing is promised within a minute."""
    step_messages_and_members: int = 500
    """Messages and members in one step that adjusts unread counts."""
    part_entries: int = 2_000
    """Maximum entries in one part of a prune. A prune that is cancelled or killed completes its part later, and leaves
    younger entries."""
    spare_pages: int = 4_096
    """Free pages that may accumulate during a prune. To remove one from the end of the file, SQLite walks the list of
    all free pages, so freeing everything at the end would take quadratic time."""
    rows: PortionSize = PortionSize(40, least=20, most=1_000)
    """Entries removed at a time."""
    members: PortionSize = PortionSize(500, least=200, most=5_000)
    """Rows of the base written at a time."""


class Tuning(msgspec.Struct, kw_only=True):
    """The numbers of all parts of a relay without its network."""

    log: LogTuning = msgspec.field(default_factory=LogTuning)
    wal: WalTuning = msgspec.field(default_factory=WalTuning)
    delivery: DeliveryTuning = msgspec.field(default_factory=DeliveryTuning)
    service: ServiceTuning = msgspec.field(default_factory=ServiceTuning)
    limits: LimitsTuning = msgspec.field(default_factory=LimitsTuning)
    sign_in: SignInTuning = msgspec.field(default_factory=SignInTuning)
    files: FilesTuning = msgspec.field(default_factory=FilesTuning)
    disk: DiskTuning = msgspec.field(default_factory=DiskTuning)
    retention: RetentionTuning = msgspec.field(default_factory=RetentionTuning)
