"""Clients of the rulebook: a user's device, and the program behind an outgoing hook."""

import json
from collections.abc import Callable
from typing import Any

import trio

from relay.core.delivery.subscriber import Subscriber


def _nowhere(_subscriber: Subscriber) -> None:
    """Do nothing."""


class Listener:
    """Keeps messages as described by events: texts by chat and message id, None for a deleted one."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.views: dict[str, dict[int, str | None]] = {}

    def hear(self, event: str, payload: Any) -> None:
        """Apply an event."""
        if event in ("new", "edit", "delete"):
            view = self.views.setdefault(payload["chatId"], {})
            if event == "new":
                view[payload["messageId"]] = payload.get("message")
            elif payload["originalMessageId"] in view:
                view[payload["originalMessageId"]] = payload.get("message")


class Device(Listener):
    """A device: the relay's end of its connection, and the client at the other end."""

    # The connection of a subscriber.
    waiting = (0, 0.0)
    leave: Callable[[Subscriber], None]
    """Takes its connection out of the relay's hub."""

    def __init__(self, user: str, version: int) -> None:
        super().__init__(user)
        self.version = version
        self.token = ""
        self.key = 0
        self.subscriber: Subscriber | None = None
        self.leave = _nowhere
        self.answers: dict[str, dict[str, Any]] = {}
        self.news = trio.Event()
        self.unacknowledged: list[int] = []
        self.is_behind = False
        self.renew("", 0)

    def renew(self, token: str, key: int) -> None:
        """Reset to a device that knows nothing; without a token it cannot sign in."""
        self.token, self.key = token, key
        self.views.clear()
        self.unacknowledged.clear()
        self.titles: dict[str, str] = {}
        self.lost: dict[str, tuple[str | None, ...]] = {}
        """The losses of chats in its events: reason, actor, the name then."""
        self.receipts: dict[tuple[str, str, str], int] = {}
        self.online: set[str] = set()
        self.is_new = self.is_stale = bool(token)

    def put(self, frame: bytes) -> None:
        """See `Outlet`."""
        said = json.loads(frame)
        if said["type"] == "response":
            self.answers[said["id"]] = said
            self.news.set()
        elif said["type"] == "event":
            if "id" in said:
                self.unacknowledged.append(said["id"])
            self.hear(said["eventType"], said["payload"])

    def offer(self, frame: bytes) -> bool:
        self.put(frame)
        return True

    def flush(self) -> None:
        """Do nothing: everything is already sent."""

    def start_catch_up(self) -> None:
        """See `Connection`."""
        self.is_behind = True

    def close(self, _code: int, _reason: str) -> None:
        """See `Connection`: the relay closes it."""
        self.part()

    def part(self) -> None:
        """Drop the connection, if there is one."""
        subscriber, self.subscriber = self.subscriber, None
        if subscriber is not None:
            self.leave(subscriber)

    def hear(self, event: str, payload: Any) -> None:
        """See `Listener`."""
        super().hear(event, payload)
        match event:
            case "chats":
                self.take_list(payload)
            case "chat":
                item = payload["item"]
                self.views.setdefault(item["id"], {})
                self.titles[item["id"]] = item["name"]
                self.lost.pop(item["id"], None)
            case "chatGone":
                self.views.pop(payload["chatId"], None)
                self.titles.pop(payload["chatId"], None)
                self.lost[payload["chatId"]] = (payload.get("reason"), payload.get("by"), payload.get("title"))
            case "chatsStale":
                self.lost.clear()
                self.is_stale = True
            case "online":
                self.online.add(payload["userId"])
            case "offline":
                self.online.discard(payload["userId"])
            case "dlvrd" | "read" if payload["userId"] != self.user:
                place = (payload["chatId"], payload["userId"], event)
                self.receipts[place] = max(self.receipts.get(place, 0), payload["messageId"])

    def take_list(self, items: list[dict[str, Any]]) -> None:
        """Apply a whole chat list."""
        self.views = {item["id"]: self.views.get(item["id"], {}) for item in items}
        self.titles = {item["id"]: item["name"] for item in items}
        self.is_stale = False
