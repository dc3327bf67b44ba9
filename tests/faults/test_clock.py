"""The machine's clock jumps: timestamps never go backwards, the log goes on, and nothing is lost."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.core.clock import proof
from relay.core.clock.clock import DAY_MS as DAY
from relay.core.clock.clock import RelayClock
from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import ADMIN
from relay.core.submit import submit
from relay.keys import NO_DEVICE, UserKey
from relay.net.tls.authority import Authority
from relay.net.tls.certificates import Certificates
from relay.net.tls.reading import read
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.settings import AuthSection, LimitsSection, RetentionSection, Settings, TlsSection
from relay.store.command import Command
from relay.store.queries import stored_files
from tests.support.command_line import done, run, running

YEAR = 365 * 86_400_000
NOW = 1_800_000_000_000
HOUR = 3_600_000


class Machine:
    """A machine's clock, set by a test, and its proof of the time."""

    def __init__(self) -> None:
        self.wall = NOW
        self.booted = 0
        self.proof: str | None = None

    def go_on(self, milliseconds: int) -> None:
        """Move both clocks."""
        self.wall += milliseconds
        self.booted += milliseconds

    def clock(self, days: int = 7) -> RelayClock:
        return RelayClock(
            lambda: self.proof, wall=lambda: self.wall * 1_000_000, elapsed=lambda: self.booted, days=lambda: days
        )


async def _say(relay: Relay, number: int) -> requests.Accepted:
    request = requests.New(chat_id="b", client_message_id=str(number), message="tick")
    accepted: requests.Accepted = await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, request))
    return accepted


async def _people(relay: Relay) -> None:
    for user in ("a", "b"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def _faults(data: Path) -> list[str]:
    return [fault for finding in await check(data, lambda _what: None) for fault in finding.wrong]


async def test_timestamps_never_go_backwards(tmp_path: Path) -> None:
    now = NOW
    async with open_relay(tmp_path, clock=lambda: now) as relay:
        await _people(relay)
        first = await _say(relay, 1)
        now -= YEAR
        back = await _say(relay, 2)
        assert back.timestamp == first.timestamp
        now += 2 * YEAR
        forward = await _say(relay, 3)
        assert forward.timestamp == first.timestamp + YEAR
    # A Raspberry Pi has no clock battery: after the power cut it is 1970 again.
    now = 0
    async with open_relay(tmp_path, clock=lambda: now) as relay:
        assert (await _say(relay, 4)).timestamp == forward.timestamp
        assert (await _say(relay, 4)).message_id == 4, "a resend is the same message whatever the clock says"
    assert await _faults(tmp_path) == []


# Whether the clock is believed.


def test_a_clock_far_ahead_without_proof_is_not_believed_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_verified_clock_is_believed_however_far_ahead() -> None:
    machine = Machine()
    machine.proof = "NTP"
    clock = machine.clock()
    clock.begin(NOW - YEAR)
    assert clock.credible()
    assert clock() == NOW


def test_a_later_proof_ends_the_doubt() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW - YEAR)
    assert not clock.credible()
    machine.proof = "NTP"
    machine.go_on(60_000)
    assert clock.credible()
    assert clock() == NOW + 60_000


def test_a_quiet_relay_believes_the_clock_for_as_long_as_it_runs() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(NOW)
    for _ in range(100):
        machine.go_on(DAY)
        assert clock.credible()
    assert clock() == NOW + 100 * DAY


def test_how_far_is_plausible_is_a_setting() -> None:
    machine = Machine()
    machine.wall += 20 * DAY
    for days, believed in ((7, False), (30, True)):
        clock = machine.clock(days)
        clock.begin(NOW)
        assert clock.credible() is believed


def test_an_empty_log_believes_any_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.begin(0)
    assert clock() == NOW
    assert clock.credible()


def test_with_a_clock_that_falls_behind_the_log_goes_on_and_nothing_is_deleted() -> None:
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


# What a wrong clock must not cause.


def _settings() -> Settings:
    return Settings(
        limits=LimitsSection(requests_per_second=0),
        retention=RetentionSection(days=30),
        auth=AuthSection(invite_hours=72),
    )


