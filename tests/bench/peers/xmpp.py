"""XMPP: Prosody and ejabberd."""

import base64
import re
from collections.abc import Sequence

from tests.bench import generator
from tests.bench.generator import Template
from tests.bench.peers.wire import Sock, body

HOST, MUC = "localhost", "muc.localhost"
HEAD = (
    f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    f"to='{HOST}' version='1.0'>"
).encode()


class Xmpp:
    protocol, answers = generator.TEXT, generator.XMPP_ANSWER

    def __init__(self, port: int) -> None:
        self.port = port

    def register(self, names: Sequence[str]) -> None:
        for name in names:
            k = Sock(self.port)
            k.send(HEAD)
            k.until(b"</stream:features>")
            k.send(
                f"<iq type='set' id='g'><query xmlns='jabber:iq:register'><username>{name}</username>"
                f"<password>pw-{name}</password></query></iq>".encode()
            )
            got = k.until(b"id='g'", b'id="g"')
            got += k.until(b">") + k.drain()
            if b"error" in got and b"conflict" not in got:
                raise RuntimeError(got)
            k.close()

    def login(self, name: str, sm: bool = False, presence: bool = True, resource: str = "r") -> Sock:
        k = Sock(self.port)
        k.name = name
        k.send(HEAD)
        k.until(b"</stream:features>")
        tok = base64.b64encode(f"\0{name}\0pw-{name}".encode()).decode()
        k.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{tok}</auth>".encode())
        got = k.until(b"<success", b"<failure", b"</stream:stream>")
        if not got.endswith(b"<success"):
            raise ConnectionError(got + k.buf)
        k.until(b">")
        k.send(HEAD)
        k.until(b"</stream:features>")
        k.send(
            f"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>".encode()  # noqa: E501 - one stanza
        )
        k.until(b"</iq>")
        k.send(b"<iq type='set' id='s1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
        k.until(b"id='s1'", b'id="s1"')
        k.until(b">")
        if sm:
            k.send(b"<enable xmlns='urn:xmpp:sm:3' resume='false'/>")
            k.until(b"<enabled")
            k.until(b">")
        if presence:
            k.send(b"<presence/>")
            k.until(b"<presence")
            k.until(b"</presence>", b"/>")
        return k

    def template(self, _me: str, to: str, ack: bool = False) -> Template:
        pre = f"<message to='{to}@{HOST}' type='chat' id='m"
        b = (pre + "00000000'><body>").encode()
        t = b + body() + b"</body></message>" + (b"<r xmlns='urn:xmpp:sm:3'/>" if ack else b"")
        return Template(t, len(b), len(pre))

    def join(self, k: Sock, room: str) -> None:
        k.send(
            f"<presence to='{room}@{MUC}/{k.name}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>".encode()  # noqa: E501 - one stanza
        )
        k.until(b"<subject")
        k.until(b"</message>")

    def group_template(self, _me: str, room: str, ack: bool = False) -> Template:
        pre = f"<message to='{room}@{MUC}' type='groupchat' id='m"
        b = (pre + "00000000'><body>").encode()
        t = b + body() + b"</body></message>" + (b"<r xmlns='urn:xmpp:sm:3'/>" if ack else b"")
        return Template(t, len(b), len(pre))

    # W4: send n, wait for each stream-management ack
    def send_acked(self, frm: str, to: str, n: int, tag: str) -> int:
        k = self.login(frm, sm=True)
        acked = 0
        for i in range(n):
            k.send(
                f"<message to='{to}@{HOST}' type='chat' id='{tag}{i}'><body>{tag}-{i:05d}-end</body></message><r xmlns='urn:xmpp:sm:3'/>".encode()  # noqa: E501 - one stanza
            )
            while True:
                k.until(b"<a ")
                a = k.until(b">")
                handled = re.search(rb"h=['\"](\d+)", a)
                assert handled is not None, a
                if int(handled[1]) >= i + 1 + 1:  # + the initial presence
                    acked += 1
                    break
        self.last = k
        return acked

    def archive(self, who: str, tag: str) -> tuple[int, int]:
        k = self.login(who)
        offline = set(re.findall(rf"{tag}-(\d+)-end".encode(), k.drain(1.0)))
        seen: set[bytes] = set()
        after = ""
        for page in range(200):
            k.send(
                f"<iq type='set' id='q{page}'><query xmlns='urn:xmpp:mam:2' queryid='x'><set xmlns='http://jabber.org/protocol/rsm'>"
                f"<max>100</max>{after}</set></query></iq>".encode()
            )
            got = k.until(f"id='q{page}'".encode(), f'id="q{page}"'.encode())
            fin = k.until(b"</iq>")
            seen |= set(re.findall(rf"{tag}-(\d+)-end".encode(), got))
            m = re.search(rb"<last[^>]*>([^<]+)</last>", fin)
            if b"error" in fin or not m or b"complete='true'" in fin or b'complete="true"' in fin:
                break
            after = f"<after>{m.group(1).decode()}</after>"
        k.close()
        return len(seen), len(offline)
