"""The machine's clock jumps: timestamps never go backwards, the log continues, and nothing is lost."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.core.clock import proof
from relay.core.clock.clock import DAY_MS as DAY
from relay.core.relay import open_relay
from relay.net.tls.authority import Authority
from relay.net.tls.reading import read
from relay.protocol.errors import RelayError
from tests.faults.clock_machine import NOW, YEAR, Machine, add_people, faults_of, say
from tests.support.command_line import done, run, running


async def test_timestamps_never_go_backwards(tmp_path: Path) -> None:
    now = NOW
    async with open_relay(tmp_path, clock=lambda: now) as relay:
        await add_people(relay)
        first = await say(relay, 1)
        now -= YEAR
        back = await say(relay, 2)
        assert back.timestamp == first.timestamp
        now += 2 * YEAR
        forward = await say(relay, 3)
        assert forward.timestamp == first.timestamp + YEAR
    # A Raspberry Pi has no clock battery: after the power cut it is 1970 again.
    now = 0
    async with open_relay(tmp_path, clock=lambda: now) as relay:
        assert (await say(relay, 4)).timestamp == forward.timestamp
        assert (await say(relay, 4)).message_id == 4, "a resend is the same message whatever the clock says"
    assert await faults_of(tmp_path) == []


# Trust in the clock.


def test_clock_far_ahead_without_proof_is_not_trusted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW)
    assert clock.credible()
    machine.wall += 3 * YEAR
    machine.go_on(1_000)
    assert not clock.credible()
    assert clock() == NOW + 1_000, "the log goes on from its last time"
    assert clock.offset() == 3 * YEAR
    assert clock.earlier_time() == NOW + 1_000
    machine.wall -= 3 * YEAR
    assert clock.credible()
    assert clock() == NOW + 1_000
    assert [record.levelno for record in caplog.records if record.levelno >= logging.WARNING] == [logging.WARNING]


def test_verified_clock_is_trusted_however_far_ahead() -> None:
    machine = Machine()
    machine.proof = "NTP"
    clock = machine.clock()
    clock.begin(NOW - YEAR)
    assert clock.credible()
    assert clock() == NOW


def test_later_proof_restores_trust() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW - YEAR)
    assert not clock.credible()
    machine.proof = "NTP"
    machine.go_on(60_000)
    assert clock.credible()
    assert clock() == NOW + 60_000


def test_quiet_relay_trusts_the_clock_for_as_long_as_it_runs() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW)
    for _ in range(100):
        machine.go_on(DAY)
        assert clock.credible()
    assert clock() == NOW + 100 * DAY


def test_plausible_deviation_is_a_setting() -> None:
    machine = Machine()
    machine.wall += 20 * DAY
    for days, believed in ((7, False), (30, True)):
        clock = machine.clock(days)
        clock.begin(NOW)
        assert clock.credible() is believed


def test_empty_log_trusts_any_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(0)
    assert clock() == NOW
    assert clock.credible()


def test_with_a_clock_behind_the_log_time_continues_and_nothing_is_deleted() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW)
    machine.wall = 0
    machine.booted += 5_000
    assert clock() == NOW + 5_000
    assert not clock.credible()
    assert clock.earlier_time() == 0
    # The log never steps back by itself, not even for a verified clock, whose battery may be dead.
    machine.proof = "a real-time clock"
    assert not clock.credible()


def test_an_admin_can_confirm_the_clock_unless_it_was_never_set() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW - YEAR)
    assert not clock.credible()
    assert clock.trust() == NOW
    assert clock.credible()
    machine.wall = 0
    with pytest.raises(RelayError, match="1970"):
        clock.trust()


def test_a_real_time_clock_is_proof_only_of_the_time_it_shows(tmp_path: Path) -> None:
    (tmp_path / "rtc0").mkdir()
    assert proof.real_time_clock(tmp_path, 1_000_000) is None
    (tmp_path / "rtc0" / "since_epoch").write_text("1000000\n")
    assert proof.real_time_clock(tmp_path, 1_003_600) == "a real-time clock (rtc0)"
    assert proof.real_time_clock(tmp_path, 1_200_000) is None


def test_timesyncds_file_is_proof_of_later_times_only(tmp_path: Path) -> None:
    file = tmp_path / "synchronized"
    assert not proof.touched_lately(file, 1_000_000)
    file.touch()
    os.utime(file, (1_000_000, 1_000_000))
    assert proof.touched_lately(file, 1_000_000 + 3_600)
    assert not proof.touched_lately(file, 1_000_000 + 3 * 365 * 86_400)
    assert not proof.touched_lately(file, 900_000)


# A real relay on a machine whose clock is wrong.


@pytest.fixture
def wrong_clock(tmp_path: Path) -> tuple[dict[str, str], Callable[[int], None]]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a wrong clock with")
    if proof.machine_proof() not in (None, "NTP (adjtimex)"):
        pytest.skip("a real-time clock or timesyncd vouches for this machine's clock")
    library, plan = tmp_path / "wrong_clock.so", tmp_path / "off"
    source = Path(__file__).parents[1] / "support" / "wrong_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    plan.write_text("0")

    def jump(off: int) -> None:
        plan.write_text(str(off))

    return {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(plan)}, jump


def test_a_clock_that_jumps_both_ways_while_the_relay_runs(
    tmp_path: Path, wrong_clock: tuple[dict[str, str], Callable[[int], None]]
) -> None:
    environment, jump = wrong_clock
    data = tmp_path / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=data)
    with running(data, environment=environment | {"RELAY_RETENTION_DAYS": "30"}) as relay:
        sent = [done("send", "--as", "anna", "ben", "one", "--json", data=data).json["timestamp"]]
        jump(3 * 365 * 86_400)
        sent.append(done("send", "--as", "anna", "ben", "two", "--json", data=data).json["timestamp"])
        assert done("status", "--json", data=data).json["clockAhead"] > 2 * 365 * 86_400
        assert "nothing vouches for it" in done("status", data=data).out
        assert "BAD clock" in run("doctor", data=data).out
        assert run("prune", "--days", "30", "--yes", data=data).code == 1
        jump(-10 * 365 * 86_400)
        sent.append(done("send", "--as", "anna", "ben", "three", "--json", data=data).json["timestamp"])
        assert "ahead of the clock" in done("status", data=data).out
        jump(0)
        sent.append(done("send", "--as", "anna", "ben", "four", "--json", data=data).json["timestamp"])
        assert sent == sorted(sent)
        assert sent[-1] - sent[0] < 60_000
        assert done("status", "--json", data=data).json["clockAhead"] == 0
        assert relay.log.read_text().count("nothing is deleted") == 2
        assert relay.log.read_text().count("believed again") >= 1
    done("check", data=data)


def test_authority_is_dated_by_the_log_while_the_clock_is_ahead_and_nothing_vouches_for_it(
    tmp_path: Path, wrong_clock: tuple[dict[str, str], Callable[[int], None]]
) -> None:
    pytest.importorskip("cryptography")
    environment, jump = wrong_clock
    data = tmp_path / "data"
    done("user", "add", "anna", data=data)
    jump(40 * 365 * 86_400)
    command = [sys.executable, "-m", "relay", "tls", "init", "--data", str(data)]
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    assert read(Authority(data / "tls").certificate).begins < time.time()
