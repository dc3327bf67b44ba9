"""A chat that something covers is not seen: its messages stay unread, and alert the person."""

from __future__ import annotations

from typing import Any

from tests.support.page_actions import COUNT_SOUNDS, PHONE, open_chat, until


def unread(person: Any, chat: str) -> int:
    [chats] = person.ask(("chats", {}))
    rows = chats["chats"] if isinstance(chats, dict) else chats
    return next(int(row.get("missed", 0)) for row in rows if row["id"] == chat)


def test_message_behind_the_details_on_a_phone_stays_unread_until_they_close(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    ben = person("ben", **PHONE)
    ben.context.add_init_script(COUNT_SOUNDS)
    page = ben.chats()
    open_chat(page, "anna")
    page.wait_for_selector(".message")
    page.click(".chat-title")
    page.wait_for_selector(".column-details .panel")
    anna.say("ben", "are you there?")
    until(page, "document.querySelectorAll('.message').length === 2")
    until(page, "window.sounds > 0")
    page.wait_for_timeout(1_500)
    assert unread(ben, "anna") == 1
    page.click(".column-details .icon-button")
    until(page, "document.title.startsWith('(') === false")
    for _ in range(40):
        if unread(ben, "anna") == 0:
            break
        page.wait_for_timeout(100)
    assert unread(ben, "anna") == 0


def test_message_behind_a_dialog_stays_unread_and_behind_a_menu_is_read(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    ben = person("ben")
    page = ben.chats()
    open_chat(page, "anna")
    page.wait_for_selector(".message")
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog.modal input")
    anna.say("ben", "are you there?")
    until(page, "document.querySelectorAll('.message').length === 2")
    page.wait_for_timeout(1_500)
    assert unread(ben, "anna") == 1
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.locator(".message .bubble").last.click(button="right")
    page.wait_for_selector("[role=menu]")
    anna.say("ben", "and here?")
    for _ in range(50):
        if unread(ben, "anna") == 0:
            break
        page.wait_for_timeout(100)
    assert unread(ben, "anna") == 0
