"""`connect`: a client that runs for the duration of a block."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from relay.client.session import Client


@asynccontextmanager
async def connect(
    url: str,
    token: str,
    *,
    after: int | None = None,
    reconnect: bool = True,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """Connect to a relay and stay connected.

    Args:
        url: the address of the WebSocket, `ws://HOST:PORT/ws` or `wss://…`.
        token: a device's token, as `relay device add` prints it.
        after: the id of the last event that was handled; by default the relay uses the device's acknowledgements.
        reconnect: whether to connect again after the connection is lost.
        tls: which authorities to trust for `wss`; the system's by default.

    Raises:
        SignedOut: the relay does not accept the token.
        CannotConnect: there is no relay at the address, or its certificate is not trusted. If nothing answers, the
            client retries.
    """
    client = Client(url, token, after, reconnect=reconnect, tls=tls)
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            await client.connected()
            yield client
        except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery's exception group
            raised = error
        finally:
            nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
