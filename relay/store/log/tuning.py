"""Amounts of the writer's work at a time, and delays of work that can wait."""

import msgspec

from relay.store.portion import REST_FACTOR, PortionSize
from relay.store.upkeep.full_text_index import MERGED_PAGES


class LogTuning(msgspec.Struct, kw_only=True):
    """Numbers of the writer that were found by measuring; they are not settings."""

    queue_commands: int = 4_096
    """Maximum waiting commands."""
    queue_bytes: int = 4 << 20
    """Maximum bytes of the waiting commands on arrival."""
    batch_bytes: int = 1 << 20
    """Maximum bytes of commands in one batch of several commands. A batch is in memory several times over."""
    deferred_retry_seconds: float = 1.0
    """Seconds until a deferred command that could not be written is retried."""
    publish_seconds: float = 0.004
    """Seconds of publishing a batch before other tasks get a turn."""
    snapshot_entries: int = 20_000
    """New entries after which a round of the snapshot is due."""
    snapshot_rows: PortionSize = PortionSize(500, least=200, most=5_000)
    """Rows of the snapshot written at a time. If a sync alone takes as long as a portion may, smaller portions would
    make no progress."""
    index_seconds: float = 2.0
    """Maximum seconds until a message is in the full-text index."""
    quiet_seconds: float = 0.1
    """Seconds without a batch that count as quiet: while people send much, the index waits, because merging takes
    time."""
    merge_pause_seconds: float = 4.0
    """Seconds to wait before the next merge of the whole index, per step of the last one: about 50 KB a second are
    written."""
    merged_pages: int = MERGED_PAGES
    """Pages of the index, of 1 KiB each, that a step of merging writes."""
    held_keys: int = 8_192
    """The number of idempotency keys in memory at which the least recently moved slice is due. It has an eighth of them
    by then."""
    key_portion: PortionSize = PortionSize(128, least=64, most=1_024)
    """Idempotency keys moved to the table at a time."""
    key_retry_seconds: float = 1.0
    """Seconds until idempotency keys that could not be written are retried."""
    held_bytes: int = 4 << 20
    """Maximum bytes held by all statements; beyond it, the one with the most is released at once."""
    rest_factor: float = REST_FACTOR
    """While people send, the rest after a portion is this many times as long as the portion."""
