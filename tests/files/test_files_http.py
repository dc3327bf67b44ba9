"""Files over HTTP: complete, readable only with permission, shown without running anything, kept while a message uses
them."""

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import trio

from relay.core.files import uploads
from relay.protocol import control, objects, requests
from relay.protocol.errors import RelayError
from relay.store.entry import StoredFile
from relay.store.queries import stored_files
from relay.store.sqlite.database import Connection
from tests.support import picture_files as made
from tests.support.http_files import as_object, bearer, fetch, on_disk, send, upload
from tests.support.http_relay import http_relay


async def test_a_download_equals_its_upload(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, content, "Ünter lagen.PDF.txt")
        answer = await fetch(relay, token, attachment)
        head = await fetch(relay, token, attachment, "HEAD")
    assert attachment == {
        "type": "file",
        "id": attachment["id"],
        "filename": "Ünter lagen.PDF.txt",
        "url": f"/files/{attachment['id']}",
        "meta": {"extension": "txt", "size": len(content)},
    }
    assert answer.content == content
    assert head.content == b""
    assert head.headers["content-length"] == str(len(content))


async def test_a_chunked_upload_is_stored_whole(tmp_path: Path) -> None:
    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 10_007):
            yield content[start : start + 10_007]

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        for size in (0, 1, 65_536, 262_144, 262_145):
            content = os.urandom(size)
            attachment = await upload(relay, token, chunks(content))
            assert (await fetch(relay, token, attachment)).content == content


async def test_equal_contents_are_stored_once(tmp_path: Path) -> None:
    content = os.urandom(1_000)
    async with http_relay(tmp_path) as relay:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        first, second = await upload(relay, anna, content, "a.txt"), await upload(relay, ben, content, "b.txt")
        stored = on_disk(relay)
        others = await fetch(relay, ben, first)
    assert first["id"] != second["id"]
    assert stored == [hashlib.sha256(content).hexdigest()]
    assert others.status_code == 404


async def test_a_picture_is_measured_and_shown(tmp_path: Path) -> None:
    content = made.jpeg(640, 480, orientation=6)
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, content, "photo.jpg", **{"Content-Type": "text/html"})
        answer = await fetch(relay, token, attachment)
    assert attachment["type"] == "image"
    assert attachment["meta"] == {"mimetype": "image/jpeg", "width": 480, "height": 640, "size": len(content)}
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


COULD_RUN = [
    (b"<!doctype html><script>alert(1)</script>", "page.html"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "drawing.svg"),
    (b"alert(1)", "code.js"),
    (b"\x89PNG\r\n\x1a\n<script>alert(1)</script>", "half.png"),
    (b"GIF89a\0\0\0\0<script>alert(1)</script>", "empty.gif"),
    (b"<script>alert(1)</script>%PDF-1.4", "late.pdf"),
]


async def test_active_content_is_downloaded_and_not_shown(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        for content, name in COULD_RUN:
            attachment = await upload(relay, token, content, name, **{"Content-Type": "image/png"})
            answer = await fetch(relay, token, attachment)
            assert attachment["type"] == "file", name
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"].startswith("attachment; ")


async def test_a_polyglot_file_is_shown_as_the_harmless_type(tmp_path: Path) -> None:
    content = b"GIF89a/*" + bytes([1, 0]) + b"*/=1;alert(1)//<script>alert(1)</script>"
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, content, "both.html", **{"Content-Type": "text/html"})
        answer = await fetch(relay, token, attachment)
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert attachment["filename"] == "both.html.gif"


