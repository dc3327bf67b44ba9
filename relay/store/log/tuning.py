"""How much the writer does at a time and how long what can wait is left waiting."""

import msgspec

from relay.store.portion import REST_FACTOR, PortionSize
from relay.store.upkeep.full_text_index import MERGED_PAGES


class LogTuning(msgspec.Struct, kw_only=True):
    """Numbers of the writer that were found by measuring and are no settings."""

    queue_commands: int = 4_096
    """Commands that may wait."""
    queue_bytes: int = 4 << 20
    """Bytes in which the waiting commands may have come."""
    batch_bytes: int = 1 << 20
    """Bytes of commands in one batch of more than one command. A batch is in memory several times over."""
    deferred_retry_seconds: float = 1.0
    """Seconds until a deferred command that could not be written is tried again."""
    publish_seconds: float = 0.004
    """How long a batch is published before other tasks have a turn."""
    snapshot_entries: int = 20_000
    """New entries after which a round of the snapshot is due."""
    snapshot_rows: PortionSize = PortionSize(500, least=200, most=5_000)
    """Rows of the snapshot that are written at a time. On a disk whose sync alone takes as long as a portion may,
    smaller portions would make no progress."""
    index_seconds: float = 2.0
    """Seconds that a message may wait until it is in the full-text index."""
    quiet_seconds: float = 0.1
    """Seconds without a batch that count as quiet: while people send much the index waits, since merging takes time."""
    merge_pause_seconds: float = 4.0
    """Seconds that the next merge of the whole index waits for each step of the last one: about 50 KB a second are
    written."""
    merged_pages: int = MERGED_PAGES
    """Pages of the index, of 1 KiB each, that a step of merging writes."""
    held_keys: int = 8_192
    """Idempotency keys in memory from which the slice that was moved longest ago is due. It has an eighth of them by
    then."""
    key_portion: PortionSize = PortionSize(128, least=64, most=1_024)
    """Idempotency keys that are moved to the table at a time."""
    key_retry_seconds: float = 1.0
    """Seconds until idempotency keys that could not be written are tried again."""
    held_bytes: int = 4 << 20
    """Bytes that all statements may hold; beyond it the one that holds most is released at once."""
    rest_factor: float = REST_FACTOR
    """While people send, the rest after a portion is this many times as long as the portion."""
