"""Tools of the gallery: a wire that holds and refuses requests, a judge of the screen, and people who talk.

Nothing of the page is replaced: its socket goes through the browser's own proxy of sockets, its files through routes.
"""

from __future__ import annotations

import json
import re
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
MODES: dict[str, dict[str, Any]] = {
    "phone": PHONE,
    "desk": {"viewport": {"width": 1280, "height": 800}},
    # A window of 1280 by 800 with the page at 200 %: a browser lays it out as one of half the size.
    "zoom": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
# Parts of the page that fade have another contrast half way.
CALM = {"reduced_motion": "reduce"}

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
# Two rules that are off by default: labels match the visible text, and targets have 24 pixels.
ALSO = {"label-content-name-mismatch": {"enabled": True}, "target-size": {"enabled": True}}
ALL_RULES = {"runOnly": {"type": "tag", "values": list(TAGS)}, "rules": ALSO, "resultTypes": ["violations"]}
# In the other theme only colours change.
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}

MOVING = (
    "document.getAnimations().some((one) => one.playState === 'running' && one.effect.getTiming().iterations === 1)"
)
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Touch targets smaller than 44 pixels; a link in a text is as high as its line.
SMALL = """() => !matchMedia('(pointer: coarse)').matches ? []
  : [...document.querySelectorAll('button, input, select, textarea')]
  .filter((one) => one.checkVisibility() && !one.closest('.hidden'))
  .map((one) => [one, (one.closest('label') ?? one).getBoundingClientRect()])
  .filter(([, { width, height }]) => width > 0 && Math.min(width, height) < 44)
  .map(([one, { width, height }]) => `${one.className || one.tagName} ${Math.round(width)}x${Math.round(height)}`)"""
# Wider than the window, or in a column that would need sideways scrolling.
WIDE = """() => [document.documentElement, ...document.querySelectorAll('.scroll, .panel, .modal-inside, .composer')]
  .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
  .map((one) => `${one.className || one.tagName} ${one.scrollWidth} in ${one.clientWidth}`)"""

# Times, and what a list in a dialog says about its people, which are not there to be cut.
CUT = """() => [...document.querySelectorAll('time, .modal-inside > ul .hint')]
  .filter((one) => one.checkVisibility() && [one, one.parentElement].some((box) => box.scrollWidth > box.clientWidth + 1
    && getComputedStyle(box).textOverflow === 'ellipsis'
    && one.getBoundingClientRect().right >= box.getBoundingClientRect().right))
  .map((one) => one.innerText)"""
# Codes that a camera must read.
TINY = """() => [...document.querySelectorAll('.qr')].map((one) => one.getBoundingClientRect())
  .map(({ width, height }) => Math.round(Math.min(width, height))).filter((size) => size < 160)"""

UPLOAD = """async ([bytes, name, type]) => {
  const headers = { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${name}"` };
  const answer = await fetch('/files', { method: 'POST', headers, body: Uint8Array.from(bytes) });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return answer.json();
}"""


class Wire:
    """The socket of a person's pages: requests can be held (their answer never comes) or refused."""

    def __init__(self, context: Any) -> None:
        self.held: set[str] = set()
        self.refused: dict[str, str] = {}
        self.cut = False
        self.mute = False
        self._open: list[Any] = []
        context.route_web_socket(re.compile(r"/ws"), self._meet)

    def _meet(self, socket: Any) -> None:
        if self.cut:
            socket.close(code=1013)
            return
        self._open.append(socket)
        server = socket.connect_to_server()

        def go_up(text: str | bytes) -> None:
            frame = json.loads(text) if str(text).startswith("{") else {}
            kind = frame.get("payloadType")
            if kind in self.held:
                return
            if kind in self.refused:
                error = {"code": self.refused[kind], "message": "The relay says no."}
                answer = {"type": "response", "id": frame["id"], "timestamp": int(time.time() * 1000), "error": error}
                socket.send(json.dumps(answer))
                return
            server.send(text)

        socket.on_message(go_up)
        server.on_message(lambda text: None if self.mute else socket.send(text))

    def go_away(self) -> None:
        """Break the connection, and let no other be made."""
        self.cut = True
        for socket in self._open:
            socket.close(code=1013)
        self._open.clear()

    def let_go(self) -> None:
        """Let all new frames pass again."""
        self.held.clear()
        self.refused.clear()
        self.cut = False


