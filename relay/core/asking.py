"""Append a command to the log and wait for what it is answered with."""

from typing import Any

import trio

from relay.core.commands import Command
from relay.protocol.errors import RelayError
from relay.store.log import Log


async def decided(log: Log, command: Command) -> Any:
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
