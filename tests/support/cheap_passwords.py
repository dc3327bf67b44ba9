"""Passwords that are hashed at next to no cost: a relay of a test does not have to stand guessing."""

from relay.core.auth.passwords import Argon2
from relay.core.tuning import SignInTuning, Tuning


def cheap() -> Tuning:
    """Give the numbers of a relay whose hashes cost next to nothing."""
    return Tuning(sign_in=SignInTuning(hash_memory_kib=64, hash_passes=1))


def cheap_argon2() -> Argon2:
    """Give the hasher of such a relay."""
    return Argon2(64, 1)