class Gallery:
    """Checks each state of each view: keeps a picture of it, and violations of the rules."""

    def __init__(self, folder: Path | None, mode: str) -> None:
        from axe_playwright_python.sync_playwright import Axe

        self.folder = folder
        self.mode = mode
        self.script = Axe().axe_script
        self.found: dict[str, list[str]] = {}
        self.seen: list[str] = []

    def show(self, page: Any, state: str) -> None:
        """Judge the screen in both themes; `state` is the name of its picture."""
        assert state not in self.seen, state
        self.seen.append(state)
        for scheme, rules in (("light", ALL_RULES), ("dark", COLOURS)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.evaluate(DRAWN)
            for _ in range(40):
                if not page.evaluate(MOVING):
                    break
                page.wait_for_timeout(50)
            if self.folder:
                page.screenshot(path=self.folder / f"gallery-{self.mode}-{scheme}-{state}.png")
            self._judge(page, f"{state} ({scheme})", rules)
        for one in page.evaluate(SMALL):
            self._note(f"too small for a finger: {one}", state)
        for one in page.evaluate(WIDE):
            self._note(f"wider than there is room: {one}", state)
        for one in page.evaluate(CUT):
            self._note(f"cut: {one}", state)
        for one in page.evaluate(TINY):
            self._note(f"too small for a camera: {one}", state)

    def _note(self, fault: str, place: str) -> None:
        self.found.setdefault(fault, []).append(place)

    def _judge(self, page: Any, place: str, rules: dict[str, Any]) -> None:
        if not page.evaluate("Boolean(window.axe)"):
            page.evaluate(self.script)
        results = page.evaluate("(rules) => axe.run(rules)", rules)
        assert results["passes"] or rules is COLOURS, "axe looked at nothing"
        for rule in results["violations"]:
            for node in rule["nodes"]:
                fault = f"{rule['impact']} {rule['id']}: {node['html'][:160]}: {node['failureSummary']}"
                self._note(fault, place)

    def check(self) -> None:
        """Fail with all findings."""
        assert not self.found, "\n".join(f"{fault}\n  in {', '.join(places)}" for fault, places in self.found.items())


def picture(width: int, height: int, hue: int) -> bytes:
    """Draw a PNG that looks like a picture from far away."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            rows += bytes(((hue + x * 160 // width) % 256, 90 + y * 140 // height, (200 - hue + x // 4) % 256))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    )


def upload(person: Any, content: bytes, name: str, kind: str) -> dict[str, Any]:
    """Upload a file as a user; return its attachment for a message."""
    sent: dict[str, Any] = person.speaker().evaluate(UPLOAD, [list(content), name, kind])
    return sent


LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
LONG_TEXT = (
    "The harbour master came by at six and wanted to know who had left the crane under power over night. " * 6
    + LONG_WORD * 2
    + "\n\nhttps://pumps.example.org/manuals/model-17b/"
    + "pressure/" * 20
)
CODE = "See\n```\nERR 17: no pressure\n  at pump.start (pump.c:212) " + "-" * 150 + "\n```\nand `reset` does nothing."


def talk(person: Any) -> dict[str, str]:
    """Let people send a message of each kind; return the ids of the chats."""
    anna, ben, carla, maria, yusuf = (person(one) for one in ("anna", "ben", "carla", "maria", "yusuf"))
    members = ["ben", "carla", "lei", "maria", "yusuf"]
    [group] = anna.ask(("createChat", {"type": "group", "name": "Harbour crew", "participants": members}))
    [long] = ben.ask(
        ("createChat", {"type": "group", "name": f"{LONG_WORD[:60]}", "participants": ["anna", "carla", "maria"]})
    )
    [channel] = ben.ask(("createChat", {"type": "channel", "name": "Announcements", "participants": ["anna"]}))
    [lost] = ben.ask(("createChat", {"type": "group", "name": "Last year's crew", "participants": ["anna", "maria"]}))
    crew: str = group["chatId"]
    anna.say(crew, "Is everybody coming on Saturday?")
    maria.say(crew, "Я смогу после обеда.", "See https://pumps.example.org/manual, then `reset`\n```\nERR 17\n```")
    ben.say(crew, "👍", "to be deleted", "to be edited")
    ben.ask(("delete", {"chatId": crew, "originalMessageId": 5, "clientMessageId": "d"}))
    [edit] = ben.ask(
        ("edit", {"chatId": crew, "originalMessageId": 6, "clientMessageId": "e", "message": "The pump is edited"})
    )
    assert "error" not in edit, edit
    ben.ask(("new", {"chatId": crew, "message": "Of course", "replyTo": 1}))
    yusuf.say(crew, "سأحضر الحبال معي، ok?", "and a spare pump")
    ben.say(channel["chatId"], "The office closes at 16:00 on Friday.")
    ben.say(lost["chatId"], "That was the season. Thank you all!")
    carla.say(long["chatId"], LONG_TEXT, CODE, LONG_WORD)
    anna.say(long["chatId"], LONG_TEXT, CODE)
    yusuf.say("anna", "السلام عليكم، هل يمكننا الاجتماع غدا صباحا؟", "المضخة 17b لا تعمل: `ERR 17`.")
    anna.say("yusuf", "نعم، الساعة العاشرة مناسبة.", "See you then")
    yusuf.ask(("new", {"chatId": "anna", "message": "شكرا!", "replyTo": 3}))
    shots = [
        upload(ben, picture(480, 320, 20), "pier.png", "image/png"),
        upload(ben, picture(320, 480, 90), "mast.png", "image/png"),
        upload(ben, picture(400, 400, 160), "crane.png", "image/png"),
    ]
    plan = upload(ben, b"%PDF-1.4 plan", f"plan of the {LONG_WORD}.pdf", "application/pdf")
    maria.say("anna", *(f"number {at}" for at in range(130)))
    ben.say("anna", "Morning! Did the boat survive?")
    ben.ask(("new", {"chatId": "anna", "attachments": [shots[0]], "message": "Here is the pier after the storm."}))
    ben.ask(("new", {"chatId": "anna", "attachments": shots}), ("new", {"chatId": "anna", "attachments": [plan]}))
    anna.say("ben", "It did 🎉 One fender is gone, that is all.", "The pump did not")
    ben.ask(("read", {"chatId": "anna"}))
    ben.say("anna", "I have a filter in the shed")
    return {"crew": crew, "long": long["chatId"], "channel": channel["chatId"], "lost": lost["chatId"]}


def until(page: Any, condition: str) -> None:
    """Wait for a condition; the page's policy forbids waiting that evaluates text inside it."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")
