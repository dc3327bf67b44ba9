"""Connections: a dead one is noticed and reported, and without one the page shows its stored data."""

from __future__ import annotations

from typing import Any

from tests.support.page_actions import open_chat, until


def test_dead_connection_is_noticed_on_waking_and_reported_after_two_seconds(person: Any, relay: Any) -> None:
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


def test_page_without_a_relay_still_shows_its_stored_data(person: Any, relay: Any) -> None:
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


def test_page_opens_without_a_network_after_a_first_visit(person: Any, relay: Any) -> None:
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
