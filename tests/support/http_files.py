"""Files over HTTP: upload, download, send, and find on the disk."""

from collections.abc import AsyncIterable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import trio

from relay.protocol import objects, requests
from tests.support.http_relay import HttpRelay


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def upload(
    relay: HttpRelay, token: str, content: bytes | AsyncIterable[bytes], name: str = "notes.txt", **headers: str
) -> dict[str, Any]:
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}", **bearer(token), **headers}
    async with relay.browser() as browser:
        answer = await browser.post("/files", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def fetch(
    relay: HttpRelay, token: str | None, attachment: dict[str, Any], method: str = "GET", **headers: str
) -> httpx.Response:
    async with relay.browser() as browser:
        mine = bearer(token) if token else {}
        return await browser.request(method, attachment["url"], headers={**mine, **headers})


def as_object(attachment: dict[str, Any], **other: Any) -> objects.Attachment:
    meta = objects.AttachmentMeta(size=attachment["meta"]["size"])
    fields = {"type": "file", "filename": "x", "url": f"/files/{attachment['id']}", "meta": meta, **other}
    return objects.Attachment(id=attachment["id"], **fields)


async def send(
    relay: HttpRelay, token: str, chat_id: str, *attachments: dict[str, Any], **more: Any
) -> requests.Accepted:
    async with relay.socket(token) as socket:
        return await socket.send(chat_id, attachments=[as_object(one) for one in attachments], **more)


def on_disk(relay: HttpRelay) -> list[str]:
    return sorted(path.name for path in (relay.relay.data / "files").rglob("*") if path.is_file())


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not condition():
            await trio.sleep(0.01)
