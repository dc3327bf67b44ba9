"""The load generator's process: reads a workload from stdin, writes progress and figures to stdout as JSON lines.

It is a process of its own so that its CPU time is not counted as the relay's; the share of a core that it used is among
the figures. The lines are `Line`s.
"""

import contextlib
import os
import random
import resource
import select
import sys
import time
from collections.abc import Callable, Iterator

import msgspec

from relay.bench import work
from relay.bench.client import Answered, BenchClient, BenchRefused, DeliveredEvent
from relay.bench.work import Conversation, Load, WorkFigures, figures, processor

WINDOW_MESSAGES = 8


class Workload(msgspec.Struct, kw_only=True):
    """The measurements to make."""

    url: str
    tokens: dict[str, str]
    """By user, the token of a device that is used for nothing else."""
    works: list[str]
    seconds: float = 10.0
    dialogs: int = 50
    members: int = 200
    rate: float = 1_000.0
    idle: int = 500
    messages: int = 5_000
    """Messages to replay to a returning user."""
    core: int | None = None
    """The CPU core to stay on; any without one."""


class Progress(msgspec.Struct):
    """The progress of the generator."""

    now: str
    rate: float = 0.0


class Line(msgspec.Struct, omit_defaults=True):
    """A line of the generator: one of these."""

    progress: Progress | None = None
    figures: WorkFigures | None = None


def say(found: WorkFigures | Progress) -> None:
    """Write one line."""
    line = Line(progress=found) if isinstance(found, Progress) else Line(figures=found)
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


