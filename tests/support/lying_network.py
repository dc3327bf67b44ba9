"""A proxy before the relay that can act like a captive network: it hangs, fails, or answers in the relay's place."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.browser_relay import Relay

CAPTIVE = "<!doctype html><title>Hotel</title><form action=/login>Welcome! Sign in to use this network.</form>"
ANSWERS = {
    "captive": ("200 OK", CAPTIVE),
    "broken": ("502 Bad Gateway", "<h1>502 Bad Gateway</h1>"),
    "password": ("401 Unauthorized", "<h1>401 Authorization Required</h1>"),
}
"""The proxy's own answers, by mode. In the mode "pass" it forwards everything, in "hang" it answers nothing."""


class LyingNetwork:
    """A way to the relay, on a port of its own; for the page it is the relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.mode = "pass"
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def token(self, user: str) -> str:
        return self._relay.token(user)

    def turn(self, mode: str) -> None:
        """Turn into another network. Open connections break; in "hang" they stay open and silent."""
        self.mode = mode
        if mode != "hang":
            self._break()

    def close(self) -> None:
        self.mode = "closed"
        self._server.close()
        self._break()

    def _break(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with client, contextlib.suppress(OSError):
            if self.mode in ANSWERS:
                self._lie(client, *ANSWERS[self.mode])
            elif self.mode == "pass":
                with socket.create_connection(("127.0.0.1", self._relay.port)) as relay:
                    self._open.add(relay)
                    back = threading.Thread(target=self._pump, args=(relay, client), daemon=True)
                    back.start()
                    self._pump(client, relay)
                    back.join()
                    self._open.discard(relay)
            else:
                self._pump(client, None)
        self._open.discard(client)

    def _lie(self, client: socket.socket, status: str, body: str) -> None:
        while client.recv(65_536):
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body.encode())

    def _pump(self, source: socket.socket, target: socket.socket | None) -> None:
        """Forward bytes; hold them back if the network hangs."""
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                while self.mode == "hang":
                    time.sleep(0.05)
                if target:
                    target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                if one:
                    one.shutdown(socket.SHUT_RDWR)
