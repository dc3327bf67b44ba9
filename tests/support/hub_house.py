"""A hub with users and connections that record their frames, without a store or sockets."""

import json
from typing import Any

from relay.core.delivery.hub import Hub
from relay.core.delivery.subscriber import Subscriber
from relay.keys import ChatKey, DeviceKey, UserKey
from tests.support.memory_log import T0, MemoryLog

FIRST_DEVICE = DeviceKey(1)


class Ear:
    """An outlet that keeps its frames."""

    waiting = (0, 0.0)

    def __init__(self) -> None:
        self.full = False
        self.heard: list[dict[str, Any]] = []
        self.is_behind = False
        self.closed: int | None = None

    def put(self, frame: bytes) -> None:
        self.heard.append(json.loads(frame))

    def offer(self, frame: bytes) -> bool:
        if not self.full:
            self.put(frame)
        return not self.full

    def flush(self) -> None:
        """Do nothing: everything is out already."""

    def start_catch_up(self) -> None:
        self.is_behind = True

    def close(self, code: int, _reason: str) -> None:
        self.closed = code

    def take(self) -> list[tuple[str, Any]]:
        """The events since the last call, as (event, its relevant fields)."""
        heard, self.heard = self.heard, []
        return [(frame["eventType"], _gist(frame["payload"])) for frame in heard]


def _gist(payload: dict[str, Any]) -> Any:
    if "stop" in payload or payload.keys() == {"userId", "chatId"}:
        return payload["userId"], payload["chatId"], payload.get("stop", False)
    return payload.get("messageId", payload.get("userId"))


class House:
    """A hub over a log in memory, and devices that come and go."""

    def __init__(self) -> None:
        self.log = MemoryLog(self.apply)
        self.now = T0
        self.hub = Hub(self.log.state, lambda: self.now, bytes, lambda: self.now / 1_000)
        self.log.add_users("User1", "User2", "User3", "User4")
        self.log.new("User1", "User2", "c1")
        self.log.group("User2", "User3")

    def apply(self, entry: Any) -> None:
        self.log.state.apply(entry)
        self.hub.publish(entry)
        self.hub.flush()

    def later(self, seconds: float = 1.0) -> list[tuple[UserKey, ChatKey]]:
        """Advance time, and send what is due; return the users whose chat list needs an entry for its event id."""
        self.now += round(seconds * 1_000)
        return self.hub.tick(self.now / 1_000)

    def arrive(self, user: str, device: DeviceKey = FIRST_DEVICE) -> tuple[Subscriber, Ear]:
        ear = Ear()
        key = self.log.state.user_keys[user]
        subscriber = Subscriber(self.hub.next_number(), key, device, ear, ear, self.log.state.seq)
        self.hub.connect(subscriber)
        self.hub.rejoin(subscriber)
        return subscriber, ear
