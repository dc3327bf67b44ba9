"""Phones: the on-screen keyboard, going back, long presses, and the width of the screen."""

from __future__ import annotations

from typing import Any

from tests.support.gallery import Wire
from tests.support.page_actions import PHONE, open_chat, texts


def test_keyboard_of_a_phone_waits_for_a_tap(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement?.tagName") != "TEXTAREA"
    assert page.locator(".chat-list").is_hidden()
    page.go_back()
    assert page.locator(".chat-list").is_visible()


def test_back_closes_only_what_is_on_top(person: Any) -> None:
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
    # A typed address is the person's intended target.
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


def test_field_on_a_phone_gets_the_focus_only_by_a_tap(person: Any) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", **PHONE).chats()
    open_chat(page, "ben")
    page.tap(".composer textarea")
    # Some browsers do not move the focus when a button is tapped.
    page.evaluate("document.querySelector('.chat-title').click()")
    page.wait_for_selector(".column-details .panel")
    page.go_back()
    page.wait_for_selector(".column-details .panel", state="detached")
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement?.tagName") != "TEXTAREA"


def test_enter_on_a_phone_breaks_the_line_and_the_button_sends(person: Any) -> None:
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


def test_long_press_opens_a_menu_that_can_be_closed_and_opened_again(person: Any) -> None:
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


def test_open_chat_on_a_phone_shows_the_connection_problem(person: Any) -> None:
    person("ben").say("anna", "hello")
    anna = person("anna", **PHONE)
    wire = Wire(anna.context)
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.route("**/session", lambda route: route.fulfill(status=200, content_type="text/html", body="Sign in, please"))
    wire.go_away()
    page.wait_for_selector(".column-chat .connection[data-trouble=elsewhere] >> text=Show it", timeout=20_000)
    wire.let_go()
    page.wait_for_selector(".column-chat .connection", state="detached", timeout=30_000)


def test_wide_window_shows_the_connection_problem_once(person: Any) -> None:
    anna = person("anna")
    wire = Wire(anna.context)
    page = anna.open("/#chat=ben")
    page.wait_for_selector(".composer")
    wire.go_away()
    page.wait_for_selector(".column-list .connection", timeout=20_000)
    assert page.locator(".connection:visible").count() == 1
