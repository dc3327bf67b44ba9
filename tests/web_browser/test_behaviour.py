"""What people notice, in a real browser, against a real relay: one behaviour a test."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.web_browser.browser_relay import run

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)
IN_VIEW = """(selector) => {
  const scroller = document.querySelector('.messages > .scroll').getBoundingClientRect();
  return [...document.querySelectorAll(selector)].some((one) => {
    const box = one.getBoundingClientRect();
    return box.top >= scroller.top - 1 && box.bottom <= scroller.bottom + 1;
  });
}"""
# The first message that is wholly in view, and where it is.
PLACE = """() => {
  const scroller = document.querySelector('.messages > .scroll').getBoundingClientRect();
  for (const one of document.querySelectorAll('.message')) {
    const box = one.getBoundingClientRect();
    if (box.top >= scroller.top + 40) return [one.dataset.id, Math.round(box.top)];
  }
}"""
# The window loses (or gets back) the focus, as when somebody looks at another one.
LOOK_AWAY = """(away) => {
  document.hasFocus = () => !away;
  dispatchEvent(new Event(away ? 'blur' : 'focus'));
}"""

# The person says no when the browser asks about notifications.
REFUSE = """Notification.requestPermission = () => {
  window.asked = true;
  return Promise.resolve('denied');
};"""
# A message that asks to answer one that is not there: the relay refuses it.
SPOIL = """() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (text) {
    return send.call(this, text.replace('"message":"forbidden words"', '"replyTo":99,"message":"x"'));
  };
}"""

# A message in the outbox on disk that is over what the relay takes in a frame.
KEEP_LARGE = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open('relay:anna');
  opening.onerror = reject;
  opening.onsuccess = () => {
    const message = 'x'.repeat(300_000);
    const row = { kind: 'new', clientMessageId: 'large', chatId: 'ben', message, createdAt: 1, state: 'queued' };
    const change = opening.result.transaction('outbox', 'readwrite');
    change.objectStore('outbox').put(row);
    change.oncomplete = resolve;
  };
})"""

# A file let fall on the conversation; whether the browser was left to open it.
DROP_FILE = """() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(['x'], 'dropped.txt', { type: 'text/plain' }));
  const event = new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer });
  return document.querySelector('.conversation').dispatchEvent(event);
}"""
# What is in the clipboard is put into the composer; whether the browser was left to do it.
PASTE = """([text, file]) => {
  const clipboardData = new DataTransfer();
  if (text) clipboardData.setData('text/plain', text);
  clipboardData.items.add(new File(['x'], file, { type: 'image/png' }));
  const event = new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData });
  return document.querySelector('.composer textarea').dispatchEvent(event);
}"""

# No new connection is made until `cut` is false.
CUT = """() => {
  window.cut = true;
  const Real = window.WebSocket;
  window.WebSocket = class extends Real {
    constructor(address) {
      super(window.cut ? address.replace('/ws', '/nowhere') : address);
    }
  };
}"""
COUNT_SOUNDS = """window.sounds = 0;
const make = AudioContext.prototype.createOscillator;
AudioContext.prototype.createOscillator = function () {
  window.sounds += 1;
  return make.call(this);
};"""


def open_chat(page: Any, chat: str) -> None:
    page.click(f"[data-chat={chat}]")
    page.wait_for_selector(".conversation")


def until(page: Any, condition: str, seconds: float = 10) -> None:
    """Wait for a condition; the page's policy forbids the waiting that evaluates text inside it."""
    for _ in range(int(seconds * 20)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


def texts(page: Any) -> list[str]:
    found: list[str] = page.locator(".message .text").all_inner_texts()
    return found


def write(page: Any, text: str) -> None:
    page.fill(".composer textarea", text)
    page.press(".composer textarea", "Enter")


def badge(page: Any, chat: str) -> str | None:
    page.wait_for_selector(f"[data-chat={chat}]")
    shown = page.locator(f"[data-chat={chat}] .badge [aria-hidden]")
    return shown.inner_text() if shown.count() else None


def wheel_up(page: Any, times: int = 6) -> None:
    page.mouse.move(800, 400)
    for _ in range(times):
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(40)
    page.wait_for_timeout(200)


# ---------------------------------------------------------------- 1, 2: opening, reading, staying


def test_opening_a_chat_shows_the_newest_message(person: Any) -> None:
    person("ben").say("anna", *(f"message {at}" for at in range(150)))
    page = person("anna").chats()
    open_chat(page, "ben")
    page.wait_for_selector(".divider-new")
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('message 149')")
    page.reload()
    page.wait_for_selector(".text:has-text('message 149')")
    assert page.evaluate(IN_VIEW, ".message:last-child")


def test_opening_a_chat_with_news_shows_where_they_begin(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"old {at}" for at in range(60)))
    anna.ask(("read", {"chatId": "ben"}))
    ben.say("anna", *(f"new {at}" for at in range(120)))
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben] .badge")
    assert badge(page, "ben") == "99+"
    open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert "120" in divider.inner_text()
    assert page.evaluate(IN_VIEW, ".divider-new")
    assert page.evaluate(IN_VIEW, ".divider-new + .message")
    assert page.inner_text(".divider-new + .message .text") == "new 0"


