"""Reading: the read position stays, new messages are shown on demand, and read receipts wait for the reader."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.page_actions import CUT, IN_VIEW, LOOK_AWAY, badge, open_chat, until, wheel_up, write

# The first completely visible message, and its position.
PLACE = """() => {
  const scroller = document.querySelector('.messages > .scroll').getBoundingClientRect();
  for (const one of document.querySelectorAll('.message')) {
    const box = one.getBoundingClientRect();
    if (box.top >= scroller.top + 40) return [one.dataset.id, Math.round(box.top)];
  }
}"""


def test_messages_arriving_in_an_unfocused_window_stay_unread(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    until(page, "!document.querySelector('[data-chat=ben] .badge')")
    page.evaluate(LOOK_AWAY, True)
    for start in range(0, 150, 30):
        ben.say("anna", *(f"new {at}" for at in range(start, start + 30)))
        page.wait_for_timeout(200)
    until(page, "document.querySelector('[data-chat=ben] .badge')?.textContent.startsWith('99+')")
    page.evaluate(LOOK_AWAY, False)
    page.wait_for_timeout(1_000)
    assert page.evaluate(IN_VIEW, ".divider-new")
    assert page.inner_text(".divider-new + .message .text") == "new 0"
    [chat] = anna.ask(("chat", {"chatId": "ben"}))
    assert chat["missed"] > 100


def test_older_pages_do_not_move_the_read_position(person: Any) -> None:
    person("ben").say("anna", *(f"line {at} " + "word " * (at % 30) for at in range(400)))
    anna = person("anna")
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".message")
    page.wait_for_timeout(400)
    for _ in range(4):
        wheel_up(page, 3)
        before = page.evaluate(PLACE)
        page.wait_for_timeout(400)
        assert page.evaluate(PLACE) == before
    page.keyboard.press("Escape")


def test_new_messages_do_not_scroll_a_reader_who_is_further_up(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"line {at}" for at in range(100)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".message")
    wheel_up(page)
    before = page.evaluate(PLACE)
    ben.say("anna", "one", "two", "three")
    until(page, "document.querySelector('.to-end .badge')?.textContent === '3'")
    assert page.evaluate(PLACE) == before
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('three')")
    until(page, "!document.querySelector('.to-end')")


def test_interruption_does_not_move_the_read_position(person: Any, relay: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"before {at}" for at in range(250)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('before 249')")
    page.wait_for_timeout(400)
    wheel_up(page, 12)
    before = page.evaluate(PLACE)
    # Another tab of this browser receives the new messages, so they are not replayed to this one.
    other = anna.chats()
    other.wait_for_selector("[data-chat=ben]")
    page.evaluate(CUT)
    relay.stop()
    relay.start()
    ben.say("anna", *(f"meanwhile {at}" for at in range(700)))
    other.wait_for_selector("[data-chat=ben]:has-text('meanwhile 699')")
    other.wait_for_timeout(500)
    other.close()
    # Everything was read elsewhere, so there is no first unread message to continue from.
    anna.ask(("read", {"chatId": "ben"}))
    page.evaluate("window.cut = false")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector("[data-chat=ben]:has-text('meanwhile 699')")
    page.wait_for_timeout(1_000)
    assert page.evaluate(PLACE) == before
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('meanwhile 699')")


def test_reply_far_back_leads_to_the_end(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"message {at} " + "word " * (at % 30) for at in range(1_000)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    page.fill("input[type=search]", "message 211")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash:has-text('message 211')")
    write(page, "my answer")
    page.wait_for_selector(".is-mine:has-text('my answer') .ticks-sent")
    page.wait_for_timeout(500)
    assert page.evaluate(IN_VIEW, ".message.is-mine")
    ben.say("anna", "and on it goes")
    page.wait_for_selector(".text:has-text('and on it goes')")
    page.wait_for_timeout(300)
    assert page.evaluate(IN_VIEW, ".message:last-child")


def test_own_message_that_is_sent_before_the_newest_page_comes_is_shown(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"message {at} " + "word " * (at % 30) for at in range(400)))
    anna.ask(("read", {"chatId": "ben"}))
    held: dict[str, Any] = {}

    def meet(socket: Any) -> None:
        server = socket.connect_to_server()

        def go_up(text: str) -> None:
            frame = json.loads(text) if text.startswith("{") else {}
            kind = frame.get("payloadType") if held else None
            if kind == "new" or (kind == "messages" and not {"startId", "endId"} & set(frame["payload"])):
                held[kind] = frame["id"]
            if kind == "new":
                held["message"] = text
                send()
            else:
                server.send(text)

        def send() -> None:
            # The relay has read the page before it gets the message; the answer comes after that.
            if "page" in held and "message" in held:
                server.send(held.pop("message"))

        def come_down(text: str) -> None:
            answered = json.loads(text).get("id") if text.startswith("{") else None
            if answered == held.get("messages", 0):
                held["page"] = text
                send()
                return
            socket.send(text)
            if answered == held.get("new", 0):
                held["socket"] = socket

        socket.on_message(go_up)
        server.on_message(come_down)

    anna.context.route_web_socket(re.compile(r"/ws"), meet)
    page = anna.chats()
    page.fill("input[type=search]", "message 111")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash:has-text('message 111')")
    held["on"] = True
    write(page, "my answer")
    while "socket" not in held:
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)
    held["socket"].send(held["page"])
    held.clear()
    page.wait_for_selector(".is-mine:has-text('my answer') .ticks-sent", timeout=10_000)
    until(page, f"({IN_VIEW})('.message.is-mine')")


def test_growing_composer_keeps_the_end_in_view(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"line {at}" for at in range(60)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('line 59')")
    page.fill(".composer textarea", "a\nb\nc\nd\ne")
    page.wait_for_timeout(200)
    assert page.evaluate(IN_VIEW, ".message:last-child")


def _status_once_delivered(page: Any, sender: Any) -> str:
    """Return the status of the sender's last message to anna, which may take a while on a busy machine."""
    for _ in range(100):
        status: str = sender.ask(("messages", {"chatId": "anna"}))[0][-1]["status"]
        if status != "undelivered":
            return status
        page.wait_for_timeout(100)
    return status


def test_read_receipts_wait_for_a_focused_window(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "first")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('first')")
    until(page, "!document.querySelector('[data-chat=ben] .badge')")
    page.evaluate(LOOK_AWAY, True)
    ben.say("anna", "second")
    page.wait_for_selector(".text:has-text('second')")
    page.wait_for_timeout(500)
    assert badge(page, "ben") == "1"
    assert _status_once_delivered(page, ben) == "unread"
    page.evaluate(LOOK_AWAY, False)
    until(page, "!document.querySelector('[data-chat=ben] .badge')")
    for _ in range(100):
        [messages] = ben.ask(("messages", {"chatId": "anna"}))
        if messages[-1]["status"] == "read":
            break
        page.wait_for_timeout(100)
    assert messages[-1]["status"] == "read"
