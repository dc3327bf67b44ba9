"""Logging: lines for people on stderr, or records with fields in systemd's journal.

Users' messages and tokens are never passed to a logger. The fields of a record are the items of `extra` with names in
capitals.
"""

import logging
import os
import select
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TextIO

import trio

JOURNAL = "/run/systemd/journal/socket"
IDENTIFIER = "relay"
PIECE_CHARACTERS = select.PIPE_BUF // 4
"""Characters written at a time. A ready pipe accepts four bytes for each of them."""
REPEATS = 20
"""Records of one statement about one subject in `REPEAT_SECONDS`. What one client can cause again and again must not
fill the card."""
SUBJECTS = 30
"""Subjects of one statement in that time, so that nobody fills the card by inventing some."""
SUBJECT_CHARACTERS = 256
"""Characters by which two subjects are told apart."""
REPEAT_SECONDS = 60.0
TELL_SECONDS = 10.0
"""Seconds between two looks for statements whose time is over and that have dropped records."""
SUBJECT, COUNTS = "subject", "counts"
"""Fields of a record, in no log: what it is about, if not its first argument; that it is a count of dropped ones."""
PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def set_up(level: str, journal: str = JOURNAL) -> "RepeatLimit":
    """Log to the journal if stderr is connected to it, else to stderr.

    Args:
        level: the lowest level that is logged, as in `log.level`.
        journal: the path of the journal's socket.

    Returns:
        The limit on repeated records, which tells of dropped ones while its `run` runs.
    """
    handler: logging.Handler = logging.StreamHandler(ImmediateStream(sys.stderr))
    handler.setFormatter(LineFormatter())
    if stderr_is_the_journal():
        try:
            handler = JournalHandler(journal)
            handler.setFormatter(logging.Formatter())
        except OSError:
            logging.getLogger(__name__).debug("the journal takes no records, so it gets lines")
    limit = RepeatLimit()
    handler.addFilter(limit)
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)
    return limit


def set_level(level: str) -> None:
    """Set the level of the relay's own loggers. Libraries log warnings and above only.

    The debug lines of aiosqlite contain every statement with its values, including the texts of messages.
    """
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("relay").setLevel(level.upper())


def stderr_is_the_journal() -> bool:
    """Return whether systemd has connected stderr to its journal: systemd.exec(5), JOURNAL_STREAM."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(stderr.st_dev), str(stderr.st_ino))


def fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """List the fields that a record has for the journal.

    Yields:
        Name and value.
    """
    for name, value in record.__dict__.items():
        if name.isupper():
            yield name, value


class LineFormatter(logging.Formatter):
    """Formats a record as a line: the level of warnings and above, the message, and the fields it does not name."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = super().format(record)
        if record.levelno >= logging.WARNING:
            line = f"{record.levelname.lower()}: {line}"
        named = record.args or ()
        more = ", ".join(f"{name.lower()} {value}" for name, value in fields(record) if value not in named)
        return f"{line} ({more})" if more else line


class ImmediateStream:
    """Writes to a stream only what it accepts at once: the relay must not wait for its log.

    A pipe without a reader, or a stopped terminal (Ctrl-S), accepts nothing. The amount lost is written later.
    """

    def __init__(self, stream: TextIO) -> None:
        """Wrap a stream.

        Args:
            stream: the stream. One without a file descriptor counts as always ready.
        """
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> None:
        """Write a record, or count it as lost, in whole or in part."""
        if self._lost:
            text = f"({self._lost} records of the log were lost here: nothing read them)\n{text}"
        for start in range(0, len(text), PIECE_CHARACTERS):
            if not self._takes():
                self._lost += 1
                return
            self._stream.write(text[start : start + PIECE_CHARACTERS])
            self._stream.flush()
        self._lost = 0

    def flush(self) -> None:
        """Do nothing: every write flushes."""

    def _takes(self) -> bool:
        try:
            poll = select.poll()
            poll.register(self._stream.fileno(), select.POLLOUT)
        except (OSError, ValueError):
            return True
        return bool(poll.poll(0))


