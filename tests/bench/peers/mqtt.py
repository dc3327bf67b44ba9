"""MQTT 3.1.1 at QoS 1: mosquitto."""

import re
import struct
from collections.abc import Sequence

from tests.bench import generator
from tests.bench.generator import Template
from tests.bench.peers.wire import Sock, body


def s16(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def packet(h: int, payload: bytes) -> bytes:
    n, out = len(payload), bytearray([h])
    while True:
        n, d = divmod(n, 128)
        out.append(d | (128 if n else 0))
        if not n:
            return bytes(out) + payload


def read_packet(k: Sock) -> tuple[int, bytes]:
    def need(n: int) -> None:
        while len(k.buf) < n:
            d = k.s.recv(65536)
            if not d:
                raise ConnectionError("closed")
            k.buf += d

    need(2)
    i, rl, sh = 1, 0, 0
    while True:
        need(i + 1)
        x = k.buf[i]
        i += 1
        rl |= (x & 127) << sh
        sh += 7
        if not x & 128:
            break
    need(i + rl)
    h, p = k.buf[0], k.buf[i : i + rl]
    k.buf = k.buf[i + rl :]
    return h, p


class Mqtt:
    protocol, answers = generator.MQTT, generator.MQTT_ANSWER

    def __init__(self, port: int) -> None:
        self.port = port

    def register(self, names: Sequence[str]) -> None:
        """Nothing to do: they are in the password file."""

    def login(self, name: str, clean: bool = True, sub: bool = True, **_options: object) -> Sock:
        k = Sock(self.port)
        k.name = name
        flags = 0xC0 | (2 if clean else 0)
        k.send(
            packet(
                0x10,
                s16("MQTT") + bytes([4, flags]) + struct.pack("!H", 600) + s16(name) + s16(name) + s16("pw-" + name),
            )
        )
        h, p = read_packet(k)
        if h != 0x20 or p[1] != 0:
            raise ConnectionError((h, p))
        if sub:
            self.sub(k, f"dm/{name}")
        return k

    def sub(self, k: Sock, topic: str) -> None:
        k.send(packet(0x82, struct.pack("!H", 1) + s16(topic) + b"\x01"))
        while read_packet(k)[0] != 0x90:
            pass

    def _tmpl(self, topic: str) -> Template:
        b = s16(topic)
        full = packet(0x32, b + b"\0\0" + body())
        off = full.index(b) + len(b)
        return Template(full, off + 2, packet_at=off)

    def template(self, _me: str, to: str) -> Template:
        return self._tmpl(f"dm/{to}")

    def join(self, k: Sock, room: str) -> None:
        self.sub(k, f"room/{room}")

    def group_template(self, _me: str, room: str) -> Template:
        return self._tmpl(f"room/{room}")

    def send_acked(self, frm: str, to: str, n: int, tag: str) -> int:
        r = self.login(to, clean=False)  # durable session, then offline
        r.send(b"\xe0\x00")
        r.close()
        k = self.login(frm, sub=False)
        acked = 0
        for i in range(n):
            k.send(packet(0x32, s16(f"dm/{to}") + struct.pack("!H", i + 1) + f"{tag}-{i:05d}-end".encode()))
            while read_packet(k)[0] != 0x40:
                pass
            acked += 1
        self.last = k
        return acked

    def archive(self, who: str, tag: str) -> tuple[int, int]:
        k = Sock(self.port)
        k.send(
            packet(
                0x10, s16("MQTT") + bytes([4, 0xC0]) + struct.pack("!H", 600) + s16(who) + s16(who) + s16("pw-" + who)
            )
        )
        k.s.settimeout(2)
        seen: set[bytes] = set()
        try:
            while True:
                h, p = read_packet(k)
                if h >> 4 == 3:
                    tl = struct.unpack("!H", p[:2])[0]
                    k.send(b"\x40\x02" + p[2 + tl : 4 + tl])
                    seen |= set(re.findall(rf"{tag}-(\d+)-end".encode(), p))
        except TimeoutError:
            pass
        k.close()
        return len(seen), len(seen)
