"""The messages of a chat in a browser: loading, the opening position, and changes by others meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.page_actions import COUNT_SOUNDS, CUT, IN_VIEW, badge, open_chat, texts, until, wheel_up, write

DESKTOP: dict[str, Any] = {}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("change", ["edit", "delete"])
def test_a_chat_that_ends_in_many_changes_shows_the_next_message(person: Any, change: str) -> None:
    anna, ben = person("anna"), person("ben")
    if change == "edit":
        anna.say("ben", "progress 0")
        edits = ({"chatId": "ben", "originalMessageId": 1, "message": f"progress {at}"} for at in range(1, 401))
        anna.ask(*(("edit", one) for one in edits))
    else:
        anna.say("ben", *(f"item {at}" for at in range(170)))
        anna.ask(*(("delete", {"chatId": "ben", "originalMessageId": at}) for at in range(1, 171)))
    ben.ask(("read", {"chatId": "anna"}))
    page = ben.open("/#chat=anna")
    page.wait_for_selector(".message")
    if change == "edit":
        page.wait_for_selector(".message .text:has-text('progress ')")
    until(page, "!document.querySelector('.to-end')")
    anna.say("ben", "and now the next")
    page.wait_for_selector(".text:has-text('and now the next')")
    until(page, f"({IN_VIEW})('.message:last-child')")
    until(page, "!document.querySelector('[data-chat=anna] .badge')")
    # The page shows at once what it has read, and the relay knows it a moment later.
    for _ in range(100):
        [chat] = ben.ask(("chat", {"chatId": "anna"}))
        if not chat["missed"]:
            break
        page.wait_for_timeout(100)
    assert chat["missed"] == 0


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_chat_left_far_back_opens_at_its_first_unread_message(person: Any, device: dict[str, Any]) -> None:
    ben, anna = person("ben"), person("anna", **device)
    person("carla").say("anna", "hello")
    ben.say("anna", "the needle is here", *(f"line {at}" for at in range(400)))
    anna.ask(("read", {"chatId": "ben"}), ("read", {"chatId": "carla"}))
    page = anna.chats()
    page.fill("input[type=search]", "needle")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash:has-text('needle')")
    page.wait_for_timeout(300)
    if device:
        page.click(".chat-bar .icon-button[aria-label=Back], .chat-bar .only-narrow")
        page.wait_for_selector(".chat-list")
    page.fill("input[type=search]", "")
    open_chat(page, "carla")
    page.wait_for_selector(".text:has-text('hello')")
    ben.say("anna", "news 1", "news 2")
    if device:
        page.click(".chat-bar .only-narrow")
    until(page, "document.querySelector('[data-chat=ben] .badge [aria-hidden]')?.textContent === '2'")
    open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert "2" in divider.inner_text()
    assert page.inner_text(".divider-new + .message .text") == "news 1"
    until(page, f"({IN_VIEW})('.message:last-child')")
    assert texts(page)[-1] == "news 2"
    until(page, "!document.querySelector('[data-chat=ben] .badge')")


def test_messages_arriving_while_reading_far_back_stay_unread(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "the needle is here", *(f"line {at}" for at in range(300)))
    anna.say("ben", "my last")
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.context.new_page()
    page.add_init_script(COUNT_SOUNDS)
    page.goto(anna.relay.url)
    page.wait_for_selector(".chat-list")
    page.fill("input[type=search]", "needle")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash:has-text('needle')")
    page.fill("input[type=search]", "")
    # ↑ edits the last message at the end of the chat; old messages are never the last one.
    page.focus(".composer textarea")
    page.keyboard.press("ArrowUp")
    page.wait_for_timeout(100)
    assert page.locator(".what").count() == 0
    ben.say("anna", "are you there?")
    page.wait_for_selector(".to-end .badge")
    until(page, "window.sounds > 0")
    assert badge(page, "ben") == "1"
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('are you there?')")
    until(page, "!document.querySelector('[data-chat=ben] .badge')")
    page.focus(".composer textarea")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(".what:has-text('my last')")


def test_reply_quotes_its_message_as_of_sending(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    anna.say("ben", "meet at three", "the gate code is 1234")
    page = ben.chats()
    open_chat(page, "anna")
    for message_id, name in ((1, "three"), (2, "1234")):
        page.hover(f".message:has-text('{name}')")
        page.click(f"[data-id='{message_id}'] button[aria-label=Reply]")
        page.wait_for_selector(f".what:has-text('{name}')")
        if message_id == 1:
            anna.ask(("edit", {"chatId": "ben", "originalMessageId": 1, "message": "meet at FOUR"}))
            page.wait_for_selector(".what:has-text('meet at FOUR')")
        else:
            anna.ask(("delete", {"chatId": "ben", "originalMessageId": 2}))
            page.wait_for_selector(".what:has-text('Message deleted')")
        write(page, f"answer {message_id}")
        page.wait_for_selector(f".is-mine[data-id]:has-text('answer {message_id}')")
    quotes = page.locator(".is-mine .quote-text").all_inner_texts()
    assert quotes == ["meet at FOUR", "Message deleted"]
    assert "1234" not in page.inner_text(".conversation")


def test_changes_during_another_tabs_turn_are_shown_on_return(person: Any, relay: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "the gate code is 1234", "meet at three", *(f"line {at}" for at in range(150)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('line 149')")
    for _ in range(8):
        wheel_up(page, 8)
        if page.locator(".text:has-text('1234')").count():
            break
    page.wait_for_selector(".text:has-text('1234')")
    other = anna.chats()
    other.wait_for_selector("[data-chat=ben]")
    page.evaluate(CUT)
    relay.stop()
    relay.start()
    other.wait_for_selector("[data-chat=ben]")
    ben.ask(
        ("delete", {"chatId": "anna", "originalMessageId": 1}),
        ("edit", {"chatId": "anna", "originalMessageId": 2, "message": "meet at FOUR"}),
    )
    ben.say("anna", "have you seen?")
    other.wait_for_selector("[data-chat=ben]:has-text('have you seen?')")
    other.wait_for_timeout(500)
    other.close()
    page.evaluate("window.cut = false")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector(".text:has-text('meet at FOUR')")
    assert "1234" not in page.inner_text(".conversation")


def test_message_deleted_unread_leaves_no_badge(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    page = anna.chats()
    ben.say("anna", "wrong chat", "right chat")
    until(page, "document.querySelector('[data-chat=ben] .badge [aria-hidden]')?.textContent === '2'")
    ben.ask(("delete", {"chatId": "anna", "originalMessageId": 1}))
    until(page, "document.querySelector('[data-chat=ben] .badge [aria-hidden]')?.textContent === '1'")
    ben.ask(("delete", {"chatId": "anna", "originalMessageId": 2}))
    until(page, "!document.querySelector('[data-chat=ben] .badge')")
