"""Append a command to the log and wait for what it is answered with."""

from typing import Any

import msgspec
import trio

from relay.core.clock.clock import Clock
from relay.core.rules.commands import ADMIN, Command
from relay.keys import NO_DEVICE
from relay.protocol.errors import RelayError
from relay.store.log.log import Log


async def submit(log: Log, command: Command) -> Any:
    """Append a command and wait for its answer: it is on disk then.

    Raises:
        RelayError: it was refused, or could not be written.
    """
    answers: list[object] = []
    done = trio.Event()

    def answer(payload: object) -> None:
        answers.append(payload)
        done.set()

    log.append(command, answer)
    await done.wait()
    (payload,) = answers
    if isinstance(payload, RelayError):
        raise payload
    return payload


class AdminCommands:
    """Has the log decide what the machine's admin asks for."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def __call__(self, request: msgspec.Struct, generated_id: str = "") -> Any:
        """See `submit`; `generated_id` is the id that what is asked for will have."""
        return await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, request, generated_id=generated_id))
