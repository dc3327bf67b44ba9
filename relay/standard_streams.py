"""Opens the standard file descriptors of a process that was started without them.

Otherwise the next file that the process opens, perhaps the store, would become its standard output.
"""

import os
import sys

STANDARD = ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))
"""The standard descriptors and the modes in which they are opened: nothing can be read or written."""


def open_closed() -> None:
    """Open every standard descriptor that is closed."""
    for number, flags in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # `open` returns the lowest free descriptor.
            os.open(os.devnull, flags)


def stand_in_for_stderr() -> None:
    """Set `sys.stderr`, which Python leaves as None if descriptor 2 was closed."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open until the process ends
