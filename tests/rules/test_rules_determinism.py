"""The same commands in the same order give the same log, regardless of batches, memory and restarts.

Replaying, checking and, one day, a replicated log depend on this (ARCHITECTURE.md, "Room to grow").
"""

from random import Random
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.core.model import snapshot
from relay.core.model.state import State
from relay.core.model.tail import Tail
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.keys import NO_DEVICE, ChatKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import Entry
from relay.store.queries.snapshots import Snapshot
from tests.support.memory_log import MemoryLog, facts_of

USERS = ("User1", "User2", "User3")
GROUPS = ("g-1", "g-2")

chat_ids = st.sampled_from((*USERS, *GROUPS))
message_ids = st.integers(1, 12)
some_users = st.lists(st.sampled_from(USERS), max_size=2)


def send(chat_id: str, client_id: str, reply_to: int | None) -> Any:
    return requests.New(chat_id=chat_id, client_message_id=client_id, message="x", reply_to=reply_to)


client_ids = st.sampled_from("abcdefghijklmnop")
sends = st.builds(send, chat_ids, client_ids, st.none() | st.none() | message_ids)
marks = st.tuples(st.sampled_from(["read", "dlvrd"]), chat_ids, st.none() | message_ids)
others = st.one_of(
    st.builds(
        lambda chat_id, original, client_id: requests.Edit(
            chat_id=chat_id, original_message_id=original, message="y", client_message_id=client_id
        ),
        chat_ids,
        message_ids,
        st.none() | client_ids,
    ),
    st.builds(requests.Delete, chat_id=chat_ids, original_message_id=message_ids),
    st.tuples(st.just("make"), st.sampled_from(GROUPS), st.sampled_from(["group", "channel"]), some_users),
    st.builds(requests.UpdateChat, chat_id=chat_ids, name=st.just("Other"), admins=st.none() | some_users),
    st.builds(commands.AddParticipants, chat_ids, some_users),
    st.builds(commands.RemoveParticipants, chat_ids, some_users),
    st.builds(commands.LeaveChat, chat_ids),
    st.builds(commands.DeleteChat, chat_ids),
    st.builds(requests.ProfileRequest, name=st.none() | st.just("Name")),
    st.builds(control.ChangeUser, id=st.sampled_from(USERS), disabled=st.booleans()),
)
steps = st.lists(st.tuples(st.sampled_from(USERS), sends | sends | marks | marks | others), min_size=1, max_size=40)
Script = list[tuple[str, Any]]


class Forgetful(dict[ChatKey, Tail]):
    """Tails that are always empty: every receipt is looked up in the log."""

    def get(self, _key: int, _default: object = None) -> None:  # type: ignore[override]
        return None


def prepared() -> MemoryLog:
    log = MemoryLog()
    log.add_users(*USERS)
    return log


def command(log: MemoryLog, user: str, step: Any) -> Command | None:
    """Make a step's command. A receipt needs an existing chat, whose key is in the command."""
    # The machine's clock jumps around.
    log.now += (700, -900, 40)[log.now % 3]
    generated_id = f"made-up-{len(log.entries)}"
    key = log.state.user_keys[user]
    match step:
        case ("make", generated_id, kind, members):
            step = requests.CreateChat(type=kind, name="Crew", participants=members)
        case (("read" | "dlvrd") as kind, chat_id, message_id):
            chat = log.state.chat_key(key, chat_id)
            if chat is None:
                return None
            step = (commands.MarkRead if kind == "read" else commands.MarkDelivered)(chat, message_id)
    return Command(
        log.now, ADMIN if isinstance(step, control.ChangeUser) else key, NO_DEVICE, step, generated_id=generated_id
    )


def recorded(script: Script) -> tuple[MemoryLog, list[Command], list[Any]]:
    """Run a script step by step; return its log, its commands and their answers."""
    log = prepared()
    taken: list[Command] = []
    answers: list[Any] = []
    for user, step in script:
        made = command(log, user, step)
        if made is not None:
            taken.append(made)
            answers += log.run(made)
    return log, taken, answers


def columns(log: MemoryLog) -> list[Any]:
    """The fields of each entry that reach the disk."""
    return [
        (e.seq, e.kind, e.chat, e.message_id, e.actor, e.at, e.target, e.client_key, e.client_id, e.message, e.extra)
        for e in log.entries
    ]


def plain(answers: list[Any]) -> list[Any]:
    return [answer.error if isinstance(answer, RelayError) else answer for answer in answers]


def restart(log: MemoryLog, lag: int) -> None:
    """Replace a log's state by the result of a start from the file, with an older snapshot."""
    before = State()
    for entry in log.entries[: len(log.entries) - lag]:
        before.apply(entry)
    rows = msgspec.convert(msgspec.to_builtins(snapshot.whole(before)), dict[str, Any])
    kept = {
        name: sorted(tuple(row) for row in rows[name]) for name in ("users", "devices", "invites", "chats", "members")
    }
    known = Snapshot(seq=before.seq, at=before.at, pruned=before.pruned, **kept)
    state = snapshot.load(known)
    catching = snapshot.StateRecovery(state, known)
    for entry in log.entries[len(log.entries) - lag :]:
        catching.apply(as_read(entry))
    log.state = state
    log.apply = state.apply


def as_read(entry: Entry) -> Entry:
    """An entry as a start reads it: without texts and looked-up fields."""
    return Entry(
        entry.seq,
        entry.kind,
        entry.chat,
        entry.message_id,
        entry.actor,
        entry.device,
        entry.at,
        entry.target,
        entry.client_key,
        entry.client_id if entry.kind <= kinds.DELETE else None,
        None,
        None if entry.kind <= kinds.EDIT else entry.extra,
    )


MADE = [
    ("User3", ("make", "g-1", "group", ["User2", "User1"])),
    ("User2", send("User1", "a", None)),
    ("User2", send("g-1", "a", None)),
]
LEAVE = ("User3", commands.LeaveChat("g-1"))
READ = ("User1", ("read", "g-1", None))


@given(steps, st.randoms(use_true_random=False))
@example([LEAVE], Random(1))
@example([READ, READ, ("User1", ("read", "g-1", 1))], Random(1))
@settings(max_examples=120, deadline=None)
def test_the_state_does_not_depend_on_how_commands_are_batched(script: Script, random: Random) -> None:
    expected, taken, answers = recorded([*MADE, *script])
    both: tuple[dict[ChatKey, Tail], ...] = ({}, Forgetful())
    for tails in both:
        log = prepared()
        log.state.tails = tails
        got: list[Any] = []
        rest = taken
        while rest:
            size = random.randint(1, 8)
            got += log.run(*rest[:size])
            rest = rest[size:]
        assert plain(got) == plain(answers)
        assert columns(log) == columns(expected)
        assert facts_of(log.state) == facts_of(expected.state)


@given(steps, st.randoms(use_true_random=False))
@example([LEAVE, ("User2", requests.UpdateChat(chat_id="g-1", name="Mine"))], Random(1))
@settings(max_examples=120, deadline=None)
def test_the_state_does_not_depend_on_restarts(script: Script, random: Random) -> None:
    expected, taken, answers = recorded([*MADE, *script])
    log = prepared()
    got: list[Any] = []
    for made in taken:
        if random.random() < 0.3:
            restart(log, random.randint(0, len(log.entries)))
        got += log.run(made)
    assert plain(got) == plain(answers)
    assert columns(log) == columns(expected)
    assert facts_of(log.state) == facts_of(expected.state)
