"""A generated conversation for the checker, intact or broken in one place."""

from typing import Any

from tests.long_run.checker import DELETE, EDIT, NEW, Checker, Device
from tests.long_run.ledger import client_id, text_of
from tests.long_run.verdict import History, Verdict
from tests.long_run.wire import Payload

NAMES = {NEW: "new", EDIT: "edit", DELETE: "delete"}


class Talk:
    """A group of three with a device each; every event is delivered, unless a test breaks it."""

    def __init__(self) -> None:
        self.checker = Checker()
        self.a, self.b, self.c = (self.checker.add_device(user) for user in "abc")
        self.chat = self.checker.group("crew", "group", ["a", "b", "c"])
        self.checker.group_made(self.chat, "g-1")
        self.rows: list[dict[str, Any]] = []
        self.seq = 100

    def make(self, kind: int, target: int = -1, *, by: Device | None = None) -> int:
        """Make a request and answer it; nobody else gets the event yet."""
        device = by or self.a
        ledger = self.checker.ledger
        number = ledger.add(kind, self.chat, device.user, device.key, target)
        self.seq += 1
        self.rows.append(
            {
                "messageId": len(self.rows) + 1,
                "clientMessageId": client_id(number),
                "sender": device.user,
                "type": NAMES[kind],
                "status": "read",
                "createdAt": self.seq,
                "message": text_of(number, 0) if kind == NEW else None,
                "seq": self.seq,
                "target": ledger.message_id[target] if target >= 0 else 0,
            }
        )
        if kind == EDIT:
            self.rows[ledger.message_id[target] - 1]["message"] = text_of(target, ledger.version[number])
        if kind == DELETE:
            self.rows[ledger.message_id[target] - 1].update(message=None, status="deleted")
        self.checker.answered(number, self.answer(number))
        return number

    def answer(self, number: int, **other: Any) -> dict[str, Any]:
        row = next(row for row in self.rows if row["clientMessageId"] == client_id(number))
        said = {"messageId": row["messageId"], "timestamp": row["createdAt"]}
        return said | {"clientMessageId": row["clientMessageId"]} | other

    def tell(self, device: Device, number: int, *, event_id: int = 0, name: str = "", **other: Any) -> None:
        """Deliver the event to a device, possibly altered."""
        row = next(row for row in self.rows if row["clientMessageId"] == client_id(number))
        ledger = self.checker.ledger
        name = name or NAMES[ledger.kind[number]]
        text = text_of(number, 0) if name == "new" else None
        if name == "edit":
            text = text_of(ledger.target[number], ledger.version[number])
        said: dict[str, Any] = {
            "chat_id": "g-1",
            "sender": row["sender"],
            "message_id": row["messageId"],
            "client_message_id": row["clientMessageId"],
            "original_message_id": row["target"],
            "message": text,
            "timestamp": row["createdAt"],
            "status": "unread",
        }
        self.checker.heard(device, name, event_id or row["seq"], row["createdAt"], Payload(**(said | other)))

    def spread(self, number: int) -> None:
        """Deliver the event to all devices but the sender's."""
        for device in self.checker.devices:
            if device.key != self.checker.ledger.device[number]:
                self.tell(device, number)

    def say(self, kind: int = NEW, target: int = -1, **more: Any) -> int:
        number = self.make(kind, target, **more)
        self.spread(number)
        return number

    def history(self, *, first: int = 1, last: int = 0) -> History:
        history = History(self.checker, self.chat, last or len(self.rows))
        delivering = [{"userId": user, "dlvrd": 1} for user in "abc"]
        rows = [
            row | {"delivering": [one for one in delivering if one["userId"] != row["sender"]]} for row in self.rows
        ]
        for row in rows:
            for one in row["delivering"]:
                if row["messageId"] <= self.chat.read.get(one["userId"], 0):
                    one["read"] = 1
        history.take(rows[first - 1 :])
        return history

    def verdict(self, *, pruned: bool = False, **more: int) -> Verdict:
        verdict = Verdict(self.checker, [self.history(**more)], pruned=pruned)
        verdict.all()
        return verdict

    def item(self, missed: int) -> dict[str, Any]:
        return {"id": "g-1", "name": "crew", "missed": missed}

    def read(self, user: str, upto: int) -> None:
        self.checker.marking(self.chat, user, upto)
        self.checker.marked(self.chat, user, upto)

    def mark(self, device: Device, marker: str, message_id: int, name: str = "read") -> None:
        self.seq += 1
        payload = Payload(chat_id="g-1", user_id=marker, message_id=message_id, timestamp=self.seq)
        self.checker.heard(device, name, self.seq, self.seq, payload)
