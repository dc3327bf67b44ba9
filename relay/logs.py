"""What the relay says about itself: lines for people on stderr, or records with fields in systemd's journal.

Never what people say to each other, and never a token: nothing that is logged is handed either. A record's
fields are the `extra` of the call whose names are in capitals.
"""

import logging
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from typing import TextIO

JOURNAL = "/run/systemd/journal/socket"
IDENTIFIER = "relay"
PIECE = select.PIPE_BUF // 4
"""Characters written at a time: a pipe that takes any bytes takes four for each of these."""
PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def set_up(level: str) -> None:
    """Log to the journal where stderr is connected to it, else to stderr.

    Args:
        level: the least that is logged, as in `log.level`.
    """
    handler: logging.Handler = logging.StreamHandler(ImmediateStream(sys.stderr))
    handler.setFormatter(LineFormatter())
    if stderr_is_the_journal():
        try:
            handler = JournalHandler(JOURNAL)
            handler.setFormatter(logging.Formatter())
        except OSError:
            logging.getLogger(__name__).debug("the journal takes no records, so it gets lines")
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Log this and what is graver of our own; of libraries warnings, as below that they tell what they are handed.

    aiosqlite's debug lines hold every statement with its values, and so the texts of messages.
    """
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("relay").setLevel(level.upper())


def stderr_is_the_journal() -> bool:
    """Whether systemd connected stderr to its journal: systemd.exec(5), JOURNAL_STREAM."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(stderr.st_dev), str(stderr.st_ino))


def fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """What a record says beside its message."""
    for name, value in record.__dict__.items():
        if name.isupper():
            yield name, value


class LineFormatter(logging.Formatter):
    """A line a record: its level where it is worse than usual, the message, the fields that it does not name itself."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = super().format(record)
        if record.levelno >= logging.WARNING:
            line = f"{record.levelname.lower()}: {line}"
        named = record.args or ()
        more = ", ".join(f"{name.lower()} {value}" for name, value in fields(record) if value not in named)
        return f"{line} ({more})" if more else line


class ImmediateStream:
    """A stream that is written to as far as it takes text at once: people who chat do not wait for a log.

    A pipe that nobody reads, or a terminal that is held (Ctrl-S), takes none. How much was lost is said afterwards.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream.

        Args:
            stream: one of a file, or a test's of none, which is always ready.
        """
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> None:
        """Write a record, or note that it was lost, all or its end."""
        if self._lost:
            text = f"({self._lost} records of the log were lost here: nobody took them)\n{text}"
        for start in range(0, len(text), PIECE):
            if not self._takes():
                self._lost += 1
                return
            self._stream.write(text[start : start + PIECE])
            self._stream.flush()
        self._lost = 0

    def flush(self) -> None:
        """Do nothing: all that is written is flushed."""

    def _takes(self) -> bool:
        try:
            poll = select.poll()
            poll.register(self._stream.fileno(), select.POLLOUT)
        except (OSError, ValueError):
            return True
        return bool(poll.poll(0))


class JournalHandler(logging.Handler):
    """Sends records by the journal's own protocol: a datagram each, of `FIELD=value` lines.

    One that the journal does not take at once is lost: people who chat do not wait for a log.
    """

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            OSError: there is no journal.
        """
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(address)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            self._socket.send(datagram(record, self.format(record)))
        except OSError:
            return

    def close(self) -> None:
        """See `logging.Handler`."""
        self._socket.close()
        super().close()


def datagram(record: logging.LogRecord, message: str) -> bytes:
    """Encode a record: a value with a line break goes with its length in front (systemd's native protocol)."""
    parts = bytearray()
    for name, value in (
        ("MESSAGE", message),
        ("PRIORITY", PRIORITIES.get(record.levelname, 6)),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("LOGGER", record.name),
        *((f"RELAY_{name}", value) for name, value in fields(record)),
    ):
        text = str(value).encode()
        if b"\n" in text:
            parts += name.encode() + b"\n" + struct.pack("<Q", len(text)) + text + b"\n"
        else:
            parts += name.encode() + b"=" + text + b"\n"
    return bytes(parts)
