"""A client of the relay for bots, scripts and tests, on trio and trio-websocket.

    async with connect("ws://relay.local:8765/ws", token) as relay:
        await relay.send("User2", "hello")
        async for event in relay:
            print(event.name, event.payload)

It acknowledges the events that it hands out, sends keepalives, reconnects after a lost connection, asks for missed
events, and repeats unanswered requests under the same `clientMessageId`.
"""

from relay.client.connecting import connect
from relay.client.failures import CONNECTION_ERRORS, CannotConnect, SignedOut, Unanswered
from relay.client.received import AnswerPage, Received
from relay.client.session import Client

__all__ = [
    "CONNECTION_ERRORS",
    "AnswerPage",
    "CannotConnect",
    "Client",
    "Received",
    "SignedOut",
    "Unanswered",
    "connect",
]
