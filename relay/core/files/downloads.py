"""Downloads under way: each ends as soon as a new request for its file would be refused.

The state alone shows that a user left a chat; the store shows that no message with the file is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from relay.core.auth.rights import Rights
from relay.core.model.state import State
from relay.core.rules import attachments
from relay.keys import DeviceKey, UserKey
from relay.store.entry import StoredFile
from relay.store.queries import stored_files
from relay.store.sqlite.database import Connection

RECHECK_SECONDS = 0.2
"""Seconds between two looks into the store for all downloads."""


class Downloads:
    """All downloads under way."""

    def __init__(self, state: State, reading: Connection, rights: Rights) -> None:
        """Begin without downloads.

        Args:
            state: knows the users and chats.
            reading: a connection that reads.
            rights: cancels downloads of users who lose the right to them.
        """
        self._state = state
        self._reading = reading
        self._rights = rights
        self._downloads: set[_Download] = set()

    @contextmanager
    def while_readable(self, user: UserKey, device: DeviceKey, file: StoredFile) -> Iterator[trio.CancelScope]:
        """Cancel the work inside this block once the user may no longer read the file.

        Args:
            user: the user's key.
            device: the key of their device.
            file: the file.

        Yields:
            The block's cancel scope.
        """
        download = _Download(file)
        self._downloads.add(download)
        # A message may have been deleted between the answer to the request and now.
        self._rights.doubt()
        try:
            with self._rights.while_allowed(lambda: self._may_go_on(user, device, download)) as scope:
                yield scope
        finally:
            self._downloads.remove(download)

    def _may_go_on(self, user: UserKey, device: DeviceKey, download: "_Download") -> bool:
        file = download.file
        if file is None or not self._state.is_authorized(user, device):
            return False
        return attachments.may_read(self._state, user, file)

    async def run(self) -> None:
        """End downloads of files that a message lost, forever: by a deletion, an edit or retention."""
        while True:
            await self._rights.doubted()
            try:
                await self._recheck()
            except BaseException:
                self._rights.doubt()
                raise
            await trio.sleep(RECHECK_SECONDS)

    async def _recheck(self) -> None:
        """Ask the store for all downloads at once."""
        downloads = list(self._downloads)
        if not downloads:
            return
        ids = list({one.id for one in downloads})
        found = {file.id: file for file in await stored_files.files(self._reading, ids)}
        for one in downloads:
            one.file = found.get(one.id)
        self._rights.look()


class _Download:
    """A download under way."""

    def __init__(self, file: StoredFile) -> None:
        self.id = file.id
        self.file: StoredFile | None = file
        """The store's latest data on the file; None once it is gone."""
