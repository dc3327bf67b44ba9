"""Signing in and out: invites, the sign-in page, other devices, and the state after a sign-out."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.browser_relay import run
from tests.support.page_actions import open_chat


def test_invite_signs_in_and_asks_for_a_name(person: Any) -> None:
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


def test_invite_opened_by_a_signed_in_user_says_what_to_do(person: Any) -> None:
    anna = person("anna")
    page = anna.open("/#invite=made-up")
    page.wait_for_selector(".chat-list")
    assert "invite" not in page.url
    page = anna.chats()
    # Once the page is there: the message shows for some seconds only.
    page.evaluate("location.hash = 'invite=made-up'")
    page.wait_for_selector(".notice:has-text('signed in as Anna Lindqvist')")
    assert "invite" not in page.url


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


def test_signing_out_leaves_no_drafts_of_another_tab(person: Any) -> None:
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
def test_page_uses_the_persons_language(person: Any, code: str) -> None:
    page = person(None, locale=code).open()
    page.wait_for_selector(".signin form")
    assert page.evaluate("document.documentElement.lang") == code
    assert not re.search(r"\b[a-z]+\.[a-zA-Z]+\b", page.inner_text(".signin"))


def test_announcement_while_a_dialog_is_open_is_made_in_the_dialog(person: Any) -> None:
    page = person("anna").chats()
    page.click("text=Invite people")
    page.click(".modal .button:has-text('Make a link')")
    page.wait_for_selector("svg.qr path")
    page.click(".copy-field button")
    # A modal dialog covers the page behind it, and no screen reader reads that.
    page.wait_for_selector("dialog[open] .notice")
    assert page.locator(".notices").count() == 1
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    assert page.locator(".notices").count() == 1


def test_page_whose_texts_cannot_be_fetched_reloads(person: Any) -> None:
    anna = person("anna", service_workers="block")
    page = anna.context.new_page()
    page.route("**/i18n/en.js*", lambda route: route.abort())
    page.goto(anna.relay.url)
    page.wait_for_timeout(1_000)
    assert page.locator(".chat-list").count() == 0
    page.unroute("**/i18n/en.js*")
    page.wait_for_selector(".chat-list")


def test_taken_name_is_reported_in_the_settings(person: Any) -> None:
    page = person("anna").open("/#panel=settings")
    page.fill(".panel input[name=name]", "Ben Okafor")
    page.click(".panel form .button")
    page.wait_for_selector(".form-error:has-text('This name is taken here. Pick another.')")
    assert page.input_value(".panel input[name=name]") == "Ben Okafor"


def test_signing_out_is_told_in_no_tab_as_somebody_elses_deed(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    other = anna.chats()
    page = anna.open("/#panel=settings")
    page.wait_for_timeout(2_500)
    page.click("button:has-text('Sign out')")
    page.click(".modal .is-danger")
    for one in (page, other):
        one.wait_for_selector("main.signin")
        one.wait_for_timeout(1_000)
        assert one.locator(".signed-out").count() == 0


def test_disabled_user_is_told_so_also_after_a_reload(person: Any, relay: Any) -> None:
    page = person("ben").chats()
    run("user", "disable", "ben", data=relay.data)
    page.wait_for_selector(".signed-out:has-text('Your account is disabled')")
    page.reload()
    page.wait_for_selector(".signed-out:has-text('Your account is disabled')")
