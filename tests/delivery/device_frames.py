"""A device's actions in tests of replay, and comparisons of its events."""

from typing import Any

import trio

from tests.support.sessions import Client, House


async def say(client: Client, chat_id: str, *texts: str) -> None:
    for text in texts:
        await client.request("new", chatId=chat_id, clientMessageId=text, message=text)


def durable(frames: list[dict[str, Any]]) -> list[Any]:
    """Return the type and the message id of each durable event."""
    return [
        (frame["eventType"], frame["payload"]["messageId"]) if frame["eventType"] != "chats" else "chats"
        for frame in frames
        if "id" in frame and frame["type"] == "event"
    ]


async def caught_up(relay: House, user: str) -> None:
    """Wait until all connections of a user have got their missed events, including chat lists."""
    key = relay.relay.state.user_keys[user]
    with trio.fail_after(10):
        while not all(one.live and not one.owed for one in relay.relay.hub.presence.subscribers.get(key, ())):
            await trio.sleep(0.001)


async def acknowledged(client: Client) -> list[dict[str, Any]]:
    """Receive and acknowledge everything."""
    frames = await client.rest()
    for frame in frames:
        if "id" in frame and frame["type"] == "event":
            await client.ack(frame)
    # Its answer means that everything before it was processed.
    await client.text("ping")
    while (frame := await client.receive()) != {"event": "pong"}:
        frames.append(frame)
    return frames
