"""Requests whose answers come in pages."""

import json
from typing import Any

from tests.support.sessions import Client

LONG = "漢" * 65_000
MIB = 2**20


async def say(client: Client, chat: str, *texts: str, **more: Any) -> None:
    for text in texts:
        await request(client, "new", chatId=chat, clientMessageId=f"{chat} {text[:40]}", message=text, **more)


async def request(client: Client, name: str, **payload: Any) -> None:
    """Make a request in plain UTF-8: with every character escaped, a long text would exceed a frame."""
    fields = {"type": "request", "id": "long", "payloadType": name, "payload": payload}
    await client.text(json.dumps(fields, ensure_ascii=False))
    assert "payload" in await client.answer("long")


async def page(client: Client, name: str, **payload: Any) -> dict[str, Any]:
    answer = await client.answer(await client.ask(name, **payload))
    assert "payload" in answer, answer
    assert len(json.dumps(answer, ensure_ascii=False).encode()) < MIB
    return answer
