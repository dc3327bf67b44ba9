"""Captive and broken networks: what the page shows and keeps while something else answers, or nothing does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.lying_network import LyingNetwork
from tests.support.page_actions import open_chat, until, write
from tests.web_browser.conftest import Person

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = """navigator.serviceWorker.getRegistration().then(async (one) =>
  Boolean(one?.active) && Boolean(await caches.match('/')))"""
REMEMBERED = "JSON.parse(localStorage.getItem('session'))?.id"


@pytest.fixture
def network(relay: Any) -> Iterator[LyingNetwork]:
    made = LyingNetwork(relay)
    yield made
    made.close()


@pytest.fixture
def anna(network: Any, chromium: Any) -> Iterator[Person]:
    made = Person(network, chromium, "anna")
    yield made
    made.context.close()


def ready(anna: Person) -> Any:
    """Open the page and wait until it is stored on the device."""
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]")
    until(page, KEPT)
    page.wait_for_timeout(1_200)
    return page


@pytest.mark.parametrize(
    ("mode", "trouble"),
    [("hang", "silent"), ("broken", "refused"), ("captive", "elsewhere"), ("password", "elsewhere")],
)
def test_stored_page_opens_behind_a_captive_network_within_three_seconds_with_a_notice(
    network: LyingNetwork, anna: Person, mode: str, trouble: str
) -> None:
    anna.say("ben", "written before")
    page = ready(anna)
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('written before')")
    page.fill(".composer textarea", "begun")
    page.wait_for_timeout(600)
    page.keyboard.press("Escape")
    network.turn(mode)
    begun = time.monotonic()
    page.reload(wait_until="commit")
    page.wait_for_selector("[data-chat=ben]:has-text('begun')")
    assert time.monotonic() - begun < 3
    page.wait_for_selector(f".connection[data-trouble={trouble}]", timeout=25_000)
    # No foreign answer signs the user out or removes drafts.
    assert page.evaluate(REMEMBERED) == "anna"
    open_chat(page, "ben")
    assert page.input_value(".composer textarea") == "begun"
    write(page, "sent later")
    page.wait_for_selector(".is-mine .ticks-queued")
    network.turn("pass")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector(".connection", state="detached", timeout=30_000)
    page.wait_for_selector(".is-mine:has-text('sent later') .ticks-sent")


def test_open_page_reports_a_foreign_answer_and_shows_it(network: LyingNetwork, anna: Person) -> None:
    anna.say("ben", "hello")
    page = ready(anna)
    network.turn("captive")
    page.wait_for_selector(".connection[data-trouble=elsewhere]", timeout=25_000)
    with page.context.expect_page() as opened:
        page.click(".connection >> text=Show it")
    opened.value.wait_for_selector("text=Sign in to use this network")
    assert page.evaluate(REMEMBERED) == "anna"


def test_network_login_before_a_first_visit_is_not_the_relays_sign_in(network: LyingNetwork, chromium: Any) -> None:
    one = Person(network, chromium, "anna")
    page = one.context.new_page()
    html = {"content_type": "text/html", "body": "<h1>401</h1>", "status": 401}
    page.route("**/session", lambda route: route.fulfill(**html))
    page.goto(network.url)
    page.wait_for_selector(".connection[data-trouble=elsewhere]")
    assert page.locator(".signin").count() == 0
    page.unroute("**/session")
    page.wait_for_selector(".chat-list", timeout=20_000)
    one.context.close()


def test_device_signed_out_elsewhere_shows_it_and_what_was_lost(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page, other = anna.chats(), anna.chats()
    open_chat(page, "ben")
    page.fill(".composer textarea", "never sent")
    page.wait_for_timeout(600)
    again = person("anna")
    devices = again.ask(("devices", {}))[0]
    (mine,) = [one["deviceId"] for one in devices if not one.get("current") and one.get("online")]
    again.ask(("revokeDevice", {"deviceId": mine}))
    for one in (page, other):
        one.wait_for_selector("text=Signed out from another device.")
        assert "1 unsent message was removed from this one." in one.inner_text(".signed-out")
        assert one.evaluate("localStorage.getItem('session')") is None
