"""The final verdict on a long run: compares all logs once everything is quiet and all devices have caught up.

Pure, like the checker that it continues.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.long_run.checker import Checker
from tests.long_run.ledger import ANSWERED, EDIT, NEW, REFUSED, Chat, number_of, parse

WARM_UP = 0.25
"""The part of a series of memory samples to ignore, while caches fill."""
GROWTH = 9_000_000
"""Bytes by which a process may grow in the rest of the series, besides those per message.

Measured in four minutes at 38 messages a second: 8.2 MB. Part of it is caches that fill up to their bounds: 175 bytes
per message in the tails for receipts, 105 per client id not yet in its table, 380 plus the text per entry of the latest
4,096 (together all new objects), 2 MB of SQLite's pages. The rest is fragmentation of the C library's heap.
"""
A_MESSAGE = 300
"""Bytes per message that may stay, in tails and client ids, until these reach their bounds."""
MESSAGES = 65_536
"""Their bounds."""


class History:
    """A chat in its final state, read by a member page by page; each page is checked and dropped."""

    def __init__(self, checker: Checker, chat: Chat, last: int) -> None:
        """Begin.

        Args:
            checker: the requests and events.
            chat: the chat.
            last: the chat's last message id according to the relay.
        """
        self.chat = chat
        self.last = last
        self.first = 0
        """The first remaining message, 0 for none."""
        self.end = 0
        """The last message that was read."""
        self.news: dict[str, array[int]] = {}
        """By author: the messages that are neither edits nor deletions nor deleted."""
        self._checker = checker

    @property
    def pruned(self) -> int:
        """The message up to which pruning removed the chat."""
        return self.first - 1 if self.first else self.last

    def owed(self, user: str) -> range | None:
        """The messages that a member must have by now, None for a non-member."""
        stay = self.chat.stay(user)
        if stay is None or stay.joined is None:
            return None
        return range(max(stay.joined, self.pruned) + 1, self.last + 1)

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the next page."""
        checker, chat = self._checker, self.chat
        checker.page(chat.owner, chat, rows)
        if rows and self.end and rows[0]["messageId"] != self.end + 1:
            checker.fail(f"{chat.name}: message {rows[0]['messageId']} follows message {self.end}")
        for row in rows:
            self.first = self.first or row["messageId"]
            self.end = row["messageId"]
            if row["type"] != "new":
                continue
            number = number_of(row["clientMessageId"])
            if 0 <= number < len(checker.ledger):
                self._state(number, row)
            if row["status"] != "deleted":
                self.news.setdefault(row["sender"], array("I")).append(row["messageId"])
                self._delivering(row)

    def _state(self, number: int, row: Mapping[str, Any]) -> None:
        """Check that a message is in the state of its last change."""
        ledger, fail = self._checker.ledger, self._checker.fail
        where = f"{self.chat.name}: message {row['messageId']}"
        if ledger.deleted[number] and row["status"] != "deleted":
            fail(f"{where} was deleted and is still there")
        found = parse(row.get("message") or "")
        if found is None or row["status"] == "deleted":
            return
        edit = ledger.last_edit[number]
        wanted = 0
        if edit and self.chat.number(edit) >= 0:
            wanted = ledger.version[self.chat.number(edit)]
        if found[1] != wanted:
            fail(f"{where} has version {found[1]} of its text; the last edit, {edit}, set {wanted}")

    def _delivering(self, row: Mapping[str, Any]) -> None:
        """Check that everybody has everything, and has read exactly what they marked as read."""
        chat, fail = self.chat, self._checker.fail
        for one in row.get("delivering", ()):
            user = one["userId"]
            owed = self.owed(user)
            if owed is None or row["messageId"] not in owed:
                continue
            where = f"{chat.name}: message {row['messageId']}"
            if not one.get("dlvrd"):
                fail(f"{where} is on all devices of {user}, and does not count as delivered")
            if not one.get("read") and row["messageId"] <= chat.read.get(user, 0):
                fail(f"{where} was read by {user} (up to {chat.read[user]}), and does not count as read")
            if one.get("read") and row["messageId"] > chat.read_asked.get(user, 0):
                fail(f"{where} counts as read by {user}, who never said so")