NAMES = [
    ("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
    ("attachment; filename*=UTF-8''a%00b%0D%0ASet-Cookie%3A%20x.txt", "abSet-Cookie_ x.txt"),
    ("attachment; filename*=UTF-8''cod%E2%80%AEtxt.exe", "codtxt.exe"),
    ('attachment; filename="C:\\\\dir\\\\x \\"y\\".txt"', "x _y_.txt"),
    ("attachment; filename=plain.txt", "plain.txt"),
    ("attachment; filename*=UTF-8''%FF%FE.txt", "\ufffd\ufffd.txt"),
    ("attachment", "file"),
    ("", "file"),
]


async def test_a_deceptive_file_name_is_made_safe(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        for disposition, shown in NAMES:
            attachment = await upload(relay, token, b"x", **{"Content-Disposition": disposition})
            answer = await fetch(relay, token, attachment)
            assert attachment["filename"] == shown
            assert "set-cookie" not in answer.headers
            assert quote(shown, safe="") in answer.headers["content-disposition"]


RANGES = [
    ("bytes=0-0", 206, (0, 1)),
    ("bytes=10-19", 206, (10, 20)),
    ("bytes=90-", 206, (90, 100)),
    ("bytes=-7", 206, (93, 100)),
    ("bytes=-700", 206, (0, 100)),
    ("bytes=50-5000", 206, (50, 100)),
    ("bytes=100-", 416, None),
    ("bytes=5000-6000", 416, None),
    ("bytes=-0", 416, None),
    ("bytes=9-8", 200, (0, 100)),
    ("bytes=0-1,5-6", 200, (0, 100)),
    ("bytes=-", 200, (0, 100)),
    ("lines=1-2", 200, (0, 100)),
    ("bytes=a-b", 200, (0, 100)),
]


async def test_a_range_of_a_file_is_served(tmp_path: Path) -> None:
    content = os.urandom(100)
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, content)
        for wanted, status, part in RANGES:
            answer = await fetch(relay, token, attachment, Range=wanted)
            assert answer.status_code == status, wanted
            if status == 416:
                assert answer.headers["content-range"] == "bytes */100", wanted
                continue
            assert part is not None
            start, end = part
            assert answer.content == content[start:end], wanted
            if status == 206:
                assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/100", wanted


async def test_head_with_a_range_describes_the_whole_file(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, b"0123456789")
        for wanted in ("bytes=2-3", "bytes=50-60"):
            answer = await fetch(relay, token, attachment, "HEAD", Range=wanted)
            assert (answer.status_code, answer.headers["content-length"]) == (200, "10")
            assert "content-range" not in answer.headers


async def test_a_cached_file_is_not_sent_again(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, b"0123456789")
        first = await fetch(relay, token, attachment)
        tag = first.headers["etag"]
        again = await fetch(relay, token, attachment, **{"If-None-Match": tag})
        same = await fetch(relay, token, attachment, **{"If-Range": tag, "Range": "bytes=2-3"})
        other = await fetch(relay, token, attachment, **{"If-Range": '"other"', "Range": "bytes=2-3"})
    assert first.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert (same.status_code, same.content) == (206, b"23")
    assert (other.status_code, other.content) == (200, b"0123456789")


async def test_only_members_of_a_chat_with_a_file_may_read_it(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna, ben, eve = [await relay.user(name) for name in ("anna", "ben", "eve")]
        attachment = await upload(relay, anna, b"for ben")

        async def readers() -> list[int]:
            return [(await fetch(relay, token, attachment)).status_code for token in (anna, ben, eve, None)]

        before = await readers()
        await send(relay, anna, "ben", attachment)
        after = await readers()
        group = await relay.ask("chat.create", control.MakeChat(name="All", owner="ben", participants=["eve"]))
        await send(relay, ben, group.id, attachment)
        shared = await readers()
        await relay.ask("chat.remove", control.ChatUsers(id=group.id, participants=["eve"]))
        left = await readers()
    assert before == [200, 404, 404, 401]
    assert after == [200, 200, 404, 401]
    assert shared == [200, 200, 200, 401]
    assert left == [200, 200, 404, 401]


async def test_an_attachment_has_the_properties_that_the_relay_knows(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna, ben = await relay.user("anna"), await relay.user("ben")
        attachment = await upload(relay, anna, made.png(64, 32), "a.png")
        lies = as_object(attachment, type="file", filename="invoice.exe", url="http://evil.example/")
        async with relay.socket(anna) as socket:
            await socket.send("ben", attachments=[lies])
        async with relay.socket(ben) as socket:
            messages: list[objects.Message] = await socket.request(requests.MESSAGES, requests.Messages(chat_id="anna"))
    (message,) = messages
    assert message.attachments is not None
    (got,) = message.attachments
    assert (got.type, got.filename, got.url) == ("image", "a.png", attachment["url"])
    assert (got.meta.width, got.meta.height) == (64, 32)


async def test_attaching_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        anna, eve = await relay.user("anna"), await relay.user("eve")
        attachment = await upload(relay, anna, b"mine")
        for wanted in (attachment, {**attachment, "id": "made-up"}):
            with pytest.raises(RelayError, match="upload it") as refused:
                await send(relay, eve, "anna", wanted)
            assert refused.value.error.code == "not_found"
        async with relay.socket(eve) as socket:
            accepted = await socket.send("anna", "text")
            with pytest.raises(RelayError, match="upload it"):
                await socket.request(
                    requests.EDIT,
                    requests.Edit(
                        chat_id="anna",
                        original_message_id=accepted.message_id,
                        attachments=[as_object(attachment)],
                    ),
                )
        assert (await fetch(relay, eve, attachment)).status_code == 404


async def test_a_form_upload_is_refused_with_advice(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        token = await relay.user("anna")
        answer = await browser.post("/files", files={"file": b"x"}, headers=bearer(token))
    assert answer.status_code == 415


async def test_an_upload_with_a_content_encoding_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        async with relay.browser() as browser:
            headers = {**bearer(token), "Content-Encoding": "gzip"}
            answer = await browser.post("/files", content=b"\x1f\x8b", headers=headers)
            plain = await browser.post("/files", content=b"", headers={**bearer(token), "Content-Encoding": "identity"})
    assert (answer.status_code, plain.status_code) == (415, 200)
    assert "without a Content-Encoding" in answer.text


async def test_upload_without_a_token_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        assert (await browser.post("/files", content=b"x" * 100_000)).status_code == 401
        assert not on_disk(relay)


async def test_files_of_many_downloads_of_one_user_are_looked_up_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other users share the same connection to the store."""
    under_way = most = 0
    real = stored_files.files

    async def counted(connection: Connection, ids: Sequence[str]) -> list[StoredFile]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await real(connection, ids)
        finally:
            under_way -= 1

    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        attachment = await upload(relay, token, b"x" * 100)
        # Only the requests are counted: the relay asks once more for all downloads under way.
        monkeypatch.setattr(uploads, "stored_files", SimpleNamespace(**vars(stored_files) | {"files": counted}))
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(fetch, relay, token, attachment)
    assert most == 1
