"""The standard descriptors of a process that was started without them: the next file it opens must not be one."""

import os
import sys

STANDARD = ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))
"""The standard descriptors, and how each is opened where it is closed: no input can be read, no output written."""


def fill() -> None:
    """Leave no standard descriptor to the next file that is opened, which could be the store."""
    for number, flags in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # A new descriptor is the lowest that is free.
            os.open(os.devnull, flags)


def stand_in_for_stderr() -> None:
    """Give the log and last words somewhere to go, where standard error is closed and Python has no stream for it."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open until the process ends