@pytest.mark.parametrize("kept", [False, True])
def test_a_chat_with_more_news_than_a_page_opens_where_they_begin(person: Any, *, kept: bool) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"old {at}" for at in range(60)))
    anna.ask(("read", {"chatId": "ben"}))
    path = "/"
    if kept:
        # The chat is on this device from before, and the page does not know how much came since.
        page = anna.chats()
        open_chat(page, "ben")
        page.wait_for_selector(".text:has-text('old 59')")
        page.wait_for_timeout(1_200)
        page.close()
        path = "/#chat=ben"
    ben.say("anna", "new 0")
    # Edits take ids as well: the first unread message is further up than the count alone says.
    ben.ask(*(("edit", {"chatId": "anna", "originalMessageId": 61, "message": "new 0"}) for _ in range(120)))
    ben.say("anna", *(f"new {at}" for at in range(1, 900)))
    page = anna.open(path)
    if not kept:
        open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert "900" in divider.inner_text()
    until(page, f"({IN_VIEW})('.divider-new + .message')")
    assert page.inner_text(".divider-new + .message .text") == "new 0"
    page.wait_for_timeout(1_000)
    [chat] = anna.ask(("chat", {"chatId": "ben"}))
    assert 850 <= chat["missed"] < 900
    for _ in range(10):
        page.mouse.move(800, 400)
        page.mouse.wheel(0, 2_000)
        page.wait_for_timeout(60)
    shown = [int(text.removeprefix("new ")) for text in texts(page)]
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('new 899')")
    until(page, "!document.querySelector('[data-chat=ben] .badge')")


def test_a_chat_read_in_part_before_opens_where_one_stopped(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"new {at}" for at in range(250)))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".divider-new")
    # To the end of what is loaded and back: what this device keeps then begins in the midst of what is unread.
    page.evaluate(LOOK_AWAY, True)
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('new 249')")
    page.wait_for_timeout(1_200)
    page.close()
    ben.say("anna", *(f"new {at}" for at in range(250, 450)))
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]:has-text('new 449')")
    [chat] = anna.ask(("chat", {"chatId": "ben"}))
    open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert str(chat["missed"]) in divider.inner_text()
    assert page.inner_text(".divider-new + .message .text") == f"new {450 - chat['missed']}"
    until(page, f"({IN_VIEW})('.divider-new')")


def test_what_comes_while_one_is_away_is_not_taken_for_read(person: Any) -> None:
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


def test_older_pages_do_not_move_what_one_reads(person: Any) -> None:
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


def test_news_do_not_pull_one_down_who_reads_further_up(person: Any) -> None:
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


