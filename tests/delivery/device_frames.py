"""What tests of replay have a device do, and how they compare the events that it got."""

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
    """Wait until all connections of a user have had what they missed, chat lists included."""
    key = relay.relay.state.user_keys[user]
    with trio.fail_after(10):
        while not all(one.live and not one.owed for one in relay.relay.hub.presence.subscribers.get(key, ())):
            await trio.sleep(0.001)


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
