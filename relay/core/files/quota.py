"""How much may be uploaded: by one file, by one user, in all, and while the disk has room to spare.

What is on its way counts as if it were there: it is set aside before a byte is taken. Plain counting.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from relay.core.model.state import State, counted
from relay.protocol.errors import RelayError
from relay.settings import FilesSection

RESERVE_STEP_BYTES = 8 * 2**20
"""Bytes set aside at a time for an upload whose size is not announced."""
MAX_UPLOADS = 64
"""Uploads that run at a time."""
MAX_UPLOADS_PER_USER = 8
"""Uploads of one user that run at a time."""


class Allowance:
    """What one upload may still write."""

    def __init__(self, quota: "Quota", user: int) -> None:
        self._quota = quota
        self._user = user
        self.size = 0
        """Bytes that it has."""
        self.reserved = 0
        """Bytes that are set aside for it."""

    def take(self, count: int) -> None:
        """Count bytes that are about to be written.

        Raises:
            RelayError: `too_large` or `storage_full`, and these must not be.
        """
        self.size += count
        if self.size > self.reserved:
            self._quota.reserve(self, max(self.size, self.reserved + RESERVE_STEP_BYTES), needed=self.size)

    @property
    def user(self) -> int:
        """Whose upload it is."""
        return self._user


class Quota:
    """What is set aside, and for whom."""

    def __init__(self, state: State, limits: FilesSection, free: Callable[[], int]) -> None:
        """Begin with nothing set aside.

        Args:
            state: knows what users have stored.
            limits: the settings.
            free: tells how many bytes the disk has left.
        """
        self._state = state
        self._limits = limits
        self._free = free
        self._running: Counter[int] = Counter()
        self._reserved: Counter[int] = Counter()

    @contextmanager
    def upload(self, user: int, announced: int | None) -> Iterator[Allowance]:
        """Set aside what an upload needs, until it is over one way or another.

        Args:
            user: whose.
            announced: how many bytes it says it has; None where it does not.

        Raises:
            RelayError: it may not be, or not now.
        """
        if self._running[user] >= MAX_UPLOADS_PER_USER or self._running.total() >= MAX_UPLOADS:
            raise RelayError("rate_limited", "too many uploads run already: wait for one to end", retry_after=1_000)
        allowance = Allowance(self, user)
        self._running[user] += 1
        try:
            self.reserve(allowance, announced or 0, needed=announced or 0)
            yield allowance
        finally:
            self._running[user] -= 1
            self._reserved[user] -= allowance.reserved
            for counter in (self._running, self._reserved):
                if not counter[user]:
                    del counter[user]

    def check(self, user: int | None, size: int, before: int) -> None:
        """Tell beforehand whether an upload would be let in.

        Args:
            user: whose; None for one who is not here yet.
            size: its bytes.
            before: bytes, as they count, that the same user would have stored before it.

        Raises:
            RelayError: it would not.
        """
        limits = self._limits
        if size > limits.file_bytes:
            raise RelayError("too_large", f"a file may have {limits.file_bytes} bytes here")
        stored = before + (self._state.users[user].stored if user is not None else 0)
        if counted(size) + stored > limits.user_bytes:
            raise RelayError.over_quota(limits.user_bytes, f"one user may store {limits.user_bytes} bytes here")

    def reserve(self, allowance: Allowance, wanted: int, *, needed: int) -> None:
        """Set aside as many bytes as are wanted, or fewer where no more may be, but those that are needed.

        Raises:
            RelayError: not even those.
        """
        limits, user = self._limits, allowance.user
        if needed > limits.file_bytes:
            raise RelayError("too_large", f"a file may have {limits.file_bytes} bytes here")
        needed = counted(needed)
        others = self._reserved[user] - allowance.reserved
        for_user = limits.user_bytes - self._state.users[user].stored - others
        if needed > for_user:
            raise RelayError.over_quota(
                limits.user_bytes,
                f"you may store {limits.user_bytes} bytes here, of which each file takes {counted(0)} at least, and"
                f" {max(0, for_user)} are left: delete messages with files first",
            )
        in_all = self._reserved.total() - allowance.reserved
        total = limits.total_bytes - sum(one.stored for one in self._state.users.values()) - in_all
        # What is set aside and not yet written still shows as free.
        disk = self._free() - limits.free_bytes - in_all + allowance.size
        if needed > min(total, disk):
            raise RelayError("storage_full", "the relay has no room for this file: its admin can make some")
        reserved = max(needed, min(wanted, limits.file_bytes, for_user, total, disk))
        self._reserved[user] += reserved - allowance.reserved
        allowance.reserved = reserved
