"""`relay doctor`: each finding says what to do, and the exit code says whether something must be done."""

import datetime as dt
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.cli.doctor import command, reach
from relay.cli.doctor.finding import Finding, Subject
from relay.protocol import control
from relay.store.files import room
from relay.store.files.room import Room
from tests.support.command_line import done, run, running

BEHIND_A_PROXY = {"RELAY_HTTP_TRUSTED_PROXIES": "127.0.0.1"}
"""The settings of a relay that listens on loopback only, as in tests."""


def found(data: Path) -> dict[str, dict[str, str]]:
    return {one["check"]: one for one in run("doctor", "--json", data=data).json}


def test_a_healthy_relay_is_reported_as_good(tmp_path: Path) -> None:
    with running(tmp_path / "data", environment=BEHIND_A_PROXY) as relay:
        findings = found(relay.data)
        assert set(findings["relay"]) == {"check", "level", "what", "advice"}
        for check in ("relay", "network", "disk", "permissions", "sqlite", "store"):
            assert findings[check]["level"] == "good", findings[check]
        assert all(one["advice"] for one in findings.values() if one["level"] != "good")
        ran = run("doctor", data=relay.data)
        assert ran.code == int(any(one["level"] == "bad" for one in findings.values()))
        assert "\x1b" not in ran.out


def test_expiry_of_the_certificate_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("tls", "init", data=tmp_path / "data")
    with running(tmp_path / "data", "--tls", environment=BEHIND_A_PROXY) as relay:
        findings = found(relay.data)
        assert findings["network"]["level"] == "good"
        assert findings["certificate"]["level"] == "good"
        now = dt.datetime.now(tz=dt.UTC)
        monkeypatch.setattr("relay.cli.doctor.service.dt.datetime", _then(now + dt.timedelta(days=5_000)))
        assert found(relay.data)["certificate"]["level"] == "bad"
        monkeypatch.setattr("relay.cli.doctor.service.dt.datetime", _then(now - dt.timedelta(days=50)))
        ahead = found(relay.data)["certificate"]
        assert ahead["level"] == "bad"
        assert "authority begins on" in ahead["what"]


