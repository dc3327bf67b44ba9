"""Append a command to the log and wait for its answer."""

import trio

from relay.core.clock.clock import Clock
from relay.core.rules.commands import ADMIN
from relay.keys import NO_DEVICE
from relay.outcomes import Decidable, Outcome
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.log.log import Log


async def submit(log: Log, command: Command[Outcome]) -> Outcome:
    """Append a command, wait until it is on disk, and return its outcome.

    Raises:
        RelayError: it was refused, or could not be written.
    """
    answers: list[Outcome | RelayError] = []
    done = trio.Event()

    def answer(outcome: Outcome | RelayError) -> None:
        answers.append(outcome)
        done.set()

    log.append(command, answer)
    await done.wait()
    (outcome,) = answers
    if isinstance(outcome, RelayError):
        raise outcome
    return outcome


class AdminCommands:
    """Submits requests of the machine's admin."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def __call__(self, request: Decidable[Outcome], generated_id: str = "") -> Outcome:
        """Submit a request; `generated_id` is the id of the object that it creates. See `submit`."""
        return await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, request, generated_id=generated_id))
