"""IRC: ngIRCd."""

from collections.abc import Sequence

from tests.bench import generator
from tests.bench.generator import Template
from tests.bench.peers.wire import Sock, body


class Irc:
    protocol, answers = generator.TEXT, generator.NO_ANSWER

    def __init__(self, port: int) -> None:
        self.port = port

    def register(self, names: Sequence[str]) -> None:
        """Nothing to do: the server accepts any login."""

    def login(self, name: str, **_options: object) -> Sock:
        k = Sock(self.port)
        k.name = name
        k.send(f"PASS office\r\nNICK {name}\r\nUSER {name} 0 * :{name}\r\n".encode())
        k.until(b" 376 ", b" 422 ")
        k.until(b"\n")
        return k

    def template(self, _me: str, to: str) -> Template:
        b = f"PRIVMSG {to} :".encode()
        return Template(b + body() + b"\r\n", len(b))

    def join(self, k: Sock, room: str) -> None:
        k.send(f"JOIN #{room}\r\n".encode())
        k.until(b" 366 ")
        k.until(b"\n")

    def group_template(self, me: str, room: str) -> Template:
        return self.template(me, "#" + room)
