"""NATS, in memory and with JetStream."""

import json
import re
from collections.abc import Sequence

from tests.bench import generator
from tests.bench.generator import Template
from tests.bench.peers.wire import Sock, body


class Nats:
    protocol, answers = generator.TEXT, generator.NATS_ANSWER

    def __init__(self, port: int, jetstream: bool = True) -> None:
        self.port, self.js = port, jetstream

    def register(self, names: Sequence[str]) -> None:
        if not self.js:
            return
        k = self.login("admin", sub=False)
        k.send(b"SUB _INBOX.admin 9\r\n")
        cfg = json.dumps(
            {
                "name": "CHAT",
                "subjects": ["dm.>", "room.>"],
                "storage": "file",
                "retention": "limits",
                "max_age": 0,
                "num_replicas": 1,
            }
        ).encode()
        k.send(b"PUB $JS.API.STREAM.CREATE.CHAT _INBOX.admin %d\r\n" % len(cfg) + cfg + b"\r\n")
        k.until(b"}\r\n")
        k.close()

    def login(self, name: str, sub: bool = True, **_options: object) -> Sock:
        k = Sock(self.port)
        k.name = name
        k.until(b"INFO ")
        k.until(b"\r\n")
        k.send(
            b'CONNECT {"verbose":false,"pedantic":false,"user":"%s","pass":"office","lang":"c","version":"1","protocol":1}\r\n'  # noqa: E501 - one command
            % b"chat"
        )
        if sub:
            k.send(f"SUB dm.{name} 1\r\nSUB _INBOX.{name} 2\r\n".encode())
        k.send(b"PING\r\n")
        k.until(b"PONG\r\n")
        return k

    def template(self, me: str, to: str) -> Template:
        return self._publishing(me, f"dm.{to}")

    def _publishing(self, me: str, subject: str) -> Template:
        rep = f" _INBOX.{me}" if self.js else ""
        b = f"PUB {subject}{rep} 120\r\n".encode()
        return Template(b + body() + b"\r\n", len(b))

    def join(self, k: Sock, room: str) -> None:
        k.send(f"SUB room.{room} 3\r\nPING\r\n".encode())
        k.until(b"PONG\r\n")

    def group_template(self, me: str, room: str) -> Template:
        return self._publishing(me, f"room.{room}")

    def send_acked(self, frm: str, to: str, n: int, tag: str) -> int:
        k = self.login(frm)
        for i in range(n):
            b = f"{tag}-{i:05d}-end".encode()
            k.send(f"PUB dm.{to} _INBOX.{frm} {len(b)}\r\n".encode() + b + b"\r\n")
            k.until(b'"seq":')
            k.until(b"}")
        self.last = k
        return n

    def archive(self, who: str, tag: str) -> tuple[int, int]:
        k = self.login("admin", sub=False)
        k.send(b"SUB deliver.x 5\r\nSUB _INBOX.admin 9\r\n")
        cfg = json.dumps(
            {
                "stream_name": "CHAT",
                "config": {
                    "deliver_subject": "deliver.x",
                    "filter_subject": f"dm.{who}",
                    "ack_policy": "none",
                    "deliver_policy": "all",
                },
            }
        ).encode()
        k.send(b"PUB $JS.API.CONSUMER.CREATE.CHAT _INBOX.admin %d\r\n" % len(cfg) + cfg + b"\r\n")
        got = k.drain(3.0)
        k.close()
        n = len(set(re.findall(rf"{tag}-(\d+)-end".encode(), got)))
        return n, n
