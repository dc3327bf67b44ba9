"""What tests of replay have a device do, and how they compare the events that it got."""

from typing import Any

from tests.support.sessions import Client


async def say(client: Client, chat_id: str, *texts: str) -> None:
    for text in texts:
        await client.request("new", chatId=chat_id, clientMessageId=text, message=text)


def durable(frames: list[dict[str, Any]]) -> list[Any]:
    """Give the type and the message id of each durable event."""
    return [
        (frame["eventType"], frame["payload"]["messageId"]) if frame["eventType"] != "chats" else "chats"
        for frame in frames
        if "id" in frame and frame["type"] == "event"
    ]


async def acknowledged(client: Client) -> list[dict[str, Any]]:
    """Take and acknowledge all that comes."""
    frames = await client.rest()
    for frame in frames:
        if "id" in frame and frame["type"] == "event":
            await client.ack(frame)
    # Its answer says that all before it has been taken in.
    await client.text("ping")
    while (frame := await client.receive()) != {"event": "pong"}:
        frames.append(frame)
    return frames
