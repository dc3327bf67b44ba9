"""Logging: lines for people, records with fields for the journal, and the choice between the two."""

import logging
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import httpx
import pytest
import trio
from trio.testing import MockClock

from relay import logs
from tests.support.command_line import running


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


class Limited:
    """A limit on repeats with a clock of its own, and the records that pass it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.seconds = 0.0
        self.limit = logs.RepeatLimit(lambda: self.seconds)
        self._caplog = caplog
        caplog.handler.addFilter(self.limit)
        self.log = logging.getLogger("relay.test")

    def said(self) -> list[str]:
        """Return what passed since the last time."""
        said = self._caplog.messages
        self._caplog.clear()
        return said

    def failed(self, who: str, times: int = 1, **more: object) -> list[str]:
        """Log about somebody."""
        for _ in range(times):
            self.log.warning("%s failed", who, extra=more)
        return self.said()


@pytest.fixture
def limited(caplog: pytest.LogCaptureFixture) -> Iterator[Limited]:
    made = Limited(caplog)
    yield made
    caplog.handler.removeFilter(made.limit)


def test_records_about_one_subject_again_and_again_are_dropped_and_counted_when_it_is_over(limited: Limited) -> None:
    assert limited.failed("anna", 1_000) == ["anna failed"] * logs.REPEATS
    assert limited.failed("anna", ADMIN="tom") == ["anna failed"]
    limited.limit.tell()
    assert limited.said() == []
    limited.seconds = logs.REPEAT_SECONDS
    limited.limit.tell()
    assert limited.said() == [f"{1_000 - logs.REPEATS} more like this were not logged: anna failed"]
    limited.limit.tell()
    assert limited.said() == []
    assert limited.failed("anna") == ["anna failed"]


def test_dropped_records_are_counted_at_a_stop_and_before_the_next_record(limited: Limited) -> None:
    limited.failed("anna", logs.REPEATS + 2)
    limited.seconds = logs.REPEAT_SECONDS
    assert limited.failed("ben", logs.REPEATS + 1) == [
        "2 more like this were not logged: anna failed",
        *["ben failed"] * logs.REPEATS,
    ]
    limited.limit.tell(all_of_them=True)
    assert limited.said() == ["1 more like this were not logged: ben failed"]


def test_a_flood_about_one_subject_hides_no_record_about_another(limited: Limited) -> None:
    limited.failed("anna", 1_000)
    assert limited.failed("ben") == ["ben failed"]
    assert limited.failed("anna", subject="another") == ["anna failed"]


def test_invented_subjects_do_not_fill_the_log_and_are_counted(limited: Limited) -> None:
    said = [line for number in range(1_000) for line in limited.failed(f"user{number}")]
    assert len(said) == logs.SUBJECTS
    limited.limit.tell(all_of_them=True)
    assert limited.said() == [f"{1_000 - logs.SUBJECTS} more like this were not logged: user{logs.SUBJECTS} failed"]


def test_another_error_is_told_behind_a_flood_of_one(limited: Limited) -> None:
    def fail(what: str) -> None:
        try:
            if what == "one":
                raise ValueError(what)
            raise ValueError(what)
        except ValueError:
            limited.log.exception("a request failed")

    for _ in range(1_000):
        fail("one")
    assert len(limited.said()) == logs.REPEATS
    fail("another")
    assert limited.said() == ["a request failed"]


async def test_dropped_records_are_counted_by_a_relay_that_logs_nothing_more(
    limited: Limited, autojump_clock: MockClock
) -> None:
    limited.failed("anna", logs.REPEATS + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limited.limit.run)
        await trio.sleep(logs.TELL_SECONDS)
        assert limited.said() == []
        limited.seconds = logs.REPEAT_SECONDS
        # Longer than one round: two that end at the same moment go on in any order.
        await trio.sleep(1.5 * logs.TELL_SECONDS)
        nursery.cancel_scope.cancel()
    assert limited.said() == ["1 more like this were not logged: anna failed"]


def test_the_log_of_a_relay_limits_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info")
    for _ in range(2 * logs.REPEATS):
        logging.getLogger("relay.test").warning("again")
    assert capsys.readouterr().err.count("again") == logs.REPEATS


def test_a_relay_that_stops_counts_what_it_did_not_log(tmp_path: Path) -> None:
    with running(tmp_path / "data") as relay:
        url = relay.url.replace("ws:", "http:").removesuffix("/ws")
        for _ in range(3 * logs.REPEATS):
            httpx.post(f"{url}/session", json={"invite": "made-up"}, headers={"Origin": url}).read()
    said = relay.log.read_text()
    dropped = sum(map(int, re.findall(r"(\d+) more like this were not logged: sign-in failed from 127.0.0.1", said)))
    logged = len(re.findall(r"^warning: sign-in failed", said, re.MULTILINE))
    assert (dropped > 0, dropped + logged) == (True, 3 * logs.REPEATS)
