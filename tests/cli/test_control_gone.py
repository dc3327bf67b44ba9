"""A prune is given up if its client is gone; a client that only stops sending still gets the answer."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.maintenance.retention import PruneResult, Retention
from relay.core.relay import Relay, open_relay
from relay.net import control_socket


async def asking(relay: Relay, path: Path) -> trio.SocketStream:
    """Connect and request a prune."""
    stream = await trio.open_unix_socket(path)
    request = {"type": "request", "id": "1", "payloadType": "prune", "payload": {"maxBytes": 1}}
    await stream.send_all(json.dumps(request).encode() + b"\n")
    return stream


@pytest.mark.parametrize("gone", [True, False])
async def test_a_prune_stops_when_its_client_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    began, ended = trio.Event(), trio.Event()
    cancelled = False

    async def prune(_retention: Retention, **_how: Any) -> PruneResult:
        nonlocal cancelled
        began.set()
        try:
            await trio.sleep(0.3)
        except trio.Cancelled:
            cancelled = True
            raise
        finally:
            ended.set()
        return PruneResult(7, 0, too_large=False)

    monkeypatch.setattr(Retention, "prune", prune)
    async with open_relay(tmp_path) as relay, trio.open_nursery() as nursery:
        await nursery.start(control_socket.serve, tmp_path / "relay.sock", relay.admin, relay.clock, 0.02)
        stream = await asking(relay, tmp_path / "relay.sock")
        await began.wait()
        if gone:
            await stream.aclose()
        else:
            await stream.send_eof()
            answer = json.loads(await stream.receive_some())
            assert answer["payload"]["removed"] == 7
            await stream.aclose()
        with trio.fail_after(5):
            await ended.wait()
        assert cancelled == gone
        nursery.cancel_scope.cancel()
