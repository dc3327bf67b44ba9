"""Conversations under load, and the resulting figures. Knows clients; prints nothing.

A message counts once it is answered, and so on disk, and every recipient has it. In the closed loop the next one
follows at once. In the open loop messages are due at a fixed rate regardless of answers, and delays count from the due
time, so a stall shows in all messages that were due meanwhile.
"""

import resource
import select
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

import msgspec

from relay.bench.client import NUMBER_DIGITS, Answered, BenchClient, BenchRefused, DeliveredEvent

FILL = " the printer on the second floor is out of paper again, could somebody bring a new box up here please"
TEXT_BYTES = 120
"""Bytes of a message's text."""
WARM_UP_SECONDS = 1.0
FINISH_SECONDS = 3.0
"""How long messages under way may still arrive at the end."""
PING_SECONDS = 8.0
"""Seconds between two pings of each client."""

Progress = Callable[[str, float], None]
"""Called a few times a second with the current work and the rate so far."""


class WorkFigures(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The figures of one kind of load. Delays are in milliseconds, from when a message was due until it counted."""

    work: str
    per_second: float
    unit: str
    p50: float | None = None
    p99: float | None = None
    worst: float | None = None
    sent: int = 0
    lost: int = 0
    """Messages that did not count in time."""
    seconds: float = 0.0
    generator: float = 0.0
    """The share of a core that the generator used: near 1 it was the bottleneck, not the relay."""
    relay: float | None = None
    """The share of a core that the relay used; only of one that `relay bench` started."""
    memory: int | None = None
    """The relay's resident memory in bytes, as `relay`."""


class _UnderWay:
    __slots__ = ("due", "left", "sender")

    def __init__(self, due: float, left: int, sender: int) -> None:
        self.due = due
        self.left = left
        self.sender = sender


class Conversation:
    """A sender, a chat and its recipients.

    Attributes:
        sender: sends all messages.
        chat_id: the chat, or the user of a dialog.
        receivers: a message counts when all of them have it.
    """

    def __init__(self, sender: BenchClient, chat_id: str, receivers: Sequence[BenchClient]) -> None:
        self.sender = sender
        self.chat_id = chat_id
        self.receivers = receivers


class Load:
    """A number of conversations under load."""

    def __init__(self, conversations: Sequence[Conversation], clients: Iterable[BenchClient]) -> None:
        self._conversations = conversations
        self._clients = {client.number: client for client in clients}
        self._poll = select.epoll()
        for number in self._clients:
            self._poll.register(number, select.EPOLLIN)
        self._under_way: dict[int, _UnderWay] = {}
        self.number = 0
        """How many messages were sent."""
        self._pinged = time.perf_counter()
        self.delays: list[float] = []

    def run(self, seconds: float, *, window: int = 0, rate: float = 0.0, progress: Callable[[float], None]) -> float:
        """Send for `seconds`; `delays` has the messages that counted.

        Args:
            seconds: the duration.
            window: messages of a conversation under way at a time, for the closed loop.
            rate: messages per second of all conversations, for the open loop.
            progress: called with the rate so far.

        Returns:
            The seconds that it really took.

        Raises:
            BenchRefused: the relay refused a message or ended a connection.
        """
        self.delays.clear()
        begin = reported_at = time.perf_counter()
        due, end = begin, begin + seconds
        turn = 0
        if window:
            for index in range(len(self._conversations)):
                self.send(index, window, begin)
        while (now := time.perf_counter()) < end:
            if rate:
                while due <= now:
                    self.send(turn % len(self._conversations), 1, due)
                    turn += 1
                    due = begin + turn / rate
            self.turn(min(end, due if rate else end) - now, refill=bool(window))
            if now - reported_at > 0.25:
                reported_at = now
                progress(len(self.delays) / (now - begin))
        return time.perf_counter() - begin

    def finish(self) -> int:
        """Wait for the messages under way; return how many did not arrive."""
        counted = len(self.delays)
        end = time.perf_counter() + FINISH_SECONDS
        while self._under_way and time.perf_counter() < end:
            self.turn(0.05, refill=False)
        # Receipts of the last messages come a moment later and have to be acknowledged.
        self.turn(0.1, refill=False)
        del self.delays[counted:]
        lost = len(self._under_way)
        self._under_way.clear()
        return lost

    def send(self, index: int, count: int, due: float) -> None:
        """Send messages of a conversation.

        Args:
            index: the conversation.
            count: how many messages.
            due: when they were due (`time.perf_counter`).
        """
        conversation = self._conversations[index]
        sender = conversation.sender
        for _ in range(count):
            self.number += 1
            text = (f"%0{NUMBER_DIGITS}x" % self.number + FILL)[:TEXT_BYTES].ljust(TEXT_BYTES, ".")
            self._under_way[self.number] = _UnderWay(due, len(conversation.receivers) + 1, index)
            sender.put(
                f'{{"type":"request","id":{self.number},"payloadType":"new","payload":{{"chatId":"{conversation.chat_id}",'
                f'"clientMessageId":"{uuid.uuid4()}","message":"{text}"}}}}'.encode()
            )
        sender.flush()

    def turn(self, timeout: float, *, refill: bool) -> None:
        """Receive for `seconds`; with `refill`, send a message for each one that arrived."""
        again: dict[int, int] = {}
        for number, _ in self._poll.poll(max(0.0, min(timeout, 0.1))):
            client = self._clients[number]
            for found in client.receive():
                index = self._take(found)
                if index is not None:
                    again[index] = again.get(index, 0) + 1
            client.flush()
        now = time.perf_counter()
        if refill:
            for index, count in again.items():
                self.send(index, count, now)
        if now - self._pinged > PING_SECONDS:
            self._pinged = now
            for client in self._clients.values():
                client.put(b"ping")
                client.flush()

    def _take(self, found: Answered | DeliveredEvent) -> int | None:
        """Note a response or a delivery; return the conversation of a message that counts with it."""
        if isinstance(found, Answered) and found.failed:
            raise BenchRefused(f"the relay refused a message: {found.frame.decode()}")
        message = self._under_way.get(found.number)
        if message is None:
            return None
        message.left -= 1
        if message.left:
            return None
        del self._under_way[found.number]
        self.delays.append(time.perf_counter() - message.due)
        return message.sender

    def close(self) -> None:
        """Stop watching the connections, which stay open."""
        self._poll.close()


def figures(
    work: str, unit: str, delays: Sequence[float], seconds: float, *, times: int = 1, lost: int = 0
) -> WorkFigures:
    """Return the figures of a run.

    Args:
        work: its name.
        unit: the unit that is counted per second.
        delays: the delay of each message that counted, in seconds.
        seconds: how long the run took.
        times: deliveries per message.
        lost: messages that did not count.
    """
    ordered = sorted(delays)

    def quantile(part: float) -> float | None:
        return round(ordered[int(part * (len(ordered) - 1))] * 1000, 3) if ordered else None

    return WorkFigures(
        work=work,
        per_second=round(len(ordered) * times / seconds, 1),
        unit=unit,
        p50=quantile(0.5),
        p99=quantile(0.99),
        worst=quantile(1.0),
        sent=len(ordered) + lost,
        lost=lost,
        seconds=round(seconds, 2),
    )


def processor() -> float:
    """Return the CPU seconds that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
