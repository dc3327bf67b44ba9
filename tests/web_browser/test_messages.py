"""Messages: text stays text, times and quotes are kept current, text grows as set, and each is announced."""

from __future__ import annotations

import re
from typing import Any

from tests.support.page_actions import open_chat, texts, until, wheel_up


def test_messages_are_grouped_and_text_stays_text(person: Any) -> None:
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


def test_quote_of_a_deleted_message_says_so(person: Any) -> None:
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
    # On a fresh device, and far from the message itself.
    ben.say("anna", *(f"later {at}" for at in range(200)))
    other = person("anna").open("/#chat=ben")
    other.wait_for_selector(".message")
    other.click(".to-end") if other.locator(".to-end").count() else None
    for _ in range(40):
        if other.locator(".quote").count():
            break
        wheel_up(other, 4)
    assert other.inner_text(".quote .quote-text") == "Message deleted"


def test_relative_times_are_kept_current(person: Any) -> None:
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


def test_text_grows_with_the_persons_font_size(person: Any) -> None:
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
