"""The standard streams of a command: where one is closed or cannot be written that is said like any failure."""

import io
import sys
from typing import TYPE_CHECKING, TextIO

from relay import standard
from relay.cli.output import Failure
from relay.cli.paths import cannot_write

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class _Output(io.FileIO):
    """Standard output, whose failures are not taken for those of other files; each is met once."""

    _failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, until that fails once: what comes after it, as when the interpreter ends, is dropped.

        Raises:
            Failure: it cannot be written.
            BrokenPipeError: whoever read has read enough.
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
    """Standard input that is closed."""

    def readable(self) -> bool:
        """Give no other error before `readinto` is asked."""
        return True

    def readinto(self, _buffer: "WriteableBuffer", /) -> int:
        """Read nothing.

        Raises:
            Failure: always.
        """
        raise Failure("there is nothing to read: standard input is closed")


def set_up() -> None:
    """Let what fails at a standard stream be a `Failure`, whichever command meets it."""
    standard.fill()
    # Where a stream was closed at the start there is no object for it, whatever its type says.
    here: tuple[TextIO | None, ...] = (sys.stdin, sys.stdout)
    if here[0] is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_NoInput()))
    if here[1] is sys.__stdout__:
        sys.stdout = _guarded(here[1])
    standard.stand_in_for_stderr()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file may have a name that is no text.
        sys.stdout.reconfigure(errors="backslashreplace")


def _guarded(stream: TextIO | None) -> TextIO:
    buffer = io.BufferedWriter(_Output(1, "wb", closefd=False))
    if stream is None:
        return io.TextIOWrapper(buffer, "utf-8")
    return io.TextIOWrapper(buffer, stream.encoding, line_buffering=bool(stream.line_buffering))
