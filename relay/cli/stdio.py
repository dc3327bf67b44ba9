"""The standard streams of a command: a closed or unwritable one is reported like any failure."""

import io
import sys
from typing import TYPE_CHECKING, TextIO

from relay import standard_streams
from relay.cli.output import Failure
from relay.cli.paths import cannot_write

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class _Output(io.FileIO):
    """Standard output. Its errors are distinguished from those of other files, and reported once."""

    _failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write. After the first failure drop everything, including the interpreter's last flush.

        Raises:
            Failure: it cannot be written.
            BrokenPipeError: the reader has closed the pipe.
        """
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            if isinstance(error, BrokenPipeError):
                raise
            raise Failure(f"{cannot_write('the output', error, again=False)}; what was changed stays changed") from None


class _NoInput(io.RawIOBase):
    """A closed standard input."""

    def readable(self) -> bool:
        """Return True, so that the error comes from `readinto`."""
        return True

    def readinto(self, _buffer: "WriteableBuffer", /) -> int:
        """Refuse to read.

        Raises:
            Failure: always.
        """
        raise Failure("there is nothing to read: standard input is closed")


def set_up() -> None:
    """Turn errors of the standard streams into `Failure`, for every command."""
    standard_streams.open_closed()
    # A stream that was closed at the start is None, although its type does not say so.
    here: tuple[TextIO | None, ...] = (sys.stdin, sys.stdout)
    if here[0] is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_NoInput()))
    if here[1] is sys.__stdout__:
        sys.stdout = _guarded(here[1])
    standard_streams.stand_in_for_stderr()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")


def _guarded(stream: TextIO | None) -> TextIO:
    buffer = io.BufferedWriter(_Output(1, "wb", closefd=False))
    if stream is None:
        return io.TextIOWrapper(buffer, "utf-8")
    return io.TextIOWrapper(buffer, stream.encoding, line_buffering=bool(stream.line_buffering))
