"""Numbers inside the relay that were found by measuring: how much is done at a time, kept in memory, or waited for.

They are no settings: nobody who runs a relay has a reason to change them. `open_relay` takes others, and tests pass
small ones. Bounds are read at each use; sizes of portions and tables when their object is made. Pure.
"""

import msgspec

from relay.store.log.tuning import LogTuning
from relay.store.portion import PortionSize
from relay.store.queries.history import HISTORY_PAGE_BYTES
from relay.store.queries.replay import PAGE_ENTRIES
from relay.store.sqlite.wal import WalTuning


class DeliveryTuning(msgspec.Struct, kw_only=True):
    """What connections are sent at a time, and what is remembered for them."""

    recent_entries: int = 4_096
    """The latest entries kept in memory, and edits and deletions that are known without looking at them."""
    recent_bytes: int = 16 * 2**20
    """Bytes that these entries may hold together, with all that is in them: a quarter of what one user may cost."""
    slice_connections: int = 256
    """Connections that an entry is sent to before others have their turn: some 2 ms, flushes included."""
    slice_members: int = 64
    """Members of a large chat between two looks at how many connections it were."""
    slice_pairs: int = 1_024
    """Pairs of users that are announced to each other at once, about; the others follow at the next ticks."""
    list_page_bytes: int = 262_144
    """Bytes of a page of a chat list (version 2)."""
    list_page_chats: int = 1_000
    """Chats on such a page."""
    replay_page_entries: int = PAGE_ENTRIES
    """Entries on a page that is replayed."""
    replay_read_ahead_entries: int = 4
    """Entries read ahead per chat at least, however many chats there are."""
    own_entries: int = 4_096
    """Own entries that a connection remembers while it is behind; beyond them all earlier ones of its device count."""


class ServiceTuning(msgspec.Struct, kw_only=True):
    """How requests are answered."""

    page_bytes: int = HISTORY_PAGE_BYTES
    """Bytes of a page of an answer (PROTOCOL.md, section 5)."""
    slice_receipts: int = 4_096
    """Receipts read for an answer before others have their turn, and before it is seen whether it is full."""
    slice_users: int = 64
    """Users of the directory that a request looks at before others have their turn. They count as one request more."""
    temporary_tokens: int = 1_024
    """Temporary tokens that are valid at a time."""


class LimitsTuning(msgspec.Struct, kw_only=True):
    """What one user may hold of the relay at a time."""

    waiting_bytes: int = 4 * 2**20
    """Bytes that may wait in all outboxes of one user before no more of their requests are taken up."""
    pieces_bytes: int = 2 * 2**20
    """Bytes of unfinished messages that one user's connections may hold together."""
    all_pieces_bytes: int = 32 * 2**20
    """Bytes of unfinished messages that all connections may hold together; beyond it the user who holds most loses
    one."""


class SignInTuning(msgspec.Struct, kw_only=True):
    """What a password costs, and how many people come in by name."""

    hash_memory_kib: int = 19_456
    """KiB for one hash: with `hash_passes` the minimum of OWASP's Password Storage Cheat Sheet for argon2id."""
    hash_passes: int = 2
    network_free_sign_ups: int = 200
    """Users that may be made from one /64 of IPv6 before the next ones wait: a whole camp can be in one."""


class FilesTuning(msgspec.Struct, kw_only=True):
    """How many uploads there may be."""

    reserve_step_bytes: int = 8 * 2**20
    """Bytes reserved at a time for an upload whose size is not announced."""
    uploads: int = 64
    """Uploads that may run at the same time."""
    uploads_per_user: int = 8
    """Uploads that one user may run at the same time."""


class RetentionTuning(msgspec.Struct, kw_only=True):
    """How history is removed."""

    period_seconds: float = 3_600.0
    """Seconds between two runs of retention."""
    retry_seconds: float = 600.0
    """Seconds until it goes on after the store or its disk refused: on a full disk each attempt is work."""
    step_messages_and_members: int = 500
    """Messages and members in one step that adjusts unread counts."""
    part_entries: int = 2_000
    """The most entries that a part of a prune goes through. A prune that is cancelled, or cut off by a kill, completes
    its part later and leaves what is younger."""
    spare_pages: int = 4_096
    """Free pages that may accumulate during a prune. To remove one from the end of the file SQLite walks the list of
    all free pages, so giving everything back at the end would take quadratic time."""
    rows: PortionSize = PortionSize(40, least=20, most=1_000)
    """Entries that are removed at a time."""
    members: PortionSize = PortionSize(500, least=200, most=5_000)
    """Rows of the base that are written at a time."""


class Tuning(msgspec.Struct, kw_only=True):
    """The numbers of all parts of a relay without its network."""

    log: LogTuning = msgspec.field(default_factory=LogTuning)
    wal: WalTuning = msgspec.field(default_factory=WalTuning)
    delivery: DeliveryTuning = msgspec.field(default_factory=DeliveryTuning)
    service: ServiceTuning = msgspec.field(default_factory=ServiceTuning)
    limits: LimitsTuning = msgspec.field(default_factory=LimitsTuning)
    sign_in: SignInTuning = msgspec.field(default_factory=SignInTuning)
    files: FilesTuning = msgspec.field(default_factory=FilesTuning)
    retention: RetentionTuning = msgspec.field(default_factory=RetentionTuning)
