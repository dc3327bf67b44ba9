"""Stores written by released relays, and their expected contents: `VERSION.tar.xz` and `.json.xz` in data/stores.

    uv run python tests/support/kept_stores.py /path/to/that/relay

makes those of another release: it drives that relay by its commands and over the wire, requests everything, and stores
the answers beside the store. `test_kept_stores.py` makes the same requests of today's relay. All of it talks to a relay
from outside, so it works with every version.
"""

import base64
import contextlib
import hashlib
import json
import lzma
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

STORES = Path(__file__).parent.parent / "data" / "stores"
WAIT_SECONDS = 30
PASSWORD = "a password of the old store"
VOCABULARY = ("the", "printer", "is", "out", "of", "paper", "again", "and", "nobody", "knows", "why")
DURABLE = ("new", "edit", "delete")
FLEETING = {"online", "lastSeen"}
"""Fields about the present moment, not about stored data."""
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

Command = Sequence[str | Path]


def command(relay: Command, data: Path, *words: str, stdin: str = "") -> str:
    """Run one of the relay's commands; return its output."""
    ran = subprocess.run(
        [*relay, *words, "--data", data], input=stdin, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert ran.returncode == 0, (words, ran)
    return ran.stdout


@contextlib.contextmanager
def serving(relay: Command, data: Path) -> Iterator[str]:
    """Run a relay on a data directory; yield its HTTP address."""
    log = data.parent / f"{data.name}.served"
    environment = {**os.environ, "RELAY_LISTEN": "127.0.0.1:0", "RELAY_AUTH_INVITE_HOURS": "876000"}
    with log.open("w") as said:
        process = subprocess.Popen([*relay, "serve", "--data", data], stderr=said, env=environment)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not (found := re.search(r"listening on ws://(\S+)/ws", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield f"http://{found[1]}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT_SECONDS)


class Talker:
    """One device's connection; events in between are skipped."""

    def __init__(self, url: str, token: str, after: int | None = None) -> None:
        path = "/ws" if after is None else f"/ws?after={after}"
        self._way = connect(
            f"ws{url.removeprefix('http')}{path}", additional_headers={"Authorization": f"Bearer {token}"}
        )
        self._socket: ClientConnection
        self._count = 0

    def __enter__(self) -> Self:
        self._socket = self._way.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._way.__exit__(kind, error, traceback)

    def frame(self, patience: float = WAIT_SECONDS) -> dict[str, Any]:
        return dict(json.loads(self._socket.recv(patience)))

    def ask(self, name: str, /, **payload: Any) -> Any:
        """Send a request and return its answer."""
        self._count += 1
        request = {"type": "request", "id": str(self._count), "payloadType": name, "payload": payload}
        self._socket.send(json.dumps(request))
        while (answer := self.frame()).get("type") != "response" or answer["id"] != str(self._count):
            pass
        assert "error" not in answer, (request, answer)
        return answer["payload"]

    def say(self, chat: str, text: str, **more: Any) -> int:
        number = f"{chat}-{text[:20]}-{self._count}"
        return int(self.ask("new", chatId=chat, message=text, clientMessageId=number, **more)["messageId"])


def http(url: str, body: bytes | None = None, token: str | None = None, **headers: str) -> bytes:
    """Send a GET, or a POST if there is a body."""
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=WAIT_SECONDS) as answer:
        return bytes(answer.read())


def sign_in(url: str, **how: str) -> str:
    """Sign in by an invite or a password; return the user's id."""
    body = json.dumps(how).encode()
    return str(json.loads(http(f"{url}/session", body, **{"Content-Type": "application/json"}))["userId"])


# The content of a store.


def fill(relay: Command, data: Path) -> dict[str, Any]:
    """Simulate a small office on a new data directory; return its secrets."""
    words = random.Random(983708)
    text = " ".join(words.choices(VOCABULARY, k=40))

    def do(*line: str, stdin: str = "") -> str:
        return command(relay, data, *line, stdin=stdin)

    with serving(relay, data) as url:
        do("user", "add", "anna", "--name", "Anna Berg", "--admin")
        do("user", "add", "ben", "--name", "Ben Åkesson")
        do("user", "add", "robot", "--bot")
        do("user", "import", "-", stdin="carla,Carla Ø\ndora,Дора\nemil,Emil\n")
        tokens = {
            user: json.loads(do("device", "add", user, "--label", f"{user}'s", "--json"))["token"]
            for user in ("anna", "ben", "carla", "dora", "emil", "robot")
        }
        ops = json.loads(do("chat", "create", "Ops", "ben", "carla", "dora", "--owner", "anna", "--json"))
        news = json.loads(do("chat", "create", "News", "ben", "emil", "--owner", "anna", "--type", "channel", "--json"))
        group, channel = (one.get("chatId") or one["id"] for one in (ops, news))
        with Talker(url, tokens["anna"]) as anna, Talker(url, tokens["ben"]) as ben:
            for number in range(400):
                (anna if number % 3 else ben).say(group, f"{number} {text[: 60 + number % 90]}")
            ben.ask("read", chatId=group)
    # Stop it, so that everything is in the file; the older messages are removed.
    do("prune", "--max-bytes", str((data / "relay.db").stat().st_size * 7 // 8), "--yes")

    with serving(relay, data) as url:
        with (
            Talker(url, tokens["anna"]) as anna,
            Talker(url, tokens["ben"]) as ben,
            Talker(url, tokens["carla"]) as carla,
            Talker(url, tokens["emil"]) as emil,
        ):
            first = anna.say("ben", "Shall we meet at noon?")
            ben.ask("dlvrd", chatId="anna", messageId=first)
            ben.ask("read", chatId="anna")
            answer = ben.say("anna", "Gladly", replyTo=first)
            ben.ask("edit", chatId="anna", originalMessageId=answer, message="Gladly, at one", clientMessageId="edited")
            gone = ben.say("anna", "in the wrong chat, sorry")
            ben.ask("delete", chatId="anna", originalMessageId=gone)
            anna.say("ben", "Grüße, здравствуйте, 你好, 👋🏽")
            anna.say("anna", "note to myself: " + text * 20)
            picture = json.loads(http(f"{url}/files?name=dot.png", PICTURE, tokens["anna"]))
            report = json.loads(http(f"{url}/files?name=report.txt", b"figures\n" * 500, tokens["ben"]))
            loose = json.loads(http(f"{url}/files?name=loose.txt", b"in no message", tokens["ben"]))
            anna.ask("new", chatId=group, clientMessageId="with-picture", attachments=[picture])
            with_report = ben.ask("new", chatId=group, clientMessageId="report", message="this", attachments=[report])
            carla.ask("read", chatId=group, messageId=with_report["messageId"])
            late = anna.say(group, "to be deleted by its owner")
            anna.ask("delete", chatId=group, originalMessageId=late)
            anna.ask("updateChat", chatId=group, name="Operations", admins=["ben"])
            anna.ask("addParticipants", chatId=group, participants=["emil"])
            ben.ask("removeParticipants", chatId=group, participants=["dora"])
            anna.say(channel, "The office is closed on Friday")
            emil.ask("leaveChat", chatId=channel)
            made = carla.ask("createChat", type="group", name="Party", participants=["emil"])
            carla.say(made["chatId"], "a secret")
            carla.ask("deleteChat", chatId=made["chatId"])
            carla.ask("profile", name="Carla Öst")
            for number in range(3):
                carla.say("ben", f"unread {number}")
        hook = json.loads(do("hook", "add", group, "--name", "Grafana", "--json"))["url"]
        http(f"{url}/hooks/{hook.rsplit('/', 1)[1]}", b'{"text": "disk nearly full"}')
        do("user", "disable", "dora")
        do("user", "remove", "robot", "--yes")
        spare = json.loads(do("device", "add", "ben", "--label", "lost phone", "--json"))
        do("device", "revoke", str(spare["deviceId"]))
        do("user", "password", "ben", stdin=f"{PASSWORD}\n")
        invite = json.loads(do("invite", "emil", "--json"))["code"]
    return {
        "tokens": {user: tokens[user] for user in ("anna", "ben", "carla", "emil")},
        "refused": [tokens["dora"], tokens["robot"], spare["token"]],
        "files": [picture["url"], report["url"]],
        "loose": loose["url"],
        "hook": hook.rsplit("/", 1)[1],
        "group": group,
        "invite": invite,
    }


# The requests.


def answers(relay: Command, data: Path, secrets: dict[str, Any]) -> dict[str, Any]:
    """Request everything stored in a relay, without changing it."""
    found: dict[str, Any] = {}
    with serving(relay, data) as url:
        for name in ("user", "device", "chat", "hook"):
            found[f"{name} list"] = json.loads(command(relay, data, name, "list", "--json"))
        found["audit"] = json.loads(command(relay, data, "audit", "--count", "1000", "--json"))
        exported = [json.loads(line) for line in command(relay, data, "export").splitlines()[1:]]
        # The fields of every format: edits, deletions and deleted messages are in newer ones only.
        found["export"] = [
            one for one in exported if one["type"] in ("user", "chat", "message") and not one.get("deleted")
        ]
        for user, token in secrets["tokens"].items():
            with Talker(url, token) as talker:
                chats = talker.ask("chats")
                found[f"{user}: chats"] = chats
                for chat in chats:
                    found[f"{user}: messages of {chat['id']}"] = talker.ask("messages", chatId=chat["id"], count=500)
                    found[f"{user}: chat {chat['id']}"] = talker.ask("chat", chatId=chat["id"])
                found[f"{user}: users"] = talker.ask("users")
                found[f"{user}: profile"] = talker.ask("profile")
                for word in ("printer", "Gladly", "здравствуйте", "wrong"):
                    found[f"{user}: search {word}"] = talker.ask("search", query=word)
        found["files"] = [
            hashlib.sha256(http(url + path, token=secrets["tokens"]["anna"])).hexdigest() for path in secrets["files"]
        ]
        found["loose"] = hashlib.sha256(http(url + secrets["loose"], token=secrets["tokens"]["ben"])).hexdigest()
    return dict(without_fleeting(found))


def without_fleeting(value: Any) -> Any:
    """Leave out the fields that describe the present moment."""
    if isinstance(value, dict):
        return {name: without_fleeting(one) for name, one in value.items() if name not in FLEETING}
    if isinstance(value, list):
        return [without_fleeting(one) for one in value]
    return value


def replayed(url: str, token: str, ids: Sequence[int] | None) -> list[dict[str, Any]]:
    """Receive all messages, edits and deletions of a replay from the beginning.

    Args:
        url: the relay's URL.
        token: the device's token.
        ids: those that must come; None receives until it is quiet.
    """
    found: list[dict[str, Any]] = []
    with Talker(url, token, after=0) as talker, contextlib.suppress(TimeoutError):
        while ids is None or not {one["id"] for one in found} >= set(ids):
            frame = talker.frame(1 if ids is None else WAIT_SECONDS)
            if frame.get("eventType") in DURABLE:
                found.append({name: frame[name] for name in ("id", "eventType", "payload")})
    return list(without_fleeting(found))


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Name the missing content; additional content of a newer relay is not a difference."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            yield from differences(value, new.get(name), f"{where}/{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}/{number}")
    elif old != new:
        yield f"{where}: {old!r} is now {new!r}"


def unpack(name: str, target: Path) -> dict[str, Any]:
    """Unpack a stored store as a data directory; return its known content."""
    with tarfile.open(STORES / f"{name}.tar.xz") as archive:
        archive.extractall(target, filter="data")
    with contextlib.closing(sqlite3.connect(target / "relay.db")) as store:
        # A file that no message uses is kept for a day, which begins now.
        store.execute("UPDATE file SET loose = ? WHERE loose", (int(time.time() * 1_000) + 24 * 3_600_000,))
        store.commit()
    return dict(json.loads(lzma.decompress((STORES / f"{name}.json.xz").read_bytes())))


def main(relay: Command) -> None:
    """Make the store of a release, and record its content."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        version = subprocess.run([*relay, "version"], capture_output=True, text=True, check=True).stdout.strip()
        secrets = fill(relay, data)
        shutil.copytree(data, Path(scratch, "asked"))
        asked = Path(scratch, "asked")
        found = answers(relay, asked, secrets)
        with serving(relay, asked) as url:
            events = {user: replayed(url, token, None) for user, token in secrets["tokens"].items()}
        for left in ("relay.sock", "relay.lock"):
            (data / left).unlink(missing_ok=True)
        STORES.mkdir(parents=True, exist_ok=True)
        with tarfile.open(STORES / f"{version}.tar.xz", "w:xz") as archive:
            archive.add(data, ".")
        known = {"secrets": secrets, "answers": found, "events": events}
        (STORES / f"{version}.json.xz").write_bytes(
            lzma.compress(json.dumps(known, ensure_ascii=False, indent=1).encode())
        )
        print(f"{STORES / version}.tar.xz: {(STORES / f'{version}.tar.xz').stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
