"""A person's preferences: notifications, which the page requests only on demand, and the theme."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.page_actions import until

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
