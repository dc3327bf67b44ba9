"""A minimal model of a relay: chats, messages, receipts, and each author's events.

Plain data, written from PROTOCOL.md and not from the code.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Said:
    """One message of a chat's history."""

    kind: str
    author: str
    text: str | None
    target: int = 0
    deleted: bool = False


@dataclass
class Talk:
    """One chat: its history by message id, its members, their receipts, and the authors' events about them."""

    members: set[str]
    said: dict[int, Said] = field(default_factory=dict)
    dlvrd: dict[str, set[int]] = field(default_factory=dict)
    read: dict[str, set[int]] = field(default_factory=dict)
    told: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """The message up to which an author got receipts: by (author, sender, kind)."""
    joined: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    """Users who were away once: they are not guaranteed the receipts of that time."""

    @property
    def last(self) -> int:
        return len(self.said)

    def add(self, message_id: int, one: Said) -> None:
        assert message_id == self.last + 1, f"message {message_id} after {self.last}"
        self.said[message_id] = one
        if one.kind == "edit":
            self.said[one.target].text = one.text
        if one.kind == "delete":
            self.said[one.target].text = None
            self.said[one.target].deleted = True

    def messages(self, but_of: str | None = None) -> list[int]:
        """Other users' messages that can be read: neither edits nor deletions nor deleted."""
        return [
            message_id
            for message_id, one in self.said.items()
            if one.kind == "new" and not one.deleted and one.author != but_of
        ]

    def own(self, user: str) -> list[int]:
        return [message_id for message_id in self.messages() if self.said[message_id].author == user]

    def mark(self, marker: str, upto: int, *, read: bool) -> None:
        """Apply a receipt: it covers every earlier message of others without one; each author gets their highest."""
        if marker not in self.members:
            return
        for kind, marks in (("read", self.read), ("dlvrd", self.dlvrd)):
            if kind == "read" and not read:
                continue
            has = marks.setdefault(marker, set())
            newly = [message_id for message_id in self.messages(but_of=marker) if message_id <= upto] if upto else []
            for message_id in newly:
                if message_id not in has:
                    has.add(message_id)
                    place = (self.said[message_id].author, marker, kind)
                    self.told[place] = max(self.told.get(place, 0), message_id)

    def missed(self, user: str) -> int:
        return len(set(self.messages(but_of=user)) - self.read.get(user, set()))

    def status(self, message_id: int, seen_by: str) -> str:
        one = self.said[message_id]
        if one.deleted:
            return "deleted"
        others = self.members - {one.author}
        if seen_by != one.author:
            return "read" if message_id in self.read.get(seen_by, set()) else "unread"
        if any(message_id not in self.dlvrd.get(user, set()) for user in others):
            return "undelivered"
        if any(message_id not in self.read.get(user, set()) for user in others):
            return "unread"
        return "read"

    def join(self, user: str) -> None:
        """Add a member, who has nothing unread and whom nobody waits for."""
        self.members.add(user)
        self.joined[user] = self.last
        for marks in (self.read, self.dlvrd):
            marks.setdefault(user, set()).update(self.said)

    def leave(self, user: str) -> None:
        self.members.discard(user)
        self.left.add(user)


class View:
    """A device's view, built from events like a client's."""

    def __init__(self) -> None:
        self.texts: dict[str, dict[int, str | None]] = {}
        """By chat and message: the text, None if it was deleted."""
        self.told: dict[tuple[str, str, str], int] = {}
        """The highest of the user's own messages, by (chat, sender, kind)."""

    def said(self, chat: str, message_id: int, text: str | None) -> None:
        self.texts.setdefault(chat, {})[message_id] = text

    def edited(self, chat: str, target: int, text: str | None) -> None:
        texts = self.texts.setdefault(chat, {})
        if texts.get(target) is not None and text is not None:
            texts[target] = text

    def deleted(self, chat: str, target: int) -> None:
        texts = self.texts.setdefault(chat, {})
        if target in texts:
            texts[target] = None

    def hear(self, user: str, name: str, payload: Any) -> None:
        """Apply an event."""
        chat = payload.get("chatId", "") if isinstance(payload, dict) else ""
        if name == "new":
            self.said(chat, payload["messageId"], None if payload["status"] == "deleted" else payload["message"])
        elif name == "edit":
            self.edited(chat, payload["originalMessageId"], payload.get("message"))
        elif name == "delete":
            self.deleted(chat, payload["originalMessageId"])
        elif name in ("dlvrd", "read") and payload["userId"] != user:
            for kind in (name, "dlvrd"):
                place = (chat, payload["userId"], kind)
                self.told[place] = max(self.told.get(place, 0), payload["messageId"])
