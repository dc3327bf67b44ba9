"""Keys: they reach everything, the focus follows, and the selection is announced."""

from __future__ import annotations

import re
from typing import Any

from tests.support.page_actions import open_chat, texts, until


def test_everything_is_reachable_by_keys(person: Any) -> None:
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


def test_focus_follows_and_returns(person: Any) -> None:
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


def test_keyboard_menu_opens_beside_the_message(person: Any) -> None:
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


def test_message_is_replied_to_and_deleted_by_keyboard(person: Any) -> None:
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


def test_search_result_selected_by_arrow_keys_is_announced(person: Any) -> None:
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


def test_letter_typed_over_an_open_menu_leaves_it_closable(person: Any) -> None:
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


def test_walking_through_messages_announces_them(person: Any) -> None:
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