class Generator:
    """Runs a workload."""

    def __init__(self, plan: Workload) -> None:
        self._plan = plan
        self._users = list(plan.tokens)

    def run(self) -> None:
        """Run all kinds of load in their order."""
        for name in self._plan.works:
            say(Progress(name))
            before, begun = processor(), time.perf_counter()
            for found in WORKS[name](self):
                found.generator = round((processor() - before) / max(1e-6, time.perf_counter() - begun), 2)
                say(found)
                before, begun = processor(), time.perf_counter()

    def _sign_in(self, user: str) -> BenchClient:
        return BenchClient.connect(self._plan.url, self._plan.tokens[user])

    def _need(self, count: int) -> list[str]:
        if len(self._users) < count:
            raise BenchRefused(f"the load needs {count} users with a token each, and has {len(self._users)}: name more")
        return self._users[:count]

    # Dialogs and groups.

    def dialogs(self) -> Iterator[WorkFigures]:
        """Measure many dialogs with eight messages under way in each."""
        yield self._talk("dialogs", self._plan.dialogs, window=WINDOW_MESSAGES)

    def alone(self) -> Iterator[WorkFigures]:
        """Measure one dialog with one message under way: the delay that one person notices."""
        yield self._talk("alone", 1, window=1)

    def steady(self) -> Iterator[WorkFigures]:
        """Measure many dialogs at a fixed rate."""
        yield self._talk("steady", self._plan.dialogs, rate=self._plan.rate)

    def _talk(self, name: str, pairs: int, *, window: int = 0, rate: float = 0.0) -> WorkFigures:
        users = self._need(2 * pairs)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(contextlib.closing(self._sign_in(user))) for user in users]
            conversations = [
                Conversation(clients[2 * pair], users[2 * pair + 1], [clients[2 * pair + 1]]) for pair in range(pairs)
            ]
            return self._load(name, "messages/s", conversations, clients, window=window, rate=rate)

    def group(self) -> Iterator[WorkFigures]:
        """Measure one group with one sender, first one message and then eight under way."""
        users = self._need(self._plan.members + 1)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(contextlib.closing(self._sign_in(user))) for user in users]
            others = msgspec.json.encode(users[1:]).decode()
            made = clients[0].ask("createChat", f'{{"type":"group","name":"bench","participants":{others}}}')
            chat_id = msgspec.json.decode(made)["payload"]["chatId"]
            try:
                conversation = Conversation(clients[0], chat_id, clients[1:])
                for window in (1, WINDOW_MESSAGES):
                    name = f"group, {window} under way"
                    yield self._load(name, "deliveries/s", [conversation], clients, window=window)
            finally:
                clients[0].ask("deleteChat", f'{{"chatId":"{chat_id}"}}')

    def _load(
        self,
        name: str,
        unit: str,
        conversations: list[Conversation],
        clients: list[BenchClient],
        *,
        window: int = 0,
        rate: float = 0.0,
    ) -> WorkFigures:
        load = Load(conversations, clients)
        try:
            load.run(work.WARM_UP_SECONDS, window=min(window, 1), rate=rate, progress=lambda _: None)
            load.finish()
            times = len(conversations[0].receivers)
            seconds = load.run(
                self._plan.seconds, window=window, rate=rate, progress=lambda now: say(Progress(name, now * times))
            )
            delays = list(load.delays)
            lost = load.finish()
            return figures(name, unit, delays, seconds, times=times, lost=lost)
        finally:
            load.close()

    # Connecting and disconnecting.

    def idle(self) -> Iterator[WorkFigures]:
        """Open idle connections; `relay bench` measures the relay's memory meanwhile."""
        begun = time.perf_counter()
        with contextlib.ExitStack() as stack:
            delays, clients = [], []
            for number in range(self._plan.idle):
                at = time.perf_counter()
                client = self._sign_in(self._users[number % len(self._users)])
                clients.append(stack.enter_context(contextlib.closing(client)))
                delays.append(time.perf_counter() - at)
            seconds = time.perf_counter() - begun
            self._quiet(clients, 1.0)
            yield figures("idle", "logins/s", delays, seconds)

    def storm(self) -> Iterator[WorkFigures]:
        """Disconnect all clients and reconnect them at once, as after a power cut of the network switch."""
        users = [self._users[number % len(self._users)] for number in range(self._plan.idle)]
        clients = [self._sign_in(user) for user in users]
        self._quiet(clients, 0.5)
        for client in clients:
            client.close()
        random.shuffle(users)
        begun = time.perf_counter()
        delays, back = [], []
        for user in users:
            at = time.perf_counter()
            back.append(self._sign_in(user))
            delays.append(time.perf_counter() - at)
        seconds = time.perf_counter() - begun
        self._quiet(back, 0.2)
        for client in back:
            client.close()
        yield figures("reconnect storm", "logins/s", delays, seconds)

    @staticmethod
    def _quiet(clients: list[BenchClient], seconds: float) -> None:
        """Receive and acknowledge frames for some seconds."""
        poll = select.epoll()
        of = {client.number: client for client in clients}
        for number in of:
            poll.register(number, select.EPOLLIN)
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            for number, _ in poll.poll(left):
                for _found in of[number].receive():
                    continue
                of[number].flush()
        poll.close()

    def replay(self) -> Iterator[WorkFigures]:
        """Measure the replay for a returning user."""
        author, reader = self._need(2)
        with contextlib.closing(self._sign_in(reader)) as before:
            self._quiet([before], 0.3)
        with contextlib.closing(self._sign_in(author)) as sender:
            load = Load([Conversation(sender, reader, [])], [sender])
            while len(load.delays) < self._plan.messages:
                counted = list(load.delays)
                load.run(0.25, window=256, progress=lambda _: None)
                load.delays[:0] = counted
                say(Progress("replay: sending what is replayed", len(load.delays)))
            load.finish()
            load.close()
        begun = time.perf_counter()
        delays: list[float] = []
        with contextlib.closing(self._sign_in(reader)) as client:
            waited = time.perf_counter()
            while time.perf_counter() - waited < 1:
                for found in client.receive(0.2):
                    waited = time.perf_counter()
                    if isinstance(found, DeliveredEvent):
                        delays.append(waited - begun)
                    assert not isinstance(found, Answered)
                client.flush()
        yield figures("replay", "messages/s", delays, (delays[-1] if delays else 1.0))


WORKS: dict[str, Callable[[Generator], Iterator[WorkFigures]]] = {
    "dialogs": Generator.dialogs,
    "alone": Generator.alone,
    "steady": Generator.steady,
    "group": Generator.group,
    "idle": Generator.idle,
    "storm": Generator.storm,
    "replay": Generator.replay,
}
"""The kinds of load by name, in the order in which they run."""


def main() -> int:
    """Read a workload and run it; return the exit code."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Workload)
    if plan.core is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {plan.core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        Generator(plan).run()
    except BenchRefused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{plan.url} cannot be used: {error.strerror or error}\n")
        return 1
    return 0
