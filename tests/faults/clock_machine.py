"""A machine whose clock the test sets, and messages on it."""

from pathlib import Path

from relay.core.clock.clock import RelayClock
from relay.core.maintenance.check import check
from relay.core.relay import Relay
from relay.core.submit import submit
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control, requests
from relay.store.command import Command

YEAR = 365 * 86_400_000
NOW = 1_800_000_000_000


class Machine:
    """A machine's clock, set by a test, and its proof of the time."""

    def __init__(self) -> None:
        self.wall = NOW
        self.booted = 0
        self.proof: str | None = None

    def go_on(self, milliseconds: int) -> None:
        """Move both clocks."""
        self.wall += milliseconds
        self.booted += milliseconds

    def clock(self, days: int = 7) -> RelayClock:
        return RelayClock(
            lambda: self.proof, wall=lambda: self.wall * 1_000_000, elapsed=lambda: self.booted, days=lambda: days
        )


async def say(relay: Relay, number: int) -> requests.Accepted:
    request = requests.New(chat_id="b", client_message_id=str(number), message="tick")
    accepted: requests.Accepted = await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, request))
    return accepted


async def add_people(relay: Relay) -> None:
    for user in ("a", "b"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def faults_of(data: Path) -> list[str]:
    return [fault for finding in await check(data, lambda _what: None) for fault in finding.wrong]
