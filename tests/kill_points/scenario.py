"""The common part of all killed commands: a directory with data in it, and the check of the remains."""

import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import trio

from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.keys import NO_DEVICE
from relay.protocol import requests
from relay.settings import LimitsSection, Settings, StoreSection
from relay.store.backup import archive as backups
from tests.support.disk import answers, command, people, say

RESERVE = 20_000
"""The reserve in bytes: like that of a real disk, but quick to copy."""
ENVIRONMENT = {"RELAY_STORE_RESERVE_BYTES": str(RESERVE), "RELAY_CLOCK_PLAUSIBLE_DAYS": "3650"}
"""Settings for the commands: the reserve, and pruning without a proven clock."""
SETTINGS = Settings(store=StoreSection(reserve_bytes=RESERVE), limits=LimitsSection(requests_per_second=0))


def use(data: Path, work: Callable[[Relay], Awaitable[Any]], tuning: Tuning | None = None) -> Any:
    """Open a data directory like a relay, and run a function."""

    async def main() -> Any:
        async with open_relay(data, settings=SETTINGS, tuning=tuning) as relay:
            await relay.files.sweep()
            return await work(relay)

    return trio.run(main)


async def upload(relay: Relay, user: str, name: str, content: bytes) -> Any:
    """Upload a file and send it as a note."""
    pieces = [content]

    async def piece() -> bytes:
        return pieces.pop() if pieces else b""

    key = relay.state.user_keys[user]
    attachment = await relay.files.receive(key, NO_DEVICE, name, len(content), piece)
    message = requests.New(chat_id=user, client_message_id=name, message=name, attachments=[attachment])
    (answer,) = await answers(relay, command(relay, user, message))
    return answer


def said(store: Path) -> set[str]:
    """The client ids of the messages in a store."""
    with closing(sqlite3.connect(store)) as connection:
        return {text for (text,) in connection.execute("SELECT client_id FROM log WHERE kind = 1 AND deleted = 0")}


def contents(data: Path) -> dict[str, int]:
    """The uploaded files in their places, and the digests in their names."""
    found = {}
    for path in (data / "files").rglob("*"):
        if path.is_file() and len(path.name) == 64 and hashlib.sha256(path.read_bytes()).hexdigest() == path.name:
            found[path.name] = path.stat().st_size
    return found


def faults(data: Path) -> list[Any]:
    """The findings of `relay check`."""
    return [finding for finding in trio.run(check, data, lambda _what: None) if finding.wrong]


def scratch(place: Path) -> list[Path]:
    """The scratch in a directory."""
    begins, ends = (".relay-", ".ca", ".relay"), (".replacing", ".part")
    left = [path for path in place.rglob("*") if path.name.startswith(begins) or path.name.endswith(ends)]
    return left + list((place / "data" / "files").glob(".*"))


class Scenario:
    """One command."""

    again = True
    """Whether the same command is run again afterwards."""

    fills = True
    """Whether to try it on a disk that becomes full."""

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def prepare(self, place: Path) -> None:
        (place / "data").mkdir()

    def run(self, place: Path) -> None:
        raise NotImplementedError

    def command(self, place: Path) -> None:
        """Do the same as `run` by a typed command."""
        self.run(place)

    def hold(self, place: Path, *, complete: bool) -> None:
        """Check the remains; `complete` if the run was not disturbed."""
        raise NotImplementedError

    def start(self, place: Path) -> None:
        """Start a relay on the remains."""
        use(place / "data", nothing)

    def after(self, place: Path) -> None:
        """Do what people do after a crash, and check the result."""
        self.start(place)
        self.proved(place, complete=False)
        if self.again:
            self.run(place)
            self.start(place)
            self.proved(place, complete=True)

    def proved(self, place: Path, *, complete: bool) -> None:
        if (place / "data" / "relay.db").exists():
            assert faults(place / "data") == []
        self.hold(place, complete=complete)
        # In other folders the next run of the command removes it.
        left = scratch(place if complete else place / "data")
        assert not left, left


async def nothing(_relay: Relay) -> None:
    pass


async def fill(relay: Relay) -> None:
    await people(relay, "User1", "User2", "User3")
    for number in range(8):
        await say(relay, "User1", "User2", f"early-{number}", "hello " * 5)
    await upload(relay, "User1", "early.txt", b"early " * 3_000)


async def go_on(relay: Relay) -> None:
    for number in range(8):
        await say(relay, "User2", "User1", f"later-{number}", "hello again " * 5)
    await upload(relay, "User2", "later.txt", b"later " * 3_000)


class Used(Scenario):
    """A store with data in it."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        use(place / "data", fill)
        backups.back_up(place / "data", place / "backup.tar")
        use(place / "data", go_on)


EARLY = {*(f"early-{number}" for number in range(8)), "early.txt"}
ALL = EARLY | {*(f"later-{number}" for number in range(8)), "later.txt"}
