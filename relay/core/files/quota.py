"""Limits uploads: by file, by user, in total, and by the free space and the free inodes of the disk.

An upload reserves its bytes before it writes them. It counts in memory; the disk's room is asked by what it is given.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from relay.core.model.entities import quota_bytes
from relay.core.model.state import State
from relay.core.tuning import FilesTuning
from relay.keys import UserKey
from relay.protocol.errors import RelayError
from relay.settings import FilesSection
from relay.store.files.room import Room


class Allowance:
    """The reservation of one upload."""

    def __init__(self, quota: "Quota", user: UserKey) -> None:
        self._quota = quota
        self._user = user
        self.size = 0
        """Bytes received so far."""
        self.reserved = 0
        """Bytes reserved for the upload."""
        self.scope: trio.CancelScope | None = None
        """Cancelled when a user with fewer uploads needs the slot."""

    @contextmanager
    def until_displaced(self) -> Iterator[None]:
        """Receive the upload within this block, which ends when a user with fewer uploads needs its slot.

        Raises:
            RelayError: `rate_limited`, the upload lost its slot.
        """
        with trio.CancelScope() as self.scope:
            yield
        if self.scope.cancelled_caught:
            raise _too_many()

    def take(self, count: int) -> None:
        """Count bytes before they are written.

        Raises:
            RelayError: `too_large` or `storage_full`; the bytes must not be written.
        """
        self.size += count
        if self.size > self.reserved:
            self._quota.reserve(
                self, max(self.size, self.reserved + self._quota.tuning.reserve_step_bytes), needed=self.size
            )

    @property
    def user(self) -> UserKey:
        """The key of the uploading user."""
        return self._user


def _too_many() -> RelayError:
    return RelayError("rate_limited", "too many uploads run already: wait for one to end", retry_after=1_000)


class Quota:
    """Reserves space for uploads."""

    def __init__(
        self, state: State, limits: FilesSection, room: Callable[[], Room], tuning: FilesTuning | None = None
    ) -> None:
        """Begin without reservations.

        Args:
            state: knows the bytes that each user has stored.
            limits: the settings.
            room: returns the free room on the disk.
            tuning: how many uploads there may be; None for the defaults.
        """
        self.tuning = tuning or FilesTuning()
        self._state = state
        self._limits = limits
        self.room = room
        self._running: dict[UserKey, list[Allowance]] = {}
        """Uploads under way by user, the latest last."""
        self._reserved: Counter[UserKey] = Counter()

    @contextmanager
    def upload(self, user: UserKey, announced: int | None) -> Iterator[Allowance]:
        """Reserve the bytes that an upload needs until it ends, whether or not it succeeds.

        Args:
            user: the key of the user who uploads.
            announced: its announced size in bytes; None if there is none.

        Raises:
            RelayError: the upload is not allowed, or not now.
        """
        allowance = Allowance(self, user)
        running, tuning = self._running.get(user, ()), self.tuning
        if len(running) >= tuning.uploads_per_user or (
            self._count() >= tuning.uploads and not self._displace(len(running))
        ):
            raise _too_many()
        self._running.setdefault(user, []).append(allowance)
        try:
            self.reserve(allowance, announced or 0, needed=announced or 0)
            yield allowance
        finally:
            self._end(allowance)
            self._reserved[user] -= allowance.reserved
            if not self._reserved[user]:
                del self._reserved[user]

    @property
    def reserved_bytes(self) -> int:
        """Bytes reserved by all uploads under way."""
        return self._reserved.total()

    def _count(self) -> int:
        return sum(map(len, self._running.values()))

    def _displace(self, held: int) -> bool:
        """Cancel the latest upload of the user with the most, if they have more than one with `held` would."""
        most = max(self._running.values(), key=len)
        latest = most[-1]
        if len(most) <= held + 1 or latest.scope is None:
            return False
        latest.scope.cancel()
        self._end(latest)
        return True

    def _end(self, allowance: "Allowance") -> None:
        running = self._running.get(allowance.user, [])
        if allowance in running:
            running.remove(allowance)
            if not running:
                del self._running[allowance.user]

    def check(self, user: UserKey | None, size: int, before: int) -> None:
        """Check in advance whether an upload would be allowed.

        Args:
            user: the key of the user who would upload; None for a user who is not here yet.
            size: the size of the file in bytes.
            before: further bytes that the user would have stored by then, as they count for the quota.

        Raises:
            RelayError: the upload would not be allowed.
        """
        limits = self._limits
        if size > limits.file_bytes:
            raise RelayError("too_large", f"a file may have {limits.file_bytes} bytes here")
        stored = before + (self._state.users[user].stored if user is not None else 0)
        if quota_bytes(size) + stored > limits.user_bytes:
            raise RelayError.over_quota(limits.user_bytes, f"one user may store {limits.user_bytes} bytes here")

    def reserve(self, allowance: Allowance, desired: int, *, needed: int) -> None:
        """Reserve the desired bytes for an upload, or fewer if the limits do not allow more.

        Args:
            allowance: the reservation to change.
            desired: bytes in total.
            needed: the fewest bytes in total with which the upload can go on.

        Raises:
            RelayError: the needed bytes are not available.
        """
        limits, user = self._limits, allowance.user
        if needed > limits.file_bytes:
            raise RelayError("too_large", f"a file may have {limits.file_bytes} bytes here")
        needed = quota_bytes(needed)
        others = self._reserved[user] - allowance.reserved
        for_user = limits.user_bytes - self._state.users[user].stored - others
        if needed > for_user:
            raise RelayError.over_quota(
                limits.user_bytes,
                f"you may store {limits.user_bytes} bytes here, of which each file takes {quota_bytes(0)} at least, and"
                f" {max(0, for_user)} are left: delete messages with files first",
            )
        in_all = self._reserved.total() - allowance.reserved
        total = limits.total_bytes - sum(one.stored for one in self._state.users.values()) - in_all
        # Reserved bytes that are not written yet still count as free on the disk.
        room = self.room()
        disk = room.free - limits.free_bytes - in_all + allowance.size
        if needed > min(total, disk) or room.few_names:
            raise RelayError("storage_full", "the relay has no room for this file: its admin can make some")
        reserved = max(needed, min(desired, limits.file_bytes, for_user, total, disk))
        self._reserved[user] += reserved - allowance.reserved
        allowance.reserved = reserved
