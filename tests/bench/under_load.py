"""This relay as a server under load: a scratch data directory, `relay serve` on it, and connections to it."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.generator import TOKEN, Template, text
from tests.bench.machine import Process

TREE = Path(__file__).resolve().parents[2]
START = 120
"""Seconds for a start, also on an emulated processor."""
MASK = b"\x00\x00\x00\x00"


class Connection:
    """One client: signed in by a real handshake; acknowledges events while the generator does not."""

    def __init__(self, port: int, token: str, query: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode("latin-1"))

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the relay closed a connection")
        self._buffer += data

    def send(self, message: object) -> None:
        """Send a text frame of fewer than 64 KiB; a mask of zeros is a mask."""
        payload = json.dumps(message).encode()
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2)
        self.socket.sendall(b"\x81" + length + MASK + payload)

    def frames(self) -> list[dict[str, object]]:
        """Take the complete messages received so far."""
        found, data = [], self._buffer
        while len(data) >= 2:
            start, length = 2, data[1] & 127
            if length == 126:
                start, length = 4, int.from_bytes(data[2:4])
            elif length == 127:
                start, length = 10, int.from_bytes(data[2:10])
            if len(data) < start + length:
                break
            if data[0] & 15 == 1:
                found.append(json.loads(data[start : start + length]))
            data = data[start + length :]
        self._buffer = data
        return found

    def drain(self, quiet: float = 0.0) -> list[dict[str, object]]:
        """Receive and acknowledge everything until nothing has arrived for this many seconds."""
        taken: list[dict[str, object]] = []
        self.socket.settimeout(quiet)
        try:
            while True:
                self.receive()
                for frame in self.frames():
                    taken.append(frame)
                    self.acknowledge(frame)
        except (BlockingIOError, TimeoutError):
            for frame in self.frames():
                taken.append(frame)
                self.acknowledge(frame)
        finally:
            self.socket.settimeout(30)
        return taken

    def acknowledge(self, frame: dict[str, object]) -> None:
        if frame.get("type") == "event" and "id" in frame:
            self.send({"type": "ack", "id": frame["id"]})

    def wait_for(self, payload_type: str, payload: dict[str, object], request_id: str) -> dict[str, object]:
        """Make a request, and return the response."""
        self.send({"type": "request", "id": request_id, "payloadType": payload_type, "payload": payload})
        while True:
            for frame in self.frames():
                self.acknowledge(frame)
                if frame.get("type") == "response" and frame.get("id") == request_id:
                    return frame
            self.receive()

    def close(self) -> None:
        self.socket.close()


def template(chat_id: str, length: int = 120) -> Template:
    """A `new` request with a text of this many bytes."""
    unique = "00000000-0000-4000-8000-000000000000"
    message = (
        f'{{"type":"request","id":"00000000","timestamp":{time.time_ns() // 1_000_000},"payloadType":"new",'
        f'"payload":{{"chatId":"{chat_id}","clientMessageId":"{unique}","message":"{text(length)}"}}}}'
    )
    return Template(message.encode(), message.index(TOKEN), message.index("00000000"), message.index(unique))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Relay:
    """`relay serve` of one source tree on a scratch data directory."""

    def __init__(
        self,
        tree: Path = TREE,
        *,
        users: int = 100,
        members: int = 0,
        environment: dict[str, str] | None = None,
        data: Path | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.tree = tree
        self.prefix = prefix
        self.data = data or Path(tempfile.mkdtemp(prefix="relay-bench-"))
        # The limit is counted but never reached.
        self.environment = {
            "PYTHONPATH": str(tree),
            "RELAY_LIMITS_REQUESTS_PER_SECOND": "1000000",
            **(environment or {}),
        }
        seeded = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("seed.py")),
                str(self.data),
                str(users),
                str(members),
            ],
            env={**os.environ, "PYTHONPATH": str(tree)},
            check=True,
            capture_output=True,
            timeout=120,
        )
        found = json.loads(seeded.stdout)
        self.tokens: dict[str, str] = found["tokens"]
        self.group: str = found["group"]
        self.port = 0
        self.process: Process | None = None
        self.ready_ms = 0.0

    def start(self) -> Process:
        """Start it and wait for the first login."""
        self.port = free_port()
        self.process = Process(
            [
                *self.prefix,
                sys.executable,
                "-m",
                "relay",
                "serve",
                "--listen",
                f"127.0.0.1:{self.port}",
                "--data",
                str(self.data),
            ],
            environment=self.environment,
            directory=self.data,
            log=self.data / "serve.log",
        )
        deadline = self.process.started + START
        while True:
            try:
                self.login("u0").close()
                break
            except OSError:
                if time.perf_counter() > deadline or self.process.process.poll() is not None:
                    log = (self.data / "serve.log").read_text()[-2000:]
                    raise RuntimeError(f"the relay did not start: {log}") from None
                time.sleep(0.001)
        self.ready_ms = (time.perf_counter() - self.process.started) * 1000
        return self.process

    def login(self, user: str) -> Connection:
        return Connection(self.port, self.tokens[user])

    def stop(self) -> None:
        """Stop it and remove what it wrote."""
        if self.process is not None:
            self.process.stop()
        shutil.rmtree(self.data, ignore_errors=True)
