"""Panels and dialogs: notifications, which the page requests only on demand, the theme and the language; and forms,
where what was typed or chosen outlasts Escape, Back and closing, until it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.page_actions import open_chat, until

NAME = "input[name=name]"
# The person denies notifications when the browser asks.
REFUSE = """Notification.requestPermission = () => {
  window.asked = true;
  return Promise.resolve('denied');
};"""


def test_title_shows_a_count_and_notifications_are_requested_only_on_demand(person: Any) -> None:
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


def test_the_theme_can_be_switched(person: Any) -> None:
    page = person("ben", color_scheme="light").chats()
    page.click(".me")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.select_option(".setting:has-text('Appearance') select", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.reload()
    page.wait_for_selector(".chat-list", state="attached")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_typed_name_outlasts_escape_and_a_new_name_from_elsewhere(person: Any) -> None:
    anna = person("anna")
    first, second = anna.open("/#panel=settings"), anna.open("/#panel=settings")
    first.fill("input[name=name]", "Half a na")
    first.press("input[name=name]", "Escape")
    first.wait_for_selector("input[name=name]", state="detached")
    first.evaluate("location.hash = '#panel=settings'")
    first.wait_for_selector("input[name=name]")
    assert first.input_value("input[name=name]") == "Half a na"
    second.fill("input[name=name]", "Anna Q")
    second.press("input[name=name]", "Enter")
    first.wait_for_selector(".panel h3:has-text('Anna Q')")
    assert first.input_value("input[name=name]") == "Half a na"


@pytest.mark.parametrize(("status", "body"), [(503, "busy"), (200, "export default {")])
def test_language_that_does_not_load_leaves_the_page_usable_and_comes_later(
    person: Any, status: int, body: str
) -> None:
    ben = person("ben", service_workers="block", locale="de")
    ben.context.clock.install()
    ben.context.route(
        "**/i18n/de.js*", lambda route: route.fulfill(status=status, body=body, content_type="text/javascript")
    )
    page = ben.chats()
    assert page.evaluate("document.documentElement.lang") == "en"
    page.clock.run_for(3_000)
    page.wait_for_selector(".notice:has-text('“Deutsch” could not be loaded')")
    page.click(".me")
    page.wait_for_selector(".panel h2:has-text('Settings')")
    ben.context.unroute("**/i18n/de.js*")
    page.clock.run_for(31_000)
    page.wait_for_selector(".panel h2:has-text('Einstellungen')")
    assert page.evaluate("document.documentElement.lang") == "de"


def leave(page: Any, way: str) -> None:
    """Close the open panel or dialog."""
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.go_back()
    page.wait_for_selector(NAME, state="detached")


def begin_group(page: Any) -> None:
    if page.locator(".panel").count() == 0:
        page.click(".column-list .bar .is-accent")
    page.click(".panel .list-button:has-text('New group')")
    page.wait_for_selector(".panel .person input")


@pytest.mark.parametrize("way", ["Escape", "Back"])
def test_new_group_that_was_begun_is_there_again(person: Any, way: str) -> None:
    page = person("ben").chats()
    begin_group(page)
    page.fill(NAME, "Pier at six")
    page.check(".panel .person:has-text('Anna Lindqvist') input")
    page.focus(NAME)
    leave(page, way)
    begin_group(page)
    assert page.input_value(NAME) == "Pier at six"
    page.wait_for_selector(".chip:has-text('Anna Lindqvist')")
    page.click(".panel-foot .button")
    page.wait_for_selector(".chat-title:has-text('Pier at six')")
    begin_group(page)
    assert page.input_value(NAME) == ""
    assert page.locator(".chip").count() == 0


@pytest.mark.parametrize("way", ["Escape", "Back"])
def test_new_name_of_a_group_is_there_again(person: Any, way: str) -> None:
    ben = person("ben")
    [group] = ben.ask(("createChat", {"type": "group", "name": "Pier", "participants": ["anna"]}))
    page = ben.chats()
    open_chat(page, group["chatId"])
    page.click(".chat-title")
    page.click(".list-button:has-text('Rename')")
    page.fill(NAME, "Pier at six")
    leave(page, way)
    page.click(".chat-title")
    page.wait_for_selector(NAME)
    assert page.input_value(NAME) == "Pier at six"
    page.fill(NAME, "Pier")
    leave(page, way)
    page.click(".chat-title")
    page.wait_for_selector(".list-button:has-text('Rename')")


def test_members_that_were_chosen_for_a_group_are_chosen_again(person: Any) -> None:
    ben = person("ben")
    [group] = ben.ask(("createChat", {"type": "group", "name": "Pier", "participants": ["anna"]}))
    page = ben.chats()
    open_chat(page, group["chatId"])
    page.click(".chat-title")
    for _ in range(2):
        page.click(".list-button:has-text('Add members')")
        carla = page.wait_for_selector(".panel .person:has-text('Carla') input")
        if not carla.is_checked():
            carla.check()
            page.keyboard.press("Escape")
    assert page.locator(".panel .person:has-text('Carla') input").is_checked()
    page.click(".panel-foot .button")
    page.wait_for_selector(".person-open:has-text('Carla')")


@pytest.mark.parametrize("way", ["Escape", "Back"])
def test_name_for_an_invite_is_there_again(person: Any, way: str) -> None:
    page = person("anna").chats()
    page.click(".me")
    page.click(".list-button:has-text('Invite')")
    page.fill(NAME + ":focus", "Dora")
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.go_back()
    page.wait_for_selector(".modal", state="detached")
    page.click(".list-button:has-text('Invite')")
    page.wait_for_selector(".modal")
    assert page.input_value(f".modal {NAME}") == "Dora"


def test_name_typed_after_an_invite_is_in_the_settings(person: Any) -> None:
    [invite] = person("anna").ask(("invite", {}))
    page = person(None).open("/#" + invite["url"].split("#")[1])
    page.click("text=Join")
    page.fill(f".modal {NAME}", "Half a na")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.click(".me")
    page.wait_for_selector(NAME)
    assert page.input_value(NAME) == "Half a na"
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('.panel')")
