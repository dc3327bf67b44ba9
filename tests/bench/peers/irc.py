"""IRC: ngIRCd."""

import generator
from generator import Template
from wire import Sock, body


class Irc:
    protocol, answers = generator.TEXT, generator.NO_ANSWER

    def __init__(self, port):
        self.port = port

    def register(self, names):
        pass

    def login(self, name, **kw):
        k = Sock(self.port)
        k.name = name
        k.send(f"PASS office\r\nNICK {name}\r\nUSER {name} 0 * :{name}\r\n".encode())
        k.until(b" 376 ", b" 422 ")
        k.until(b"\n")
        return k

    def template(self, me, to, ack=False):
        b = f"PRIVMSG {to} :".encode()
        return Template(b + body() + b"\r\n", len(b))

    def join(self, k, room):
        k.send(f"JOIN #{room}\r\n".encode())
        k.until(b" 366 ")
        k.until(b"\n")

    def group_template(self, me, room, ack=False):
        return self.template(me, "#" + room)
