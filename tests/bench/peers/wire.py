"""A blocking socket that reads until one of several texts, and the message text for all peers."""

import socket

from tests.bench.generator import text


def body(length: int = 120) -> bytes:
    """A text of this many bytes that begins with the token's placeholder."""
    return text(length).encode()


class Sock:
    """One client's connection."""

    def __init__(self, port: int, timeout: float = 30) -> None:
        self.s = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""
        self.name = ""

    def fileno(self) -> int:
        return self.s.fileno()

    def send(self, data: bytes) -> None:
        self.s.sendall(data)

    def until(self, *patterns: bytes) -> bytes:
        """Read up to and including the first of these."""
        while True:
            for pattern in patterns:
                at = self.buf.find(pattern)
                if at >= 0:
                    got, self.buf = self.buf[: at + len(pattern)], self.buf[at + len(pattern) :]
                    return got
            data = self.s.recv(65536)
            if not data:
                raise ConnectionError("closed: " + repr(self.buf[-300:]))
            self.buf += data

    def drain(self, quiet: float = 0.0) -> bytes:
        """Read everything until nothing has arrived for this many seconds."""
        self.s.settimeout(quiet)
        got = self.buf
        try:
            while data := self.s.recv(1 << 20):
                got += data
        except (BlockingIOError, TimeoutError):
            pass
        self.s.settimeout(30)
        self.buf = b""
        return got

    def close(self) -> None:
        self.s.close()