def _then(moment: dt.datetime) -> type[dt.datetime]:
    class Then(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Then":
            return cls.fromtimestamp(moment.timestamp(), tz)

    return Then


def test_stopped_relay_is_reported_with_advice(tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path)
    ran = run("doctor", data=tmp_path)
    assert ran.code == 1
    assert f"BAD relay       no relay runs on {tmp_path}" in ran.out
    assert "`systemctl start relay`" in ran.out


def status(*listening: str, **more: object) -> control.Status:
    fields = {name: 0 for name in control.Status.__struct_fields__ if name not in ("url", "listening", "public_url")}
    known = {"url": "ws://127.0.0.1:1/ws", "listening": list(listening), "trusted_proxies": []}
    return control.Status(**(fields | known | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listening", "more", "answering", "said"),
    [
        (["0.0.0.0:1"], {}, {"192.0.2.7"}, ["good 192.0.2.7:1 answers"]),
        (["0.0.0.0:1", "[::]:1"], {}, {"192.0.2.7"}, ["good 192.0.2.7:1 answers"]),
        (["0.0.0.0:1"], {}, set(), ["bad 192.0.2.7:1 does not answer: refused"]),
        # It listens on one of several networks, which is not a problem.
        (["192.0.2.9:1"], {}, {"192.0.2.9"}, ["good 192.0.2.9:1 answers"]),
        (["127.0.0.1:1", "192.0.2.9:1"], {}, {"192.0.2.9"}, ["good 192.0.2.9:1 answers"]),
        (
            ["127.0.0.1:1"], {}, {"127.0.0.1"},
            ["bad it listens on 127.0.0.1:1 only, which no other machine can reach"],
        ),
        (
            ["127.0.0.1:1"], {"public_url": "https://chat.example.org", "trusted_proxies": ["127.0.0.1"]},
            {"127.0.0.1", "chat.example.org"},
            ["good 127.0.0.1:1 answers, for a proxy on this machine", "good https://chat.example.org answers"],
        ),
        (
            ["[::1]:1"], {"public_url": "http://chat.example.org", "trusted_proxies": ["::1"]}, {"::1"},
            [
                "good [::1]:1 answers, for a proxy on this machine",
                "note http://chat.example.org does not answer from here: refused",
            ],
        ),
        (
            ["127.0.0.1:1"], {"public_url": "https://chat.example.org"}, {"127.0.0.1", "chat.example.org"},
            [
                "good 127.0.0.1:1 answers, for a proxy on this machine",
                (
                    "note to the relay everybody has the proxy's address:"
                    " somebody who guesses passwords makes all others wait"
                ),
                "good https://chat.example.org answers",
            ],
        ),
        (
            ["127.0.0.1:1"], {"trusted_proxies": ["127.0.0.1"]}, {"127.0.0.1"},
            [
                "good 127.0.0.1:1 answers, for a proxy on this machine",
                "note links and QR codes cannot name the proxy's address",
            ],
        ),
    ],
)  # fmt: skip
def test_doctor_tries_only_the_addresses_of_the_relay(
    listening: list[str],
    more: dict[str, object],
    answering: set[str],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "addresses", lambda: iter(["192.0.2.7"]))
    monkeypatch.setattr(reach, "healthy", lambda _secure, host, _port: None if host in answering else "refused")
    findings = list(reach.network(Subject(tmp_path, status(*listening, **more), None)))
    assert [f"{one.level} {one.what}" for one in findings] == said
    assert all(one.advice for one in findings if one.level != "good")


def test_relay_behind_a_proxy_on_this_machine_is_reported_as_good(tmp_path: Path) -> None:
    environment = BEHIND_A_PROXY | {"RELAY_HTTP_PUBLIC_URL": "http://127.0.0.1:1"}
    with running(tmp_path / "data", environment=environment) as relay:
        findings = found(relay.data)
        assert findings["network"]["level"] == "good"
        assert findings["proxy"]["level"] == "note", "nothing listens there"


def test_a_data_directory_with_the_name_of_an_address_is_examined(tmp_path: Path) -> None:
    # SQLite treats the path as part of a URI: NevaMind-AI/memU#503, mar-file-system/GUFI#99.
    data = tmp_path / "a%20b?c=1#d"
    done("user", "add", "anna", data=data)
    findings = found(data)
    assert findings["store"]["level"] == "good"
    assert "upgrade" not in findings
    assert [one.name for one in tmp_path.iterdir()] == [data.name]


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    for number in range(40):
        done("user", "add", f"user{number}", data=tmp_path)
    file = tmp_path / "relay.db"
    content = bytearray(file.read_bytes())
    content[8_192:12_288] = os.urandom(4_096)
    file.write_bytes(content)
    assert found(tmp_path)["store"]["level"] == "bad"


@pytest.mark.parametrize("content", [b"this is no database", os.urandom(20_000)])
def test_file_that_is_not_a_store_is_found(content: bytes, tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path)
    (tmp_path / "relay.db").write_bytes(content)
    assert found(tmp_path)["store"]["level"] == "bad"


def test_another_programs_file_is_found(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "relay.db")) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    assert found(tmp_path)["store"]["what"] == "this file belongs to another program"


def test_data_that_everybody_may_read_is_found(tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path)
    tmp_path.chmod(0o755)
    finding = found(tmp_path)["permissions"]
    assert finding["level"] == "bad"
    assert finding["advice"].startswith("chmod o= ")


def test_wrong_settings_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_LIMITS_BURSTS", "1")
    assert found(tmp_path)["settings"]["level"] == "bad"


def test_a_disk_that_is_nearly_full_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "of", lambda _path: Room(10**8, 10**9, 10**6, 10**6, read_only=False))
    assert found(tmp_path)["disk"]["level"] == "bad"


def test_a_disk_with_few_free_inodes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "of", lambda _path: Room(10**12, 10**12, 900, 10**6, read_only=False))
    disk = found(tmp_path)["disk"]
    assert disk["level"] == "bad"
    assert "only 900 more files" in str(disk)


def test_a_clock_that_was_never_set_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.cli.doctor.machine.dt.datetime", _then(dt.datetime(1970, 1, 1, tzinfo=dt.UTC)))
    assert found(tmp_path)["clock"]["level"] == "bad"


@pytest.mark.parametrize("content", [None, b"", os.urandom(20_000)])
def test_every_check_runs_whatever_the_state_of_the_store(content: bytes | None, tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    if content is None:
        store.mkdir()
    else:
        store.write_bytes(content)
    ran = run("doctor", data=tmp_path)
    assert (ran.code, ran.err) == (1, "")
    assert "permissions" in ran.out


def test_temporarily_unavailable_store_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "relay.db").mkdir()
    finding = found(tmp_path)["store"]
    assert finding["level"] == "bad"
    assert "cannot be opened" in finding["what"]
    assert "restore" not in finding["advice"]


def test_failing_check_is_a_finding_and_the_others_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_subject: Subject) -> Iterator[Finding]:
        yield Finding("first", "bad", "one\nBAD two\x1b[2J", "Do.")
        raise sqlite3.DatabaseError("three\nfour")

    def last(_subject: Subject) -> Iterator[Finding]:
        yield Finding("last", "good", "five")

    command.show(command.examine(tmp_path, (fail, last)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "BAD first       one BAD two\\x1b[2J",
        "               Do.",
        " !  fail        could not be checked: three four",
        "ok  last        five",
    ]


def test_a_disk_that_is_read_only_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "of", lambda _path: Room(10**12, 10**12, 10**6, 10**6, read_only=True))
    ran = run("doctor", data=tmp_path)
    assert f"BAD disk        {tmp_path} cannot be written" in ran.out
