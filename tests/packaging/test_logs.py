"""Logging: lines for people, records with fields for the journal, and the choice between the two."""

import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from relay import logs


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def test_people_get_a_line_with_warnings_marked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info")
    log = logging.getLogger("relay.test")
    log.info("admin request %s", "user.add", extra={"ADMIN": "tom", "REQUEST": "user.add"})
    log.warning("careful")
    log.debug("unseen")
    assert capsys.readouterr().err == "admin request user.add (admin tom)\nwarning: careful\n"


def read_datagram(data: bytes) -> dict[str, str]:
    """Parse a datagram like journald."""
    found = {}
    while data:
        head, _, data = data.partition(b"\n")
        if b"=" in head:
            name, _, value = head.partition(b"=")
        else:
            (length,) = struct.unpack("<Q", data[:8])
            name, value, data = head, data[8 : 8 + length], data[9 + length :]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A journal's socket; `JOURNAL_STREAM` says that stderr goes to it, and the test makes that true."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(5)
        status = Path(os.devnull).stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield listening


@pytest.fixture
def stderr() -> Iterator[TextIO]:
    with Path(os.devnull).open("w") as nothing:
        yield nothing


def log_to(stream: TextIO, journal: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("info", journal.getsockname())


def unlimited() -> None:
    logging.getLogger().handlers[0].filters.clear()


def test_the_journal_gets_records_with_fields(
    journal: socket.socket, stderr: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_to(stderr, journal, monkeypatch)
    logging.getLogger("relay.test").warning("one\ntwo", extra={"ADMIN": "tom"})
    assert read_datagram(journal.recv(65_536)) == {
        "MESSAGE": "one\ntwo",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "relay",
        "LOGGER": "relay.test",
        "RELAY_ADMIN": "tom",
    }


def test_an_error_is_logged_with_its_traceback(
    journal: socket.socket, stderr: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_to(stderr, journal, monkeypatch)
    try:
        raise ValueError("reason")
    except ValueError:
        logging.getLogger("relay.test").exception("it failed")
    message = read_datagram(journal.recv(65_536))["MESSAGE"]
    assert message.startswith("it failed\nTraceback")
    assert message.endswith("ValueError: reason")


def test_unread_journal_does_not_block_the_relay(
    journal: socket.socket, stderr: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_to(stderr, journal, monkeypatch)
    unlimited()
    for _ in range(2_000):
        logging.getLogger("relay.test").info("x" * 1_000)


def test_stderr_that_is_not_the_journal_gets_lines(
    journal: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        log_to(stderr, journal, monkeypatch)
        logging.getLogger("relay.test").info("a line")
    assert (tmp_path / "stderr").read_text() == "a line\n"


def test_an_unread_log_does_not_block_and_counts_lost_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with open(read, "rb") as reader, open(write, "w", encoding="utf-8") as writer:  # noqa: PTH123 - of descriptors
        monkeypatch.setattr(sys, "stderr", writer)
        # If writing waits for a reader, this test fails by its own alarm instead of hanging.
        signal.signal(signal.SIGALRM, lambda *_: pytest.fail("the log waited for a reader"))
        signal.alarm(10)
        try:
            logs.set_up("info")
            unlimited()
            log = logging.getLogger("relay.test")
            for _ in range(400):
                log.info("ж" * 1_000)
            reader.read1(1 << 20)
            log.info("heard")
            assert (
                reader.read1(1 << 20)
                .decode()
                .endswith("records of the log were lost here: nothing read them)\nheard\n")
            )
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_statement_that_logs_again_and_again_is_dropped_and_counted() -> None:
    seconds = 0.0
    limit = logs.RepeatLimit(lambda: seconds)

    def passed(text: str, line: int, **more: object) -> str:
        given = {"name": "relay.test", "pathname": "module.py", "lineno": line, "levelno": logging.INFO}
        record = logging.makeLogRecord(given | more)
        record.msg, record.args = text, ("anna",)
        return record.getMessage() if limit.filter(record) else ""

    assert [passed("%s failed", 1) for _ in range(1_000)] == ["anna failed"] * logs.REPEATS + [""] * (
        1_000 - logs.REPEATS
    )
    assert passed("%s too", 2) == "anna too"
    assert passed("%s asks", 1, ADMIN="tom") == "anna asks"
    seconds = logs.REPEAT_SECONDS
    assert passed("%s failed", 1) == f"anna failed ({1_000 - logs.REPEATS} more like this were not logged)"
    assert passed("%s failed", 1) == "anna failed"


def test_the_log_of_a_relay_limits_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info")
    for _ in range(2 * logs.REPEATS):
        logging.getLogger("relay.test").warning("again")
    assert capsys.readouterr().err.count("again") == logs.REPEATS
