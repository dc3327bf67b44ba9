"""Limits of uploads: quotas, full disks, broken uploads, and concurrent ones."""

import errno
import os
import re
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from msgspec.structs import replace

from relay.core.files import quota
from relay.core.model.entities import BLOCK_BYTES, User
from relay.core.model.state import State
from relay.core.tuning import FilesTuning, Tuning
from relay.keys import UserKey
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.settings import FilesSection, LimitsSection, Settings
from relay.store.files.room import KEPT_NAMES, Room
from tests.support.http_files import as_object, bearer, fetch, on_disk, until, upload
from tests.support.http_relay import HttpRelay, http_relay, read_all


def limited(**limits: int) -> Settings:
    return Settings(files=replace(FilesSection(free_bytes=0), **limits))


def room_of(free: int, names: int = 10_000) -> Room:
    return Room(free, 2**50, names, 1_000_000, read_only=False)


async def try_upload(
    relay: HttpRelay, token: str, content: bytes | AsyncIterable[bytes], **headers: str
) -> httpx.Response:
    async with relay.browser() as browser:
        return await browser.post("/files", content=content, headers={**bearer(token), **headers})


async def chunked(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 10_000):
        yield bytes(10_000)


async def test_upload_announced_as_too_large_is_refused_before_its_bytes(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        head = (
            f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {10 * 2**30}\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = await read_all(await relay.raw(head.encode()))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer
    assert b'"too_large"' in answer


async def test_expect_100_continue_is_answered(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        head = (
            f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Length: 5\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
        )
        stream = await relay.raw(head.encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"12345")
        assert (await read_all(stream)).startswith(b"HTTP/1.1 200")


async def test_upload_of_unknown_size_is_cut_off_at_the_quota(tmp_path: Path) -> None:
    async with http_relay(tmp_path, limited(file_bytes=100_000)) as relay:
        token = await relay.user("anna")
        fits = await try_upload(relay, token, chunked(100_000))
        over = await try_upload(relay, token, chunked(5_000_000))
        assert len(on_disk(relay)) == 1
        assert relay.relay.files.quota.reserved_bytes == 0
    assert fits.status_code == 200
    assert (over.status_code, over.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("limits", [{"user_bytes": 250_000}, {"total_bytes": 250_000}])
@pytest.mark.parametrize("announced", [True, False])
async def test_uploads_are_limited_per_user_and_in_total(
    tmp_path: Path, limits: dict[str, int], announced: bool
) -> None:
    async with http_relay(tmp_path, limited(**limits)) as relay:
        token = await relay.user("anna")
        answers = [await try_upload(relay, token, bytes(100_000) if announced else chunked(100_000)) for _ in range(3)]
        assert relay.relay.state.users[UserKey(1)].stored == 200_000
    assert [answer.status_code for answer in answers] == [200, 200, 507]
    assert answers[2].json()["error"]["code"] == "storage_full"
    assert answers[2].json()["error"].get("quota") == limits.get("user_bytes"), "their own room, or the disk"


async def test_the_quota_of_one_user_is_not_used_by_another(tmp_path: Path) -> None:
    async with http_relay(tmp_path, limited(user_bytes=100_000)) as relay:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        statuses = [(await try_upload(relay, token, bytes(90_000))).status_code for token in (anna, anna, ben)]
    assert statuses == [200, 507, 200]


async def test_deleting_a_file_frees_quota(tmp_path: Path) -> None:
    async with http_relay(tmp_path, limited(user_bytes=100_000)) as relay:
        anna = await relay.user("anna")
        await relay.user("ben")
        first = await upload(relay, anna, bytes(90_000))
        assert (await try_upload(relay, anna, bytes(90_000))).status_code == 507
        async with relay.socket(anna) as socket:
            sent = await socket.send("ben", attachments=[as_object(first)])
            await socket.request(requests.DELETE, requests.Delete(chat_id="ben", original_message_id=sent.message_id))
        await until(lambda: not on_disk(relay))
        assert (await try_upload(relay, anna, bytes(90_000))).status_code == 200


async def test_concurrent_uploads_share_the_quota(tmp_path: Path) -> None:
    async with http_relay(tmp_path, limited(user_bytes=250_000)) as relay:
        token = await relay.user("anna")
        statuses: list[int] = []

        async def one() -> None:
            statuses.append((await try_upload(relay, token, bytes(100_000))).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        assert relay.relay.state.users[UserKey(1)].stored <= 250_000
    assert statuses.count(200) <= 2
    assert set(statuses) <= {200, 507}


@pytest.fixture
def to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count files by their exact bytes."""
    monkeypatch.setattr(quota, "quota_bytes", lambda size: size)


@pytest.mark.parametrize("limit", ["user_bytes", "total_bytes"])
def test_growing_upload_uses_only_the_room_left_by_others(limit: str, to_the_byte: None) -> None:
    step = FilesTuning().reserve_step_bytes
    room, step = 3 * step + 5, step // 2
    state = State()
    for key, stored in ((1, 100), (2, 10)):
        state.add_user(User(key=UserKey(key), id=f"user{key}", name="", stored=stored))
    most = {"user_bytes": 100 + room, "total_bytes": 110 + room}[limit]
    counted = quota.Quota(state, replace(FilesSection(), **{limit: most}), lambda: room_of(2**40))
    with counted.upload(UserKey(1), 3) as other:
        with counted.upload(UserKey(1), None) as growing:
            while growing.size < room - 3:
                growing.take(min(step, room - 3 - growing.size))
            with pytest.raises(RelayError) as refused:
                growing.take(1)
        assert refused.value.error.code == "storage_full"
        other.take(3)
    with counted.upload(UserKey(1), room):
        pass


def test_uploads_leave_the_last_inodes_of_a_disk_to_the_relay() -> None:
    state = State()
    state.add_user(User(key=UserKey(1), id="user1", name=""))
    left = KEPT_NAMES
    counted = quota.Quota(state, FilesSection(free_bytes=0), lambda: room_of(2**40, left))
    with counted.upload(UserKey(1), 10):
        pass
    left -= 1
    with pytest.raises(RelayError, match="no room for this file"), counted.upload(UserKey(1), 10):
        pass
    assert not Room(2**40, 2**40, 2, 24, read_only=False).few_names, "a twentieth of a small disk is kept"


def test_a_growing_upload_stops_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch, to_the_byte: None) -> None:
    state = State()
    state.add_user(User(key=UserKey(1), id="user1", name=""))
    written = 0
    counted = quota.Quota(
        state, FilesSection(free_bytes=1_000), lambda: room_of(1_100 - written), FilesTuning(reserve_step_bytes=8)
    )
    with counted.upload(UserKey(1), 20), counted.upload(UserKey(1), None) as growing:
        with suppress(RelayError):
            while written < 100:
                growing.take(1)
                written += 1
    assert written == pytest.approx(80, abs=1), "room that another upload has set aside is not taken"


@pytest.mark.parametrize("limits", [{"user_bytes": 3 * BLOCK_BYTES}, {"total_bytes": 3 * BLOCK_BYTES}])
@pytest.mark.parametrize("content", [b"", b"x"])
async def test_small_file_counts_as_a_block(tmp_path: Path, limits: dict[str, int], content: bytes) -> None:
    async with http_relay(tmp_path, limited(**limits)) as relay:
        token = await relay.user("anna")
        answers = [await try_upload(relay, token, content) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 507]


async def test_the_largest_file_may_be_smaller_than_a_block(tmp_path: Path) -> None:
    async with http_relay(tmp_path, limited(file_bytes=10)) as relay:
        token = await relay.user("anna")
        statuses = [(await try_upload(relay, token, bytes(size))).status_code for size in (10, 11)]
    assert statuses == [200, 413]


async def test_upload_counts_as_a_request(tmp_path: Path) -> None:
    limits = LimitsSection(requests_per_second=0.01, burst=2)
    async with http_relay(tmp_path, Settings(limits=limits)) as relay:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        statuses = [(await try_upload(relay, anna, b"x")).status_code for _ in range(2)]
        refused = await try_upload(relay, anna, b"x")
        assert (await try_upload(relay, ben, b"x")).status_code == 200
        async with relay.socket(anna) as socket:
            with pytest.raises(RelayError, match="too many"):
                await socket.send("ben", "hello")
    assert statuses == [200, 200]
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) > 0


async def test_upload_without_a_thread_is_refused_for_now_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, left = trio.to_thread.run_sync, 1

    async def none_left(work: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1
        return await real(work, *arguments, **options)

    async with http_relay(tmp_path, limited()) as relay:
        token = await relay.user("anna")
        monkeypatch.setattr(trio.to_thread, "run_sync", none_left)
        refused = await try_upload(relay, token, bytes(10_000))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert on_disk(relay) == []
        monkeypatch.undo()
        assert (await try_upload(relay, token, b"x")).status_code == 200
    assert "there are no threads left" in caplog.text
    assert not any(record.exc_info for record in caplog.records)


async def test_uploads_leave_the_configured_space_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with http_relay(tmp_path, limited(free_bytes=1_000_000)) as relay:
        token = await relay.user("anna")
        monkeypatch.setattr(relay.relay.files.quota, "room", lambda: room_of(1_050_000))
        fits = await try_upload(relay, token, bytes(50_000))
        over = await try_upload(relay, token, bytes(50_001))
    assert (fits.status_code, over.status_code) == (200, 507)


async def test_upload_is_unavailable_while_its_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Room:
        raise OSError(116, "Stale file handle")

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        monkeypatch.setattr(relay.relay.files.quota, "room", fail)
        answer = await try_upload(relay, token, b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "Stale file handle" in caplog.text


async def test_a_full_disk_leaves_no_file_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        monkeypatch.setattr("os.fsync", fail)
        answer = await try_upload(relay, token, bytes(300_000))
        monkeypatch.undo()
        assert not on_disk(relay)
        assert (await try_upload(relay, token, b"x")).status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_full")
    assert "the disk is full" in caplog.text


async def test_write_error_is_not_reported_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(5, "Input/output error")

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        monkeypatch.setattr("os.fsync", fail)
        answer = await try_upload(relay, token, bytes(300_000))
        monkeypatch.undo()
        assert not on_disk(relay)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "a file cannot be saved: Input/output error" in caplog.text


async def test_upload_to_an_unresponsive_disk_is_refused_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Room:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        monkeypatch.setattr(relay.relay.files.quota, "room", gone)
        answer = await try_upload(relay, token, bytes(300_000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_broken_upload_leaves_nothing(tmp_path: Path, framing: str) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        head = f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
        stream = await relay.raw(head.encode() + b"3d090\r\n" + os.urandom(300_000))
        await until(lambda: on_disk(relay))
        await stream.aclose()
        await until(lambda: not on_disk(relay) and not relay.relay.files.quota.reserved_bytes)
        assert relay.relay.state.users[UserKey(1)].stored == 0


async def test_too_many_concurrent_uploads_are_rate_limited(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=Tuning(files=FilesTuning(uploads_per_user=1))) as relay:
        token = await relay.user("anna")
        head = (
            f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n1"
        )
        async with await relay.raw(head.encode()) as running:
            await until(lambda: on_disk(relay))
            waits = await try_upload(relay, token, b"x")
            await running.send_all(b"23456789")
            assert (await running.receive_some()).startswith(b"HTTP/1.1 200")
        assert (await try_upload(relay, token, b"x")).status_code == 200
    assert waits.status_code == 429


async def test_newest_upload_of_the_largest_holder_is_evicted(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=Tuning(files=FilesTuning(uploads=2))) as relay:
        anna, ben, cleo = [await relay.user(name) for name in ("anna", "ben", "cleo")]

        async def begin(token: str, number: int) -> trio.SocketStream:
            head = f"POST /files HTTP/1.1\r\nHost: {relay.host}\r\nAuthorization: Bearer {token}\r\n"
            stream = await relay.raw(f"{head}Content-Length: 9\r\n\r\n1".encode())
            await until(lambda: len(on_disk(relay)) == number)
            return stream

        first, latest = await begin(anna, 1), await begin(anna, 2)
        of_ben = await try_upload(relay, ben, b"x")
        displaced = await latest.receive_some()
        again = await begin(ben, 3)
        of_cleo = await try_upload(relay, cleo, b"x")
        await first.send_all(b"23456789")
        kept = await first.receive_some()
        await first.aclose()
        await latest.aclose()
        await again.aclose()
    assert of_ben.status_code == 200
    assert displaced.startswith(b"HTTP/1.1 429")
    assert kept.startswith(b"HTTP/1.1 200")
    assert of_cleo.status_code == 429, "everybody has one"


async def test_a_refused_upload_is_answered_although_more_was_sent(tmp_path: Path) -> None:
    async with http_relay(tmp_path, limited(file_bytes=1_000)) as relay:
        token = await relay.user("anna")
        answer = await try_upload(relay, token, bytes(3_000_000))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


async def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    peak = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal peak
        for _ in range(800):
            yield bytes(100_000)
            peak = max(peak, resident())

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        await upload(relay, token, b"x" * 1_000_000)
        before = resident()
        attachment = await upload(relay, token, pieces())
        assert attachment["meta"]["size"] == 80_000_000
        answer = await fetch(relay, token, attachment, "HEAD")
        assert re.fullmatch(r"80000000", answer.headers["content-length"])
    assert peak - before < 20_000_000