def test_an_interruption_does_not_move_what_one_reads(person: Any, relay: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"before {at}" for at in range(250)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('before 249')")
    page.wait_for_timeout(400)
    wheel_up(page, 12)
    before = page.evaluate(PLACE)
    # Another tab of this browser takes what comes meanwhile, so that none of it is repeated to this one.
    other = anna.chats()
    other.wait_for_selector("[data-chat=ben]")
    page.evaluate(CUT)
    relay.stop()
    relay.start()
    ben.say("anna", *(f"meanwhile {at}" for at in range(700)))
    other.wait_for_selector("[data-chat=ben]:has-text('meanwhile 699')")
    other.wait_for_timeout(500)
    other.close()
    # All of it is read elsewhere: there is no first unread message to go on from.
    anna.ask(("read", {"chatId": "ben"}))
    page.evaluate("window.cut = false")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector("[data-chat=ben]:has-text('meanwhile 699')")
    page.wait_for_timeout(1_000)
    assert page.evaluate(PLACE) == before
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('meanwhile 699')")


def test_an_answer_far_back_leads_to_the_end(person: Any) -> None:
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


def test_a_growing_composer_leaves_the_end_in_view(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"line {at}" for at in range(60)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('line 59')")
    page.fill(".composer textarea", "a\nb\nc\nd\ne")
    page.wait_for_timeout(200)
    assert page.evaluate(IN_VIEW, ".message:last-child")


# ---------------------------------------------------------------- 3: read marks


def _status_once_delivered(page: Any, sender: Any) -> str:
    """Give the status of the sender's last message to anna; its acknowledgement may take a while on a busy machine."""
    for _ in range(100):
        status: str = sender.ask(("messages", {"chatId": "anna"}))[0][-1]["status"]
        if status != "undelivered":
            return status
        page.wait_for_timeout(100)
    return status


def test_read_marks_wait_for_a_window_that_is_looked_at(person: Any) -> None:
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
    page.wait_for_timeout(200)
    assert ben.ask(("messages", {"chatId": "anna"}))[0][-1]["status"] == "read"


# ---------------------------------------------------------------- 4: phones


def test_on_a_phone_the_keyboard_waits_for_a_tap(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement?.tagName") != "TEXTAREA"
    assert page.locator(".chat-list").is_hidden()
    page.go_back()
    assert page.locator(".chat-list").is_visible()


def test_back_closes_what_lies_on_top_and_nothing_below_it(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.click(".chat-title")
    page.wait_for_selector(".column-details .panel")
    page.click(".list-button:has-text('Search in this chat')")
    page.wait_for_selector(".modal")
    page.go_back()
    page.wait_for_selector(".modal", state="detached")
    page.wait_for_timeout(300)
    assert page.locator(".column-details .panel").is_visible()
    assert "panel=details" in page.url
    # An address that somebody types is where they want to go.
    page.click(".list-button:has-text('Search in this chat')")
    page.wait_for_selector(".modal")
    page.evaluate("location.hash = 'panel=settings'")
    page.wait_for_selector(".column-list .panel")
    assert page.locator(".modal").count() == 0
    page.go_back()
    page.wait_for_selector(".column-details .panel")
    page.go_back()
    page.wait_for_selector(".column-details .panel", state="detached")
    assert page.locator(".conversation").is_visible()
    page.go_back()
    page.wait_for_selector(".conversation", state="detached")
    assert page.locator(".chat-list").is_visible()


def test_on_a_phone_a_field_gets_the_focus_from_a_finger_only(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.tap(".composer textarea")
    # Some browsers leave the focus where it is when a button is tapped.
    page.evaluate("document.querySelector('.chat-title').click()")
    page.wait_for_selector(".column-details .panel")
    page.go_back()
    page.wait_for_selector(".column-details .panel", state="detached")
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement?.tagName") != "TEXTAREA"


def test_on_a_phone_enter_breaks_the_line_and_the_button_sends(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.tap(".composer textarea")
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type("two")
    assert page.input_value(".composer textarea") == "one\ntwo"
    page.tap(".send")
    page.wait_for_selector(".is-mine .text")
    assert texts(page)[-1] == "one\ntwo"


def test_a_long_press_opens_a_menu_that_can_be_closed_and_opened_again(person: Any) -> None:
    person("ben").say("anna", "one", "two")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('two')")
    fingers = page.context.new_cdp_session(page)

    def press(text: str, *, menu_of_the_system: bool) -> None:
        box = page.locator(f".bubble:has-text('{text}')").bounding_box()
        place = {"x": box["x"] + 12, "y": box["y"] + 12}
        fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [place]})
        page.wait_for_timeout(450)
        if menu_of_the_system:
            page.locator(f".bubble:has-text('{text}')").dispatch_event(
                "contextmenu", {"clientX": place["x"], "clientY": place["y"], "cancelable": True}
            )
        page.wait_for_timeout(450)
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(200)
        assert page.locator("[role=menu]").is_visible()

    for menu_of_the_system in (True, False, True):
        press("one", menu_of_the_system=menu_of_the_system)
        page.keyboard.press("Escape")
        page.wait_for_selector("[role=menu]", state="detached")
    press("two", menu_of_the_system=False)
    page.touchscreen.tap(200, 20)
    page.wait_for_selector("[role=menu]", state="detached")


def test_nothing_is_wider_than_a_phone(person: Any) -> None:
    person("ben").say("anna", "x" * 3_000, "https://example.org/" + "y" * 500, "```\n" + "z" * 400 + "\n```")
    page = person("anna", **PHONE).chats()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_chat(page, "ben")
    page.wait_for_selector("pre")
    assert page.evaluate("document.querySelector('.messages > .scroll').scrollWidth") <= 390


# ---------------------------------------------------------------- 5, 6: connections and the outbox


def test_a_dead_connection_is_noticed_on_waking_and_said_after_two_seconds(person: Any, relay: Any) -> None:
    ben = person("ben")
    ben.say("anna", "hello")
    page = person("anna").chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    relay.freeze()
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_timeout(1_500)
    assert page.locator(".connection").count() == 0
    page.wait_for_selector(".connection", timeout=9_000)
    relay.thaw()
    page.wait_for_selector(".connection", state="detached", timeout=15_000)
    ben.say("anna", "awake again")
    page.wait_for_selector(".text:has-text('awake again')")


def test_what_is_written_offline_survives_the_tab_and_is_sent_once(person: Any, relay: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    relay.stop()
    write(page, "from the tunnel")
    page.wait_for_selector(".is-mine .ticks-queued")
    page.wait_for_timeout(300)
    page.close()
    relay.start()
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben] .ticks-sent")
    open_chat(page, "ben")
    page.wait_for_selector(".is-mine .ticks-sent")
    sent = [one.get("message") for one in ben.ask(("messages", {"chatId": "anna"}))[0]]
    assert sent.count("from the tunnel") == 1


def test_a_file_that_waits_goes_out_of_another_tab_when_its_own_closes(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    one = anna.chats()
    two = anna.chats()
    for page in (one, two):
        open_chat(page, "ben")
        page.wait_for_selector(".text:has-text('hello')")
    # What the dialog is made of has come before the connection goes.
    one.bring_to_front()
    one.locator(".text:has-text('hello')").click(button="right")
    one.wait_for_selector("[role=menu]")
    one.keyboard.press("Escape")
    relay.stop()
    one.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    one.click(".modal .button:has-text('Send')")
    two.wait_for_selector(".is-mine .file.is-waiting")
    one.wait_for_timeout(300)
    one.close()
    relay.start()
    two.wait_for_selector(".is-mine a.file")
    assert [len(one.get("attachments", [])) for one in anna.ask(("messages", {"chatId": "ben"}))[0]] == [0, 1]


def test_what_waits_for_a_connection_can_be_taken_back(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    # What menus are made of has come before the connection goes.
    page.locator(".text:has-text('hello')").click(button="right")
    page.wait_for_selector("[role=menu]")
    page.keyboard.press("Escape")
    relay.stop()
    page.wait_for_timeout(300)
    write(page, "not meant")
    page.locator(".is-mine:has-text('not meant')").click(button="right")
    page.click("[role=menuitem]:has-text('Discard')")
    page.wait_for_selector(".is-mine:has-text('not meant')", state="detached")
    relay.start()
    page.wait_for_selector(".connection", state="detached", timeout=15_000)
    page.wait_for_timeout(500)
    assert len(anna.ask(("messages", {"chatId": "ben"}))[0]) == 1


def test_a_page_without_a_relay_still_shows_what_it_knows(person: Any, relay: Any) -> None:
    anna = person("anna")
    person("ben").say("anna", "kept")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('kept')")
    page.wait_for_timeout(1_200)
    page.evaluate("window.stayed = true")
    relay.stop()
    page.keyboard.press("Escape")
    page.wait_for_selector(".nothing")
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('kept')")
    relay.start()
    page.wait_for_selector(".connection", state="detached", timeout=15_000)
    assert page.evaluate("window.stayed")


def test_the_page_opens_without_a_network_once_it_was_there(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "written before")
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]")
    until(page, "navigator.serviceWorker.getRegistration().then((one) => Boolean(one?.active))")
    page.wait_for_timeout(1_200)
    relay.stop()
    page.reload()
    page.wait_for_selector("[data-chat=ben]:has-text('written before')")
    page.wait_for_selector(".connection")


def test_the_state_of_a_message_goes_from_sent_to_read(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    write(page, "are you there?")
    page.wait_for_selector(".message.is-mine:last-child .ticks-sent")
    other = ben.chats()
    page.wait_for_selector(".message.is-mine:last-child .ticks-delivered")
    open_chat(other, "anna")
    page.wait_for_selector(".message.is-mine:last-child .ticks-read")
    assert "Read" in page.locator(".message.is-mine:last-child .ticks").inner_text()


def test_a_refused_message_says_why_and_offers_to_try_again(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_timeout(300)
    page.evaluate(SPOIL)
    write(page, "forbidden words")
    failed = page.wait_for_selector(".failed")
    assert "Try again" in failed.inner_text()
    page.click(".failed button:has-text('Discard')")
    page.wait_for_selector(".failed", state="detached")


def test_what_is_too_long_is_said_and_holds_nothing_up(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    for field in (".chat-list input[type=search]", ".modal input[type=search]"):
        if "modal" in field:
            page.click("[aria-label='Search in this chat']")
        page.focus(field)
        page.keyboard.insert_text("x" * 300_000)
        assert len(page.input_value(field)) <= 256
        page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.fill(".modal textarea", "x" * 300_000)
    page.click(".modal .button:has-text('Send')")
    assert "32,000" in page.wait_for_selector(".modal .form-error").inner_text()
    page.fill(".modal textarea", "short")
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine a.file")
    page.wait_for_selector(".message.is-mine:last-child .ticks-sent")


def test_a_message_kept_from_before_that_is_too_large_does_not_hold_up_the_others(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.evaluate(KEEP_LARGE)
    page.reload()
    failed = page.wait_for_selector(".failed")
    assert "too large" in failed.inner_text()
    write(page, "after the large one")
    page.wait_for_selector(".is-mine:has-text('after the large one') .ticks-sent")
    page.click(".failed button:has-text('Discard')")
    page.wait_for_selector(".failed", state="detached")


def test_a_message_over_a_relays_small_limit_is_refused_without_losing_the_connection(
    person: Any, relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_LIMITS_FRAME_BYTES", "8192")
    relay.stop()
    relay.start()
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    later_sockets: list[str] = []
    page.on("websocket", lambda socket: later_sockets.append(socket.url))
    write(page, "x" * 9_000)
    assert "too large" in page.wait_for_selector(".failed").inner_text()
    write(page, "after the large one")
    page.wait_for_selector(".is-mine:has-text('after the large one') .ticks-sent")
    assert later_sockets == []


# ---------------------------------------------------------------- 7: several tabs


def test_what_was_typed_last_is_there_after_a_reload(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.keyboard.type("half a thought")
    page.reload()
    page.wait_for_selector(".composer textarea")
    assert page.input_value(".composer textarea") == "half a thought"


def test_two_tabs_agree_on_messages_drafts_and_badges(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "hello")
    one = anna.chats()
    two = anna.chats()
    assert badge(two, "ben") == "1"
    open_chat(one, "ben")
    until(two, "!document.querySelector('[data-chat=ben] .badge')")
    one.fill(".composer textarea", "half a thought")
    two.wait_for_selector("[data-chat=ben] .is-draft")
    write(one, "a whole one")
    two.wait_for_selector("[data-chat=ben]:has-text('a whole one')")
    open_chat(two, "ben")
    two.wait_for_selector(".is-mine .text:has-text('a whole one')")
    assert two.locator(".is-mine").count() == 1


def test_a_tab_is_quiet_while_the_person_looks_at_another(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    anna.context.add_init_script(COUNT_SOUNDS)
    ben.say("anna", "hello")
    one = anna.chats()
    two = anna.chats()
    open_chat(two, "ben")
    two.wait_for_selector(".text:has-text('hello')")
    one.wait_for_selector("[data-chat=ben] .badge", state="detached")
    one.evaluate(LOOK_AWAY, True)
    # The first message came just before the tab was opened, so that it may have been heard there.
    heard = one.evaluate("window.sounds")
    ben.say("anna", "you see this")
    two.wait_for_selector(".text:has-text('you see this')")
    one.wait_for_timeout(1_500)
    assert one.evaluate("window.sounds") == heard
    two.evaluate(LOOK_AWAY, True)
    ben.say("anna", "you do not see this")
    until(one, f"window.sounds > {heard}")


def test_two_devices_agree_on_badges(person: Any) -> None:
    ben, phone, desk = person("ben"), person("anna", **PHONE), person("anna")
    ben.say("anna", "hello")
    on_phone, on_desk = phone.chats(), desk.chats()
    on_phone.wait_for_selector("[data-chat=ben] .badge")
    open_chat(on_desk, "ben")
    on_phone.wait_for_selector("[data-chat=ben] .badge", state="detached")
    write(on_desk, "from the desk")
    on_phone.wait_for_selector("[data-chat=ben]:has-text('from the desk')")


# ---------------------------------------------------------------- 8: keys


def test_everything_is_reached_by_keys(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "to ben")
    anna.say("carla", "to carla")
    page = anna.chats()
    page.wait_for_selector("[data-chat=carla]")
    page.keyboard.press("Control+k")
    page.keyboard.type("ben")
    page.wait_for_selector(".modal .person:has-text('Ben')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chat-title-name:has-text('Ben')")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    page.wait_for_selector(".ticks-sent")
    assert texts(page)[-1] == "one\ntwo"
    page.wait_for_timeout(200)
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(".what")
    page.keyboard.press("End")
    page.keyboard.type(" more")
    page.keyboard.press("Enter")
    page.wait_for_selector(".edited")
    assert texts(page)[-1] == "one\ntwo more"
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".chat-title-name:has-text('Carla')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".nothing")
    page.locator(".nothing").click()
    page.keyboard.press("?")
    page.wait_for_selector(".keys")
    page.keyboard.press("Escape")
    page.wait_for_selector(".keys", state="detached")


def test_the_focus_goes_along_and_comes_back(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna").chats()

    def focus_is_on(selector: str) -> None:
        until(page, f"document.activeElement.matches({selector!r})")

    def press(selector: str, key: str = "Enter") -> None:
        page.wait_for_selector(selector)
        page.locator(selector).press(key)

    press("[data-chat=ben]")
    focus_is_on(".composer textarea")
    press(".chat-title")
    focus_is_on(".panel[aria-label='About Ben Okafor']")
    press(".panel", "Escape")
    focus_is_on(".chat-title")
    press(".chat-title", "Escape")
    focus_is_on("[data-chat=ben]")
    press("[aria-label='New chat']")
    focus_is_on(".panel[aria-label='New chat']")
    press(".panel .list-button:has-text('New group')")
    focus_is_on(".panel input[name=name]")
    press(".panel input[name=name]", "Escape")
    focus_is_on(".panel[aria-label='New chat']")
    page.fill(".panel input[type=search]", "carla")
    press(".panel input[type=search]", "Escape")
    assert page.input_value(".panel input[type=search]") == ""
    press(".panel input[type=search]", "Escape")
    focus_is_on(".chat-list [aria-label='New chat']")


def test_a_file_sent_meanwhile_leaves_an_edit_as_it_is(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.press(".composer textarea", "ArrowUp")
    page.wait_for_selector(".what")
    page.fill(".composer textarea", "hello again")
    page.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine a.file")
    assert page.input_value(".composer textarea") == "hello again"
    page.press(".composer textarea", "Enter")
    page.wait_for_selector(".edited")
    assert texts(page) == ["hello again"]


def test_the_menu_of_the_keyboard_is_beside_the_message(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.focus(".messages > .scroll")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    menu, bubble = page.wait_for_selector("[role=menu]"), page.query_selector(".bubble")
    assert abs(menu.bounding_box()["x"] - bubble.bounding_box()["x"]) < 200


def test_a_message_is_answered_and_deleted_from_the_keyboard(person: Any) -> None:
    anna = person("anna")
    person("ben").say("anna", "question?")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('question?')")
    page.focus(".messages > .scroll")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=menu]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".what:has-text('Ben')")
    page.keyboard.type("answer!")
    page.keyboard.press("Enter")
    page.wait_for_selector(".is-mine .quote:has-text('question?')")
    page.wait_for_selector(".is-mine .ticks-sent")
    page.focus(".messages > .scroll")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.click("[role=menuitem]:has-text('Delete')")
    page.click(".modal .is-danger")
    page.wait_for_selector(".is-mine .is-deleted")


def test_what_the_arrows_mark_in_a_finder_is_told(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "to ben")
    anna.say("carla", "to carla")
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal [role=listbox] [role=option]")
    marked = """() => {
      const field = document.activeElement;
      const option = document.getElementById(field.getAttribute('aria-activedescendant'));
      return [field.getAttribute('role'), option.getAttribute('aria-selected'), option.innerText];
    }"""
    assert page.evaluate(marked)[:2] == ["combobox", "true"]
    assert "Carla" in page.evaluate(marked)[2]
    page.keyboard.press("ArrowDown")
    until(page, f"({marked})()[2].includes('Ben')")


def test_a_letter_over_an_open_menu_leaves_it_closable(person: Any) -> None:
    anna = person("anna")
    person("ben").say("anna", "question?")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('question?')")
    page.focus(".messages > .scroll")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=menu]")
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=menu]", state="detached")


def test_walking_through_messages_says_them(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "is the `boat` ready?")
    anna.say("ben", "nearly")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('nearly')")
    page.focus(".messages > .scroll")
    spoken = []
    for _ in range(2):
        page.keyboard.press("ArrowUp")
        spoken.append(page.evaluate("document.activeElement.ariaLabel"))
    assert re.fullmatch(r"You, nearly, Today \d{1,2}:\d\d, (Sent|Delivered)", spoken[0])
    assert re.fullmatch(r"Ben Okafor, is the boat ready\?, Today \d{1,2}:\d\d", spoken[1])


# ---------------------------------------------------------------- 9: what a message looks like


def test_messages_group_and_text_is_only_ever_text(person: Any) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"> javascript:alert(1) <b>bold</b>"
    ben = person("ben")
    ben.say("anna", "one", "two", attack, "see https://example.org/a(b).", "use `x < 1`", "👍🏽", "سلام دنیا")
    anna = person("anna")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".is-emoji")
    assert page.locator(".day").count() == 1
    assert page.locator(".message.starts").count() == 1
    assert page.locator(".message.ends").count() == 1
    assert attack in texts(page)
    assert page.locator(".message img, .message b").count() == 0
    link = page.locator(".text a")
    assert link.get_attribute("href") == "https://example.org/a(b)"
    assert "noopener" in link.get_attribute("rel")
    assert page.locator(".text code").inner_text() == "x < 1"
    assert page.locator(".text p[dir=auto]").count() > 0
    assert page.evaluate("getComputedStyle([...document.querySelectorAll('.text p')].at(-1)).direction") == "rtl"
    assert [problem for problem in anna.problems if "Trusted" not in problem] == []


def test_the_quote_of_a_deleted_message_says_so(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "take that back", "keep that")
    anna.ask(("new", {"chatId": "ben", "message": "an answer", "replyTo": 1}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".quote:has-text('take that back')")
    ben.ask(("delete", {"chatId": "anna", "messageId": 1}))
    page.wait_for_selector(".quote:has-text('Message deleted')")
    page.wait_for_timeout(1_000)
    page.reload()
    page.wait_for_selector(".quote:has-text('Message deleted')")
    # On a device that has nothing yet, and far from the message itself.
    ben.say("anna", *(f"later {at}" for at in range(200)))
    other = person("anna").open("/#chat=ben")
    other.wait_for_selector(".message")
    other.click(".to-end") if other.locator(".to-end").count() else None
    for _ in range(40):
        if other.locator(".quote").count():
            break
        wheel_up(other, 4)
    assert other.inner_text(".quote .quote-text") == "Message deleted"


def test_what_is_said_of_times_keeps_up_with_the_time(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "see you")
    anna.context.clock.install()
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".day:has-text('Today')")
    assert re.fullmatch(r"\d{1,2}:\d\d", page.inner_text("[data-chat=ben] .chat-row-time"))
    page.clock.fast_forward("48:00:00")
    page.wait_for_selector(".day:has-text('Today')", state="detached")
    assert re.fullmatch(r"[A-Z][a-z]{2}", page.inner_text("[data-chat=ben] .chat-row-time"))
    assert "Today" not in page.get_attribute(".message", "aria-label")


def test_text_grows_with_the_size_the_person_has_set(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    size = "parseFloat(getComputedStyle(document.querySelector('.text')).fontSize)"
    page.wait_for_selector(".text")
    assert page.evaluate(size) == 15
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    assert page.evaluate(size) == 30


def test_each_message_is_announced(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    ben.say("anna", "one", "two", "three", "three")
    until(page, "document.querySelectorAll('[role=log] p').length === 4")
    said = [f"Ben Okafor: {text}" for text in ("one", "two", "three", "three")]
    assert page.locator("[role=log] p").all_text_contents() == said


# ---------------------------------------------------------------- 10: elsewhere


def test_the_title_counts_and_nobody_is_asked_about_notifications_unasked(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    anna.context.add_init_script(REFUSE)
    ben.say("anna", "one", "two")
    page = anna.chats()
    until(page, "document.title.startsWith('(2)')")
    assert page.evaluate("document.querySelector('link[rel=icon]').href").startswith("data:image/png")
    page.wait_for_timeout(300)
    assert page.evaluate("window.asked") is None
    page.click(".me")
    page.click(".setting:has-text('Turn on notifications') input")
    until(page, "window.asked === true")
    page.wait_for_selector(".notice.is-error")


# ---------------------------------------------------------------- 11: the first steps


def test_an_empty_list_says_what_to_do(person: Any) -> None:
    page = person("ben").chats()
    page.wait_for_selector(".empty")
    assert page.locator("text=Invite people").count() == 0
    page.click("text=Write to someone")
    page.click(".person:has-text('Anna')")
    page.wait_for_selector(".hello")
    page.keyboard.type("hi")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-chat=anna] .ticks-sent")


def test_an_invite_leads_in_and_asks_for_a_name(person: Any) -> None:
    page = person("anna").chats()
    page.click("text=Invite people")
    page.fill(".modal input[name=name]", "Nora")
    page.click(".modal .button:has-text('Make a link')")
    page.wait_for_selector("svg.qr path")
    link = page.input_value(".copy-field input")
    guest = person(None)
    came = guest.open("/" + link[link.index("#") :])
    came.click("text=Join")
    came.wait_for_selector(".modal input[name=name]")
    assert "invite" not in came.url
    came.fill(".modal input[name=name]", "Nora Ní Dhomhnaill")
    came.click("text=Start chatting")
    came.wait_for_selector(".modal", state="detached")
    came.click("text=Write to someone")
    came.wait_for_selector(".person:has-text('Anna')")
    again = person(None).open("/" + link[link.index("#") :])
    again.click("text=Join")
    assert "Ask for a new link" in again.wait_for_selector(".form-error").inner_text()


@pytest.mark.parametrize("chat", ["nobody", "x" * 200])
def test_a_link_to_a_chat_that_is_not_there_says_so(person: Any, chat: str) -> None:
    person("ben").say("anna", "hello")
    anna = person("anna")
    page = anna.open(f"/#chat={chat}")
    page.wait_for_selector(".notice:has-text('no longer exists')")
    page.wait_for_selector(".nothing")
    # The list is known now, and the page as it was.
    page.evaluate("(chat) => { location.hash = `chat=${chat}`; }", chat)
    until(page, "location.hash === ''")
    page.wait_for_selector(".nothing")
    page.wait_for_selector("[data-chat=ben]")
    # Somebody one has not written to yet is no such chat.
    page.goto(anna.relay.url + "/#chat=carla")
    page.wait_for_selector(".hello")
    page.wait_for_timeout(500)
    write(page, "hello, Carla")
    page.wait_for_selector(".is-mine .ticks-sent")


# ---------------------------------------------------------------- 12: groups, search, files, devices


def test_a_group_is_made_and_managed(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    page = anna.chats()
    page.click(".column-list .bar .is-accent")
    page.click("text=New group")
    page.fill("input[name=name]", "Harbour crew")
    page.check(".person:has-text('Ben') input")
    page.click("text=Create")
    page.wait_for_selector(".chat-title-name:has-text('Harbour crew')")
    other = ben.chats()
    other.click(".chat-row:has-text('Harbour crew')")
    write(page, "welcome aboard")
    other.wait_for_selector(".author:has-text('Anna')")
    page.wait_for_selector(".is-mine .ticks-read")
    page.click(".chat-title")
    page.click("text=Add members")
    page.check(".person:has-text('Мария') input")
    page.click(".panel-foot .button")
    page.wait_for_selector(".person:has-text('Мария')")
    page.click("[aria-label='Make Ben Okafor an admin']")
    page.wait_for_selector(".person:has-text('Ben') .tag")
    page.click("[aria-label='Remove Ben Okafor']")
    page.click(".modal .is-danger")
    other.wait_for_selector(".lost:has-text('Anna Lindqvist removed you from “Harbour crew”')")
    page.click("text=Delete for everybody")
    page.click(".modal .is-danger")
    page.wait_for_selector(".chat-row:has-text('Harbour crew')", state="detached")


def test_a_search_leads_to_the_message(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "the needle is here", *(f"hay {at}" for at in range(350)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    page.fill("input[type=search]", "needle")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash:has-text('needle')")
    assert page.evaluate(IN_VIEW, ".message.is-flash")
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('hay 349')")


def test_one_character_is_searched_for_where_it_is_a_word(person: Any) -> None:
    person("ben").say("anna", "我 有 猫")
    page = person("anna").chats()
    page.wait_for_selector("[data-chat=ben]")
    page.fill("input[type=search]", "猫")
    page.wait_for_selector(".hit mark:has-text('猫')")
    # What was not asked is not said to be nowhere.
    page.fill("input[type=search]", "q")
    page.wait_for_selector(".hit", state="detached")
    page.wait_for_selector(".none:has-text('Type more to search the messages')")


def test_a_word_is_marked_however_it_was_typed(person: Any) -> None:
    person("ben").say("anna", "alle Wege führen über die Große Straße")
    page = person("anna").chats()
    page.wait_for_selector("[data-chat=ben]")
    page.fill("input[type=search]", "GROSSE STRASSE")
    page.wait_for_selector(".hit mark:has-text('Große')")
    page.wait_for_selector(".hit mark:has-text('Straße')")


def test_two_people_of_one_look_alike_name_are_told_apart_by_their_ids(person: Any, relay: Any) -> None:
    # The second one's first letter is Cyrillic; an admin may name people as they are called.
    for user, name in (("eve1", "Eve Park"), ("eve2", "\u0415ve park")):
        run("user", "add", user, "--name", name, data=relay.data)
    page = person("anna").chats()
    page.click(".column-list .bar .is-accent")
    page.wait_for_selector(".person:has-text('Eve Park @eve1')")
    page.wait_for_selector(".person:has-text('park @eve2')")
    assert page.locator(".person:has-text('Ben Okafor @')").count() == 0
    page.click(".person:has-text('Eve Park @eve1')")
    page.wait_for_selector(".chat-title-name:has-text('Eve Park @eve1')")


def test_an_invite_opened_by_somebody_who_is_here_says_what_to_do(person: Any) -> None:
    anna = person("anna")
    page = anna.open("/#invite=made-up")
    page.wait_for_selector(".chat-list")
    assert "invite" not in page.url
    page = anna.chats()
    # Once the page is there: it is said for some seconds only.
    page.evaluate("location.hash = 'invite=made-up'")
    page.wait_for_selector(".notice:has-text('signed in as Anna Lindqvist')")
    assert "invite" not in page.url


def test_a_picture_goes_out_with_its_place_kept(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "send it")
    page = anna.chats()
    open_chat(page, "ben")
    picture = {"name": "größe & co.png", "mimeType": "image/png", "buffer": PIXEL}
    page.set_input_files(".composer input[type=file]", [picture])
    page.fill(".modal textarea", "here")
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine .picture img[src^='/files/']")
    other = ben.chats()
    open_chat(other, "anna")
    shown = other.wait_for_selector(".picture img")
    assert shown.get_attribute("alt") == "größe & co.png"
    assert other.locator(".picture").evaluate("(one) => one.getBoundingClientRect().height") >= 48
    other.click(".picture")
    other.wait_for_selector(".viewer img")
    other.keyboard.press("Escape")
    other.wait_for_selector(".viewer", state="detached")


def test_a_file_is_taken_only_where_one_may_write(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    [channel] = anna.ask(("createChat", {"type": "channel", "name": "Notices", "participants": ["ben"]}))
    anna.say(channel["chatId"], "read this")
    for someone, writes in ((ben, False), (anna, True)):
        page = someone.chats()
        open_chat(page, channel["chatId"])
        page.wait_for_selector(".composer" if writes else ".read-only")
        assert page.evaluate(DROP_FILE) is False
        page.wait_for_timeout(300)
        assert page.locator(".modal").count() == int(writes)


def test_text_is_pasted_as_text_though_a_picture_of_it_comes_along(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    assert page.evaluate(PASTE, ["1\t2\n3\t4", "image.png"]) is True
    page.wait_for_timeout(200)
    assert page.locator(".modal").count() == 0
    # A file manager puts the name beside the file, or where it lies.
    for text in ("", "boat.png", "/home/anna/boat.png"):
        assert page.evaluate(PASTE, [text, "boat.png"]) is False
        page.wait_for_selector(".modal .files")
        page.keyboard.press("Escape")
        page.wait_for_selector(".modal", state="detached")


def test_text_can_be_dragged_into_the_composer(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "carry me over")
    page = anna.chats()
    open_chat(page, "ben")
    text = page.locator(".text:has-text('carry') p").bounding_box()
    field = page.locator(".composer textarea").bounding_box()
    page.mouse.click(text["x"] + 30, text["y"] + 8, click_count=3)
    page.mouse.move(text["x"] + 30, text["y"] + 8)
    page.mouse.down()
    page.mouse.move(field["x"] + 40, field["y"] + 8, steps=8)
    page.mouse.up()
    assert "carry me over" in page.input_value(".composer textarea")


def test_typing_and_presence_are_seen(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    anna.say("ben", "hello")
    page, other = anna.chats(), ben.chats()
    open_chat(page, "ben")
    open_chat(other, "anna")
    page.wait_for_selector(".chat-title-sub .is-online")
    other.type(".composer textarea", "hm")
    page.wait_for_selector(".chat-title-sub .is-typing")
    other.close()
    page.wait_for_selector(".chat-title-sub .is-typing", state="detached")
    page.wait_for_selector(".chat-title-sub .is-online", state="detached")


def test_a_device_can_be_signed_out_from_another(person: Any) -> None:
    one, two = person("ben"), person("ben")
    page, other = one.chats(), two.chats()
    page.click(".me")
    page.wait_for_selector("[aria-label=Devices] .person")
    page.locator("[aria-label=Devices] [aria-label='Sign out']").first.click()
    page.click(".modal .is-danger")
    other.wait_for_selector(".signin")
    page.click(".list-button:has-text('Sign out')")
    page.click(".modal .is-danger")
    page.wait_for_selector(".signin")
    assert page.evaluate("localStorage.getItem('session')") is None


def test_signing_out_leaves_nothing_that_was_being_written_in_another_tab(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page, other = anna.chats(), anna.chats()
    open_chat(other, "ben")
    other.wait_for_selector(".text:has-text('hello')")
    other.fill(".composer textarea", "half a thought")
    assert "half a thought" in page.evaluate("JSON.stringify(localStorage)")
    page.click(".me")
    page.click(".list-button:has-text('Sign out')")
    page.click(".modal .is-danger")
    for one in (other, page):
        one.wait_for_selector(".signin")
    assert "half a thought" not in other.evaluate("JSON.stringify(localStorage)")


@pytest.mark.parametrize("code", ["de", "es", "fr", "ru", "zh"])
def test_the_page_speaks_the_persons_language(person: Any, code: str) -> None:
    page = person(None, locale=code).open()
    page.wait_for_selector(".signin form")
    assert page.evaluate("document.documentElement.lang") == code
    assert not re.search(r"\b[a-z]+\.[a-zA-Z]+\b", page.inner_text(".signin"))


def test_the_theme_can_be_switched(person: Any) -> None:
    page = person("ben", color_scheme="light").chats()
    page.click(".me")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.select_option(".setting:has-text('Appearance') select", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.reload()
    page.wait_for_selector(".chat-list", state="attached")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
