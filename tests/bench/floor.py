"""floor_relay.py as a server under load."""

import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.generator import TOKEN, Template, text
from tests.bench.machine import Process
from tests.bench.under_load import free_port


class Floor:
    """A floor relay on a scratch file, stopped and removed at the end of the block."""

    def __enter__(self) -> Self:
        self.data = Path(tempfile.mkdtemp(prefix="floor-"))
        self.port = free_port()
        script = Path(__file__).with_name("floor_relay.py")
        self.process = Process([sys.executable, str(script), str(self.port), str(self.data / "floor.db")])
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def login(self, name: str) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ask(connected, f"NAME {name}")
        return connected

    def join(self, connected: socket.socket, room: str) -> None:
        self._ask(connected, f"JOIN {room}")

    def _ask(self, connected: socket.socket, line: str) -> None:
        connected.sendall(f"{line}\r\n".encode())
        if connected.recv(100) != b"OK\r\n":
            raise ConnectionError(line)

    def template(self, to: str) -> Template:
        line = f"SAY {to} {text()}\r\n"
        return Template(line.encode(), line.index(TOKEN))