async def test_a_start_years_ahead_deletes_nothing_and_leaves_no_date_in_the_log(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await _people(relay)
        for number in range(10):
            last = await _say(relay, number)
    machine.wall += 3 * YEAR
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert (await relay.retention.prune()).removed == 0
        machine.go_on(1_000)
        assert (await _say(relay, 10)).timestamp == last.timestamp + 1_000
        with pytest.raises(RelayError, match="relay clock trust"):
            await relay.admin.handle("prune", control.Prune(days=30))
        status = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(status, control.Status)
        assert status.clock_ahead == 3 * YEAR / 1_000
        assert status.log_ahead == 0
    machine.wall -= 3 * YEAR
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        machine.go_on(1_000)
        assert (await _say(relay, 11)).timestamp == machine.wall
    assert await _faults(tmp_path) == []


async def test_a_relay_that_was_off_for_a_year_deletes_once_the_clock_is_verified(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await _people(relay)
        for number in range(10):
            await _say(relay, number)
    machine.wall += YEAR
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert (await relay.retention.prune()).removed == 0
        await relay.admin.handle("clock.trust", control.Empty())
        assert (await _say(relay, 10)).timestamp == machine.wall
        assert (await relay.retention.prune()).removed > 0
        assert (await _say(relay, 11)).timestamp == machine.wall
    # The confirmation is in the log, and holds after the next start.
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert relay.clock.credible()
    assert await _faults(tmp_path) == []


async def _jumped(data: Path, machine: Machine) -> None:
    """Make a log with ten messages of now, and ten dated three years ahead."""
    machine.proof = "a mistake"
    async with open_relay(data, clock=machine.clock(), settings=_settings()) as relay:
        await _people(relay)
        for number in range(10):
            await _say(relay, number)
        machine.wall += 3 * YEAR
        for number in range(10, 20):
            await _say(relay, number)
    machine.wall -= 3 * YEAR
    machine.proof = None


async def test_a_log_that_is_years_ahead_is_reported_and_an_admin_can_end_it(tmp_path: Path) -> None:
    machine = Machine()
    await _jumped(tmp_path, machine)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        status = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(status, control.Status)
        assert status.log_ahead == 3 * YEAR / 1_000
        assert (await relay.retention.prune()).removed == 0, "by the log's time the first ten are three years old"
        await relay.admin.handle("clock.trust", control.Empty())
        machine.go_on(1_000)
        assert (await _say(relay, 20)).timestamp == machine.wall
        (chat,) = relay.state.chats.values()
        assert chat.newest_at == machine.wall
        # Messages dated ahead are removed once those after them are old enough, and not before.
        machine.go_on(29 * DAY)
        await _say(relay, 21)
        assert (await relay.retention.prune()).removed == 0
        machine.go_on(2 * DAY)
        assert (await relay.retention.prune()).removed > 0
        assert (await _say(relay, 22)).message_id == 23
        assert relay.state.pruned < relay.state.seq
    assert await _faults(tmp_path) == []
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert relay.clock.credible()


async def test_invites_made_while_the_log_is_ahead_keep_their_duration(tmp_path: Path) -> None:
    machine = Machine()
    await _jumped(tmp_path, machine)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        signing_in = relay.service.signing_in
        first = await signing_in.invite(ADMIN, user_id="a")
        await signing_in.by_invite(first.code, "phone", "10.0.0.1")
        second = await signing_in.invite(ADMIN, user_id="a")
        third = await signing_in.invite(ADMIN, user_id="a")
        machine.go_on(73 * HOUR)
        with pytest.raises(RelayError):
            await signing_in.by_invite(second.code, "phone", "10.0.0.2")
        fourth = await signing_in.invite(ADMIN, user_id="a")
        await relay.admin.handle("clock.trust", control.Empty())
        machine.go_on(71 * HOUR)
        await signing_in.by_invite(fourth.code, "phone", "10.0.0.3")
        fifth = await signing_in.invite(ADMIN, user_id="a")
        machine.go_on(73 * HOUR)
        for late in (third, fifth):
            with pytest.raises(RelayError):
                await signing_in.by_invite(late.code, "phone", "10.0.0.4")


async def test_a_step_back_has_the_same_result_after_each_start(tmp_path: Path) -> None:
    machine = Machine()
    await _jumped(tmp_path, machine)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        invite = await relay.service.signing_in.invite(ADMIN, user_id="a")
        await relay.log.keep_snapshot()
        await relay.admin.handle("clock.trust", control.Empty())
    assert await _faults(tmp_path) == []
    machine.go_on(73 * HOUR)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert {chat.newest_at > machine.wall for chat in relay.state.chats.values()} == {False}
        with pytest.raises(RelayError, match="expired"):
            await relay.service.signing_in.by_invite(invite.code, "phone", "10.0.0.1")


async def test_unused_uploads_stay_while_the_clock_is_not_believed(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await _people(relay)
        content = [b"hello"]

        async def piece() -> bytes:
            return content.pop() if content else b""

        file = await relay.files.receive(UserKey(1), NO_DEVICE, "hello.txt", 5, piece)
        machine.wall += 3 * YEAR
        await relay.files.forget_loose()
        assert await stored_files.files(relay.reading, [file.id])
        machine.wall -= 3 * YEAR
        machine.go_on(2 * DAY)
        await relay.files.forget_loose()
        assert not await stored_files.files(relay.reading, [file.id])


async def test_an_imported_message_from_the_future_is_dated_now(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await relay.admin.handle("import.user", control.UserImport(id="a", name="a", at=NOW + YEAR))
        assert relay.state.at == NOW


def test_a_certificate_is_not_made_by_a_clock_that_is_not_believed(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    done("tls", "init", data=tmp_path)
    ends = read(Authority(tmp_path / "tls").leaf).ends
    machine = Machine()
    machine.wall = (ends - 300 * 86_400) * 1_000
    clock = machine.clock()
    clock.begin(machine.wall)
    certificates = Certificates(tmp_path, TlsSection(), clock=clock.earlier_time)
    machine.wall += 3 * YEAR
    certificates.refresh()
    assert certificates.ends() == ends, "clients would take it for one that is not good yet"
    machine.wall -= 3 * YEAR
    machine.go_on(290 * DAY)
    certificates.refresh()
    assert certificates.ends() > ends


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
