"""When the full-text index of a test's relay is written."""

from typing import Any

from relay.core.tuning import Tuning
from relay.store.log.tuning import LogTuning


def indexing(**numbers: Any) -> Tuning:
    """Give the numbers of a relay that indexes messages at once, and others as they are given."""
    return Tuning(log=LogTuning(**({"index_seconds": 0.0} | numbers)))
