"""The address by which commands on this machine reach the relay, and their message if it is unreachable."""

import socket

import pytest

from relay.cli.messages import hear
from relay.net.listeners import listen, local_url
from relay.protocol import control


@pytest.mark.parametrize(
    ("host", "both", "local"), [("::", True, "127.0.0.1"), ("::", False, "[::1]"), ("0.0.0.0", False, "127.0.0.1")]
)
def test_listener_on_all_addresses_is_reached_by_a_specific_one(host: str, both: bool, local: str) -> None:
    try:
        (listener,) = listen(host, 0, both=both)
    except OSError:
        pytest.skip("this system has no IPv6")
    with listener:
        port = listener.getsockname()[1]
        assert local_url(listener, secure=False) == f"ws://{local}:{port}/ws"


def test_unreachable_relay_is_reported_with_a_reason() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{closed.getsockname()[1]}/ws"
        failed = hear(control.TemporaryToken(token="x" * 40, url=url), None, lambda _event: None)
    assert failed is not None
    assert failed.reason.startswith(f"{url} cannot be reached: ")
    assert failed.reason.endswith("Connection refused")
