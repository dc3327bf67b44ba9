"""Numbers of a relay for tests: cheap hashes, an index that is written at once."""

from typing import Any

from relay.core.auth.passwords import Argon2
from relay.core.tuning import SignInTuning, Tuning
from relay.store.log.tuning import LogTuning


def cheap() -> Tuning:
    """Return the numbers of a relay with cheap hashes."""
    return Tuning(sign_in=SignInTuning(hash_memory_kib=64, hash_passes=1))


def cheap_argon2() -> Argon2:
    """Return a cheap hasher."""
    return Argon2(64, 1)


def indexing(**numbers: Any) -> Tuning:
    """Return the numbers of a relay that indexes messages at once, with overrides."""
    return Tuning(log=LogTuning(**({"index_seconds": 0.0} | numbers)))