class JournalHandler(logging.Handler):
    """Sends records by the journal's native protocol: one datagram each, of `FIELD=value` lines.

    A record that the journal does not accept at once is lost: the relay must not wait for its log.
    """

    def __init__(self, address: str) -> None:
        """Connect to the journal.

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
    """Encode a record; a value with a line break is preceded by its length (systemd's native protocol)."""
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


class RepeatLimit(logging.Filter):
    """Drops the records of a statement about one subject if there were too many lately, and soon says how many.

    So nobody fills the card, or hides what the statement has to say of somebody else. Its memory is bounded by the
    number of statements that log. Debugging is not limited, nor are requests of an admin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any records.

        Args:
            clock: returns seconds that only grow.
        """
        super().__init__()
        self._clock = clock
        self._bursts: dict[tuple[str, int], _Burst] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        if record.levelno <= logging.DEBUG or hasattr(record, "ADMIN") or hasattr(record, COUNTS):
            return True
        now, statement = self._clock(), (record.pathname, record.lineno)
        with self._lock:
            burst, over = self._bursts.get(statement), None
            if burst is None or burst.is_over(now):
                burst, over = _Burst(now), burst
                self._bursts[statement] = burst
            passes = burst.passes(record)
        if over is not None:
            over.tell()
        return passes

    def tell(self, *, all_of_them: bool = False) -> None:
        """Log how many records were dropped in bursts that are over, or in all of them, as at a stop."""
        now = self._clock()
        with self._lock:
            ended = [key for key, burst in self._bursts.items() if all_of_them or burst.is_over(now)]
            over = [self._bursts.pop(key) for key in ended]
        for burst in over:
            burst.tell()

    async def run(self) -> None:
        """Tell of each burst once it is over, whether or not another record comes."""
        while True:
            await trio.sleep(TELL_SECONDS)
            self.tell()


class _Burst:
    """The records of one statement within `REPEAT_SECONDS`."""

    __slots__ = ("_began", "_counts", "_dropped", "_first")

    def __init__(self, now: float) -> None:
        self._began = now
        self._counts: dict[str, int] = {}
        """Records by subject."""
        self._dropped = 0
        self._first: logging.LogRecord | None = None
        """The first one dropped, without its error, which would keep the frames that it came through."""

    def is_over(self, now: float) -> bool:
        return now - self._began >= REPEAT_SECONDS

    def passes(self, record: logging.LogRecord) -> bool:
        """Count a record; return whether it is logged."""
        subject = subject_of(record)
        count = self._counts.get(subject, 0)
        if count < REPEATS and (count or len(self._counts) < SUBJECTS):
            self._counts[subject] = count + 1
            return True
        self._dropped += 1
        if self._first is None:
            self._first = logging.LogRecord(
                record.name, record.levelno, record.pathname, record.lineno, record.getMessage(), None, None
            )
        return False

    def tell(self) -> None:
        """Log how many were dropped, if any."""
        told = self._first
        if told is None:
            return
        told.msg, told.args = "%d more like this were not logged: %s", (self._dropped, told.msg)
        setattr(told, COUNTS, True)
        logging.getLogger(told.name).handle(told)


def subject_of(record: logging.LogRecord) -> str:
    """Return what a record is about: a user, a hook, a path, or a place in the program.

    It is the field `SUBJECT` of the record, which is in no log, or else its first argument; of an error also where that
    was raised.
    """
    subject = getattr(record, SUBJECT, None)
    if subject is None:
        arguments = record.args
        subject = arguments[0] if isinstance(arguments, tuple) and arguments else ""
    raised = ""
    if record.exc_info and record.exc_info[0] is not None:
        steps = list(traceback.walk_tb(record.exc_info[2]))
        where = f"{steps[-1][0].f_code.co_filename}:{steps[-1][1]}" if steps else ""
        raised = f"{record.exc_info[0].__name__} {where}"
    return f"{raised} {subject}"[:SUBJECT_CHARACTERS]


class LastingFault:
    """A fault that each of many attempts may find: one record when it begins, and one when it is over."""

    def __init__(self, logger: logging.Logger, over: str, level: int = logging.WARNING) -> None:
        """Begin without the fault.

        Args:
            logger: writes the records.
            over: the record when it is over.
            level: the level of the record when it begins.
        """
        self._logger = logger
        self._level = level
        self._over = over
        self._lasts = False

    def found(self, record: str, *arguments: object) -> None:
        """Log the fault, unless it was there before."""
        if not self._lasts:
            self._lasts = True
            self._logger.log(self._level, record, *arguments)

    def gone(self) -> None:
        """Note an attempt that succeeded."""
        if self._lasts:
            self._lasts = False
            self._logger.info(self._over)
