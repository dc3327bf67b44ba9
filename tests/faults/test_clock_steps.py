"""A clock that was behind and is set right: what was made minutes ago is not old by that."""

import itertools
from pathlib import Path

import pytest

from relay.core.clock.clock import DAY_MS as DAY
from relay.core.clock.clock import RelayClock
from relay.core.clock.steps import MAX_STEPS, Step, Steps
from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import ADMIN
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.settings import AuthSection, LimitsSection, RetentionSection, Settings
from relay.store.queries import stored_files
from tests.faults.clock_machine import NOW, YEAR, Machine, add_people, faults_of, say

HOUR = 3_600_000
BEHIND = 60 * DAY


def _settings() -> Settings:
    return Settings(
        limits=LimitsSection(requests_per_second=0),
        retention=RetentionSection(days=30),
        auth=AuthSection(invite_hours=72, device_days=30),
    )


def _machine_behind(by: int = BEHIND) -> Machine:
    machine = Machine()
    machine.wall -= by
    return machine


def _set_right(machine: Machine, by: int = BEHIND) -> None:
    machine.go_on(5_000)
    machine.wall += by
    machine.proof = "NTP"


async def _removed(relay: Relay) -> int:
    return (await relay.retention.prune()).removed


@pytest.mark.parametrize("behind", [BEHIND, 5 * DAY + 25 * DAY, NOW - DAY])
async def test_messages_sent_before_the_clock_was_set_right_stay_until_they_are_old(
    tmp_path: Path, behind: int
) -> None:
    machine = _machine_behind(behind)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        for number in range(5):
            await say(relay, number)
        _set_right(machine, behind)
        assert await _removed(relay) == 0
        assert (await say(relay, 5)).timestamp == machine.wall
    for days, removed in ((29, 0), (2, 5)):
        machine.go_on(days * DAY)
        async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
            if not removed:
                await say(relay, 6)
            assert await _removed(relay) == removed + bool(removed), "after a restart as well"
    assert await faults_of(tmp_path) == []


async def test_messages_sent_before_a_restart_with_a_right_clock_stay(tmp_path: Path) -> None:
    machine = _machine_behind()
    for number in range(2):
        machine.go_on(1_000)
        async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
            if not number:
                await add_people(relay)
            await say(relay, number)
    _set_right(machine)
    for _ in range(2):
        async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
            assert await _removed(relay) == 0
    machine.go_on(31 * DAY)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert await _removed(relay) == 2


async def test_messages_sent_while_the_clock_was_proved_grow_old_in_spite_of_a_later_step(tmp_path: Path) -> None:
    machine = Machine()
    machine.proof = "NTP"
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        for number in range(3):
            machine.go_on(1_000)
            await say(relay, number)
    machine.proof = None
    # Off for 60 days, and the clock goes on from where it was.
    machine.go_on(1_000)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await say(relay, 3)
        _set_right(machine)
        await say(relay, 4)
        assert await _removed(relay) == 3


async def test_invites_keep_their_remaining_time_and_expired_ones_stay_expired(tmp_path: Path) -> None:
    machine = _machine_behind()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        signing_in = relay.service.signing_in
        expired = await signing_in.invite(ADMIN, user_id="a")
        machine.go_on(71 * HOUR)
        first, second = [await signing_in.invite(ADMIN, user_id="a") for _ in range(2)]
        machine.go_on(2 * HOUR)
        await relay.log.keep_snapshot()
        _set_right(machine)
        await signing_in.by_invite(first.code, "phone", "10.0.0.1")
        with pytest.raises(RelayError, match="expired"):
            await signing_in.by_invite(expired.code, "phone", "10.0.0.2")
    machine.go_on(71 * HOUR)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        with pytest.raises(RelayError, match="expired"):
            await relay.service.signing_in.by_invite(second.code, "phone", "10.0.0.3")
    assert await faults_of(tmp_path) == []


