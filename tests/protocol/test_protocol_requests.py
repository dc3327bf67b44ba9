"""Every request of a client has a handler and is in the contract."""

from pathlib import Path

import relay.protocol
from relay.core.service.handlers import HANDLERS
from relay.protocol.requests import REQUESTS

CONTRACT = (Path(relay.protocol.__file__).parent / "PROTOCOL.md").read_text("utf-8")


def test_every_request_has_a_handler() -> None:
    assert HANDLERS.keys() == REQUESTS.keys()


def test_every_request_is_in_the_contract() -> None:
    assert [name for name in REQUESTS if f"`{name}`" not in CONTRACT and f"**{name}**" not in CONTRACT] == []
