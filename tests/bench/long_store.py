"""Stores of any length for measurements: one dialog fills them, and another user has small chats beside it.

Texts consist of words of a language, so that trigrams are as common as in one. Each contains its own number, and one in
a hundred contains a unique name. A message's text follows from its number. Writes the given directory; an unfinished
store is continued.
"""

import hashlib
import random
import sqlite3
import struct
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import trio

from relay.core.relay import Relay, open_relay
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control, requests
from relay.store.command import Command
from tests.bench.endurance import free_port, served

BATCH = 2_000
SMALL_CHATS = 31
"""Chats of a user who has little to do with the large dialog; each has some unread messages."""
SAID = 3
"""Messages in each."""
LOGINS = 31
"""Devices of that user that never connected."""
NAMED = 100
"""One in this many messages contains a name."""
WORDS = 20_000
_LETTERS = "eeeeeeeeeeeennnnnnnnniiiiiiissssssrrrrrrraaaaaattttttdddddhhhhhuuullllcccgggmmooobbwwffkkzzpvjyxq"


def _vocabulary() -> list[str]:
    """A word for each 16-bit value: a more common word has more values (Zipf's law)."""
    chance = random.Random(17)
    words = ["".join(chance.choices(_LETTERS, k=chance.randint(2, 9))) for _ in range(WORDS)]
    return chance.choices(words, [1 / (number + 3) for number in range(WORDS)], k=1 << 16)


_VOCABULARY = _vocabulary()


def _words(number: int) -> list[str]:
    """The words of a message, always the same."""
    digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=36).digest()
    return [_VOCABULARY[place] for place in struct.unpack("<18H", digest)]


def name(number: int) -> str:
    """A unique name of nine letters if the message's number is a multiple of `NAMED`, or none."""
    return "".join(random.Random(number).choices(_LETTERS, k=9))


def text(number: int) -> str:
    """The text of a message, some 100 characters."""
    called = f" {name(number)}" if number % NAMED == 0 else ""
    return f"word{number:07}{called} {' '.join(_words(number))}"[:120]


def phrase(number: int) -> str:
    """Four words of a message, which hardly any other has in this order."""
    return " ".join(_words(number)[3:7])


def ask_file(data: Path, sql: str) -> int:
    """Read a number from the store's file."""
    with closing(sqlite3.connect(data / "relay.db")) as connection:
        return int(connection.execute(sql).fetchone()[0])


def fill(data: Path, messages: int) -> dict[str, str]:
    """Make a store with this many messages in its dialog, all in the full-text index; return users' tokens."""
    data.mkdir(parents=True, exist_ok=True)
    tokens = data / "tokens.json"
    if not tokens.exists():
        tokens.write_bytes(msgspec.json.encode(trio.run(_begin, data)))
    trio.run(_fill, data, messages)
    with served(data, free_port()):
        while ask_file(data, "SELECT (SELECT max(seq) FROM log) - seq FROM indexed"):
            time.sleep(0.5)
        time.sleep(5)
    return msgspec.json.decode(tokens.read_bytes(), type=dict[str, str])


async def _begin(data: Path) -> dict[str, str]:
    others = [f"u{number}" for number in range(SMALL_CHATS)]
    tokens = {}
    async with open_relay(data) as relay:
        for user in ("a", "b", "c", *others):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        for user in ("a", "b", "c", *(f"c{number}" for number in range(LOGINS))):
            token = await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user[:1]))
            assert isinstance(token, control.Token)
            tokens[user] = token.token
        for other in others:
            await _say(relay, "c", relay.state.user_keys[other], range(SAID), lambda number: f"{number} for c alone")
    return tokens


async def _fill(data: Path, messages: int) -> None:
    async with open_relay(data) as relay:
        author = relay.state.user_keys["a"]
        said = max((relay.state.chats[chat].last_message_id for chat in relay.state.chats_of[author]), default=0)
        for start in range(said, messages, BATCH):
            await _say(relay, "b", author, range(start, min(start + BATCH, messages)), text)


async def _say(relay: Relay, to: str, author: int, numbers: range, says: Callable[[int], str]) -> None:
    done, left = trio.Event(), len(numbers)

    def answer(_payload: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in numbers:
        request = requests.New(chat_id=to, client_message_id=str(uuid.uuid4()), message=says(number))
        relay.log.append(Command(relay.clock(), UserKey(author), NO_DEVICE, request), answer)
    await done.wait()