async def test_invites_keep_their_remaining_time_when_an_admin_trusts_the_clock(tmp_path: Path) -> None:
    machine = _machine_behind()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        invite = await relay.service.signing_in.invite(ADMIN, user_id="a")
        await say(relay, 1)
        machine.wall += BEHIND
        await say(relay, 2)
        await relay.admin.handle("clock.trust", control.Empty())
        await relay.service.signing_in.by_invite(invite.code, "phone", "10.0.0.1")
        assert await _removed(relay) == 0


async def test_devices_used_before_the_clock_was_set_right_stay_signed_in(tmp_path: Path) -> None:
    machine = _machine_behind()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        invite = await relay.service.signing_in.invite(ADMIN, user_id="a")
        token = (await relay.service.signing_in.by_invite(invite.code, "phone", "10.0.0.1")).token
        _set_right(machine)
        assert relay.service.tokens.authenticate(token)
    machine.go_on(29 * DAY)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert relay.service.tokens.authenticate(token)
    machine.go_on(31 * DAY)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert relay.service.tokens.authenticate(token) is None


async def test_an_upload_made_before_the_clock_was_set_right_stays_for_a_day(tmp_path: Path) -> None:
    machine = _machine_behind()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        content = [b"hello"]

        async def piece() -> bytes:
            return content.pop() if content else b""

        file = await relay.files.receive(UserKey(1), NO_DEVICE, "hello.txt", 5, piece)
        _set_right(machine)
        await relay.files.forget_loose()
        assert await stored_files.files(relay.reading, [file.id])
        machine.go_on(2 * DAY)
        await relay.files.forget_loose()
        assert not await stored_files.files(relay.reading, [file.id])


async def test_a_resend_is_known_for_a_week_after_the_clock_was_set_right(tmp_path: Path) -> None:
    machine = _machine_behind()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        sent = await say(relay, 1)
        await relay.retention.prune(max_bytes=1)
        _set_right(machine)
        await relay.retention.forget_removed()
        assert (await say(relay, 1)).message_id == sent.message_id
        await relay.retention.prune(max_bytes=1)
        machine.go_on(8 * DAY)
        await relay.retention.forget_removed()
        assert (await say(relay, 1)).message_id != sent.message_id


# The arithmetic.


def test_stamp_limit_and_time_of_making_agree() -> None:
    steps = Steps([Step(100, 200, 50), Step(100, 300, 1_000), Step(2_000, 2_100, 500)])
    stamps = [*range(0, 201, 5), *range(250, 301, 5), 1_300, 2_000, 2_001, 2_100, 2_600]
    made = [steps.made_at(stamp) for stamp in stamps]
    assert made == sorted(made), "the order of the stamps is that of the times"
    assert (made[0], steps.made_at(200), steps.made_at(300), steps.made_at(2_100)) == (0, 1_250, 1_300, 2_600)
    for limit in range(0, 2_700, 7):
        assert [stamp for stamp in stamps if steps.made_at(stamp) < limit] == [
            stamp for stamp in stamps if stamp < steps.stamp_at(limit)
        ], limit


def test_steps_beyond_the_bound_are_forgotten_from_the_oldest_on() -> None:
    steps = Steps()
    for number in range(MAX_STEPS + 1):
        steps.add(Step(number * 100, number * 100 + 10, 5))
    assert (steps.made_at(5), steps.made_at(105)) == (5, 110)


def test_a_clock_that_goes_ahead_by_years_twice_is_corrected_twice() -> None:
    machine = _machine_behind(2 * YEAR)
    clock = machine.clock(days=1_000)
    clock.begin(0)
    first = clock()
    machine.go_on(1_000)
    machine.wall += YEAR
    second = clock()
    machine.go_on(1_000)
    _set_right(machine, YEAR)
    assert (clock.made_at(first), clock.made_at(second)) == (first + 2 * YEAR, second + YEAR)


def test_time_for_which_a_relay_was_off_is_not_a_step_of_its_clock_however_slowly_it_starts() -> None:
    last, ticks = 1_800_000_000_000, itertools.count(0, 5)
    clock = RelayClock(lambda: "NTP", wall=lambda: (last + 3 * 86_400_000) * 1_000_000, elapsed=lambda: next(ticks))
    recorded: list[Step] = []
    clock.begin(last)
    clock.record_to(recorded.append)
    assert clock() > last
    assert recorded == []
