"""A whole relay on a real loopback socket for tests of HTTP, and a third-party client for it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from relay.client import Client, connect
from relay.core.admin.status import Runtime
from relay.core.relay import Relay, open_relay
from relay.net.listeners import listen
from relay.net.server import Server
from relay.net.tls.certificates import Certificates
from relay.net.tuning import NetTuning
from relay.net.websocket import frames
from relay.protocol import control
from relay.settings import Settings


class HttpRelay:
    """A listening relay, and helpers for tests."""

    def __init__(self, relay: Relay, server: Server, port: int) -> None:
        self.relay = relay
        self.server = server
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"

    def browser(self, **options: Any) -> httpx.AsyncClient:
        """Return a client that keeps cookies and sends its page's origin, like a browser."""
        headers = {"Origin": self.url, **options.pop("headers", {})}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, **options)

    async def ask(self, name: str, request: Any) -> Any:
        return await self.relay.admin.handle(name, request)

    async def user(self, user_id: str, **what: Any) -> str:
        """Make a user with a device, and return its token."""
        await self.ask("user.add", control.AddUser(id=user_id, **what))
        return str((await self.ask("device.add", control.AddDeviceRequest(user_id=user_id))).token)

    async def invite(self, user_id: str, **what: Any) -> str:
        """Make an invite, and return its code."""
        return str((await self.ask("invite", control.AddInvite(user_id=user_id, **what))).code)

    def socket(self, token: str) -> AbstractAsyncContextManager[Client]:
        """Connect a client of the WebSocket."""
        return connect(f"ws://{self.host}/ws", token)

    async def raw(self, data: bytes) -> trio.SocketStream:
        """Open a bare connection and send bytes."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(data)
        return stream


@asynccontextmanager
async def http_relay(
    data: Path,
    settings: Settings | None = None,
    certificates: Certificates | None = None,
    net: NetTuning | None = None,
    host: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[HttpRelay]:
    """Run a relay on a port of its own until the block ends."""
    data.mkdir(exist_ok=True)
    chosen = settings or Settings()
    (listener,) = listen(host, 0)
    port = listener.getsockname()[1]
    runtime = Runtime(browser_address=lambda: f"http://127.0.0.1:{port}")
    opening = open_relay(data, frame=frames.encode_text, settings=chosen, runtime=runtime, **options)
    with listener:
        async with opening as relay:
            server = Server(relay, [listener], certificates, net)
            running = HttpRelay(relay, server, port)
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                yield running
                server.stop()


async def read_all(stream: trio.SocketStream, seconds: float = 5) -> bytes:
    """Read until the other end closes."""
    data = b""
    async with stream:
        with trio.fail_after(seconds):
            async for piece in stream:
                data += piece
    return data


UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


async def upgrade(relay: HttpRelay, *headers: tuple[str, str]) -> trio.SocketStream:
    """Request a WebSocket with these headers; the caller reads the response."""
    return await relay.raw(upgrade_request(relay, *headers))


def upgrade_request(relay: HttpRelay, *headers: tuple[str, str]) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in (("Host", relay.host), *UPGRADE, *headers)]
    return f"GET /ws HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


async def close_code(stream: trio.abc.ReceiveStream) -> int:
    """Read a WebSocket until the relay closes it, and return its close code."""
    data = b""
    with trio.fail_after(5):
        while (at := data.find(b"\x88")) < 0 or len(data) < at + 4:
            data += await stream.receive_some()
    return int.from_bytes(data[at + 2 : at + 4], "big")


__all__ = ["Client", "HttpRelay", "http_relay", "read_all"]