class Verdict:
    """All final checks; each adds its findings to the checker's failures."""

    def __init__(self, checker: Checker, histories: Iterable[History], *, pruned: bool) -> None:
        """Begin.

        Args:
            checker: the requests and events.
            histories: the history of every chat that is not deleted.
            pruned: whether pruning was ever requested; otherwise everything must be there.
        """
        self._checker = checker
        self._ledger = checker.ledger
        self._fail = checker.fail
        self._histories = {history.chat.key: history for history in histories}
        self._pruned = pruned

    def all(self) -> None:
        """Check everything."""
        self.log()
        self.pruning()
        self.devices()
        self.marks()

    def log(self) -> None:
        """Check that every answered request is in the log: those on no page are missing."""
        ledger = self._ledger
        for history in self._histories.values():
            chat = history.chat
            if history.last < chat.last:
                self._fail(f"{chat.name}: the relay knows {history.last} messages, there were {chat.last}")
            if history.first and history.end != history.last:
                self._fail(f"{chat.name}: history ends at {history.end}, not at {history.last}")
            if history.pruned and not self._pruned:
                self._fail(f"{chat.name}: messages up to {history.pruned} are gone, and nothing was pruned")
        for number in range(len(ledger)):
            shown = self._histories.get(ledger.chat[number])
            if ledger.state[number] != ANSWERED or shown is None:
                continue
            if ledger.message_id[number] > shown.last:
                self._fail(f"m{number:x} was answered as {ledger.message_id[number]}: lost from {shown.chat.name}")

    def pruning(self) -> None:
        """Check that pruning removed the oldest of all chats together: nothing removed is newer than anything left."""
        ledger = self._ledger
        self.boundary, gone_in = 0, ""
        for history in self._histories.values():
            before = 0
            for message_id, number in enumerate(history.chat.numbers):
                if number < 0 or not ledger.seq[number]:
                    continue
                seq = ledger.seq[number]
                if seq <= before:
                    self._fail(f"{history.chat.name}: message {message_id} is event {seq}, after event {before}")
                before = seq
                if message_id <= history.pruned and seq > self.boundary:
                    self.boundary, gone_in = seq, history.chat.name
        for history in self._histories.values():
            chat = history.chat
            for message_id in range(history.pruned + 1, chat.last + 1):
                number = chat.numbers[message_id]
                if number >= 0 and ledger.seq[number]:
                    if ledger.seq[number] < self.boundary:
                        self._fail(
                            f"event {self.boundary} of {gone_in} is gone,"
                            f" event {ledger.seq[number]} of {chat.name}, which is older, is there"
                        )
                    break

    def devices(self) -> None:
        """Check that everything left in the log is on every device of every member of the time."""
        ledger = self._ledger
        for device in self._checker.devices:
            for history in self._histories.values():
                owed = history.owed(device.user)
                if owed is None:
                    continue
                for message_id in owed:
                    if not device.lacks(history.chat.key, message_id):
                        continue
                    number = history.chat.number(message_id)
                    if number >= 0 and ledger.device[number] == device.key:
                        continue
                    # An edit of a message that retention removed meanwhile is not an event for absent users.
                    target = ledger.target[number] if number >= 0 and ledger.kind[number] == EDIT else -1
                    if target >= 0 and ledger.message_id[target] <= history.pruned:
                        continue
                    self._fail(
                        f"device {device.key} of {device.user} never got message {message_id}"
                        f" (m{number:x}) of {history.chat.name}"
                    )

    def marks(self) -> None:
        """Check that authors got every answered receipt."""
        for history in self._histories.values():
            chat = history.chat
            for reader, upto in chat.read.items():
                owed = history.owed(reader)
                if owed is None or len(chat.stays[reader]) > 1:
                    continue
                for author, ids in history.news.items():
                    at = bisect_right(ids, upto)
                    if author == reader or not at or ids[at - 1] not in owed:
                        continue
                    # Users who were away are not promised the receipts of that time.
                    if len(chat.stays.get(author, ())) == 1:
                        self._told(chat, author, reader, ids[at - 1])

    def _told(self, chat: Chat, author: str, reader: str, message_id: int) -> None:
        if chat.stay(author) is None:
            return
        for device in self._checker.devices:
            if device.user == author and device.told.get((chat.key, reader, "read"), 0) < message_id:
                self._fail(
                    f"device {device.key} of {author} never heard that {reader} read message {message_id}"
                    f" of {chat.name}"
                )

    def chat_list(self, user: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Check a final chat list: the user's chats, each with its remaining unread messages."""
        listed = set()
        for item in items:
            chat = self._checker.chat_of(user, item["id"])
            if chat is None and item["name"] in self._checker.doubtful:
                continue
            if chat is None or chat.stay(user) is None:
                self._fail(f"{user}: {item['id']} ({item['name']}) is in the list, and none of theirs")
                continue
            listed.add(chat.key)
            history = self._histories.get(chat.key)
            if history is not None:
                self._unread(user, history, item.get("missed", 0))
        for key, history in self._histories.items():
            if history.chat.stay(user) is not None and key not in listed:
                self._fail(f"{user}: {history.chat.name} is missing from the list")

    def _unread(self, user: str, history: History, missed: int) -> None:
        chat = history.chat
        stay = chat.stay(user)
        assert stay is not None
        news = [one for author, ids in history.news.items() if author != user for one in ids]
        latest = max(stay.after, stay.joined or 0, chat.read.get(user, 0))
        earliest = max(stay.after, chat.read.get(user, 0))
        perhaps = chat.read_perhaps.get(user, 0)
        least = sum(one > latest and chat.number(one) >= perhaps for one in news)
        most = sum(one > earliest for one in news)
        if not least <= missed <= most:
            self._fail(f"{user}: {chat.name} counts {missed} unread, not {least} to {most}")

    def backup(self, name: str, end: int, exported: Iterable[Mapping[str, Any]]) -> int:
        """Check that a backup from the middle contains the log up to an entry, and nothing after it.

        Args:
            name: the backup.
            end: the last event in it, as it says.
            exported: the lines of an export of the restored relay.

        Returns:
            The number of compared messages.
        """
        ledger = self._ledger
        there = set()
        for line in exported:
            if line["type"] != "message":
                continue
            number = number_of(line["clientMessageId"])
            if not 0 <= number < len(ledger) or ledger.state[number] == REFUSED:
                self._fail(f"{name}: {line['clientMessageId']} was never said, or was refused")
                continue
            there.add(number)
            if ledger.seq[number] > end:
                self._fail(f"{name}: m{number:x} is event {ledger.seq[number]}, it ends at {end}")
        oldest = min((ledger.seq[number] for number in there if ledger.seq[number]), default=end)
        for number in range(len(ledger)):
            wanted = ledger.kind[number] == NEW and oldest <= ledger.seq[number] <= end
            chat = ledger.chats[ledger.chat[number]]
            if wanted and number not in there and not ledger.deleted[number] and not chat.gone:
                self._fail(f"{name}: m{number:x} is event {ledger.seq[number]} of {end} and is not there")
        return len(there)


def may_grow(messages: float) -> float:
    """Return the bytes by which a process may grow after its warm-up, while this many messages come."""
    return GROWTH + A_MESSAGE * min(messages, MESSAGES)


def growth(samples: Sequence[tuple[float, int]]) -> float:
    """Return how much a series grows after its warm-up, in the units of its values.

    The slope is the median of the slopes between samples half the series apart (Theil and Sen's with fewer
    pairs), so that single peaks, such as a prune or a snapshot, do not count.
    """
    settled = samples[int(len(samples) * WARM_UP) :]
    half = len(settled) // 2
    slopes = sorted(
        (settled[i + half][1] - settled[i][1]) / (settled[i + half][0] - settled[i][0])
        for i in range(len(settled) - half)
        if settled[i + half][0] > settled[i][0]
    )
    if not slopes:
        return 0.0
    return slopes[len(slopes) // 2] * (settled[-1][0] - settled[0][0])
