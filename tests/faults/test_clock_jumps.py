"""Harmless clock jumps: a wrong clock deletes, expires or refuses nothing."""

from pathlib import Path
from typing import Any

import pytest

from relay.core.clock.clock import DAY_MS as DAY
from relay.core.relay import open_relay
from relay.core.rules.commands import ADMIN
from relay.core.submit import submit
from relay.keys import NO_DEVICE, UserKey
from relay.net.tls.authority import Authority
from relay.net.tls.certificates import Certificates
from relay.net.tls.reading import read
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment
from relay.settings import AuthSection, LimitsSection, RetentionSection, Settings, TlsSection
from relay.store.command import Command
from relay.store.queries import stored_files
from tests.faults.clock_machine import NOW, YEAR, Machine, add_people, faults_of, say
from tests.support.command_line import done

HOUR = 3_600_000


# Effects that a wrong clock must not have.


def _settings() -> Settings:
    return Settings(
        limits=LimitsSection(requests_per_second=0),
        retention=RetentionSection(days=30),
        auth=AuthSection(invite_hours=72),
    )


async def test_start_years_ahead_deletes_nothing_and_leaves_no_date_in_the_log(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        for number in range(10):
            last = await say(relay, number)
    machine.wall += 3 * YEAR
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert (await relay.retention.prune()).removed == 0
        machine.go_on(1_000)
        assert (await say(relay, 10)).timestamp == last.timestamp + 1_000
        with pytest.raises(RelayError, match="relay clock trust"):
            await relay.admin.handle("prune", control.Prune(days=30))
        status = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(status, control.Status)
        assert status.clock_ahead == 3 * YEAR / 1_000
        assert status.log_ahead == 0
    machine.wall -= 3 * YEAR
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        machine.go_on(1_000)
        assert (await say(relay, 11)).timestamp == machine.wall
    assert await faults_of(tmp_path) == []


async def test_relay_that_was_off_for_a_year_deletes_once_the_clock_is_verified(tmp_path: Path) -> None:
    machine = Machine()
    machine.proof = "NTP"
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        for number in range(10):
            await say(relay, number)
    machine.proof = None
    machine.wall += YEAR
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert (await relay.retention.prune()).removed == 0
        await relay.admin.handle("clock.trust", control.Empty())
        assert (await say(relay, 10)).timestamp == machine.wall
        assert (await relay.retention.prune()).removed > 0
        assert (await say(relay, 11)).timestamp == machine.wall
    # The confirmation is in the log, and holds after the next start.
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert relay.clock.credible()
    assert await faults_of(tmp_path) == []


async def _jumped(data: Path, machine: Machine) -> None:
    """Make a log with ten messages of now, and ten dated three years ahead."""
    machine.proof = "a mistake"
    async with open_relay(data, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
        for number in range(10):
            await say(relay, number)
        machine.wall += 3 * YEAR
        for number in range(10, 20):
            await say(relay, number)
    machine.wall -= 3 * YEAR
    machine.proof = None


async def test_log_that_is_years_ahead_is_reported_and_an_admin_can_fix_it(tmp_path: Path) -> None:
    machine = Machine()
    await _jumped(tmp_path, machine)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        status = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(status, control.Status)
        assert status.log_ahead == 3 * YEAR / 1_000
        assert (await relay.retention.prune()).removed == 0, "by the log's time the first ten are three years old"
        await relay.admin.handle("clock.trust", control.Empty())
        machine.go_on(1_000)
        assert (await say(relay, 20)).timestamp == machine.wall
        (chat,) = relay.state.chats.values()
        assert chat.newest_at == machine.wall
        # Messages dated ahead are removed only once those after them are old enough.
        machine.go_on(29 * DAY)
        await say(relay, 21)
        assert (await relay.retention.prune()).removed == 0
        machine.go_on(2 * DAY)
        assert (await relay.retention.prune()).removed > 0
        assert (await say(relay, 22)).message_id == 23
        assert relay.state.pruned < relay.state.seq
    assert await faults_of(tmp_path) == []
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
    assert await faults_of(tmp_path) == []
    machine.go_on(73 * HOUR)
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        assert {chat.newest_at > machine.wall for chat in relay.state.chats.values()} == {False}
        with pytest.raises(RelayError, match="expired"):
            await relay.service.signing_in.by_invite(invite.code, "phone", "10.0.0.1")


async def test_unused_uploads_stay_while_the_clock_is_not_trusted(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)
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


async def test_files_of_deleted_messages_and_replaced_pictures_go_while_the_clock_is_not_trusted(
    tmp_path: Path,
) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await add_people(relay)

        async def upload(content: bytes) -> Attachment:
            pieces = [content, b""]

            async def piece() -> bytes:
                return pieces.pop(0)

            return await relay.files.receive(UserKey(1), NO_DEVICE, "hello.txt", None, piece)

        async def act(request: Any) -> None:
            await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, request, generated_id="g"))

        sent, picture, unsent = [await upload(content) for content in (b"sent", b"picture", b"unsent")]
        machine.wall += 3 * YEAR
        await act(requests.New(chat_id="a", client_message_id="c", attachments=[sent]))
        await act(requests.ProfileRequest(photo_url=picture.url))
        await relay.files.forget_loose()
        ids = [sent.id, picture.id, unsent.id]
        assert len(await stored_files.files(relay.reading, ids)) == 3
        await act(requests.Delete(chat_id="a", original_message_id=1))
        await act(requests.ProfileRequest(photo_url=""))
        await relay.files.forget_loose()
        assert [one.id for one in await stored_files.files(relay.reading, ids)] == [unsent.id]


async def test_an_imported_message_from_the_future_is_dated_now(tmp_path: Path) -> None:
    machine = Machine()
    async with open_relay(tmp_path, clock=machine.clock(), settings=_settings()) as relay:
        await relay.admin.handle("import.user", control.UserImport(id="a", name="a", at=NOW + YEAR))
        assert relay.state.at == NOW


def test_certificate_is_not_made_by_an_untrusted_clock(tmp_path: Path) -> None:
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
