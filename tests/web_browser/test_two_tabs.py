"""Crashed tabs, and parallel tabs and devices: no typed text is lost, and all show the same."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.support.page_actions import COUNT_SOUNDS, LOOK_AWAY, PHONE, badge, open_chat, until, write

FIELD = ".composer textarea"
FILE = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}


def kill(page: Any) -> None:
    """Kill the process of a page, as the system does when it needs memory: nothing of the page runs any more."""
    from playwright.sync_api import Error

    with page.expect_event("crash"), contextlib.suppress(Error):
        page.goto("chrome://crash")
    page.close()


def at(person: Any, chat: str) -> Any:
    """Open a chat in a new tab."""
    page = person.open(f"/#chat={chat}")
    page.wait_for_selector(FIELD)
    return page


def test_tab_killed_at_any_key_keeps_the_typed_text(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = at(anna, "ben")
    text = "half 😀"
    for keys in range(1, len(text) + 1):
        page.keyboard.insert_text(text[keys - 1]) if text[keys - 1] > "~" else page.keyboard.press(text[keys - 1])
        kill(page)
        page = at(anna, "ben")
        until(page, f"document.querySelector('{FIELD}').value === '{text[:keys]}'")


def test_message_is_sent_once_although_its_tab_was_killed_while_sending(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = at(anna, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    relay.stop()
    page.fill(FIELD, "from the tunnel")
    page.press(FIELD, "Enter")
    kill(page)
    relay.start()
    page = at(anna, "ben")
    page.wait_for_selector(".is-mine:has-text('from the tunnel') .ticks-sent")
    assert page.input_value(FIELD) == ""
    sent = [one.get("message") for one in anna.ask(("messages", {"chatId": "ben"}))[0]]
    assert sent == ["hello", "from the tunnel"]


def test_reply_edit_and_caption_survive_a_killed_tab(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    ben.say("anna", "when?")
    anna.say("ben", "at three")
    page = at(anna, "ben")
    page.locator(".text:has-text('when?')").click(button="right")
    page.click("[role=menuitem]:has-text('Reply')")
    page.keyboard.type("I think")
    kill(page)
    page = at(anna, "ben")
    page.wait_for_selector(".what:has-text('when?')")
    assert page.input_value(FIELD) == "I think"
    write(page, "I think so")
    page.wait_for_selector(".is-mine:has-text('I think so') .quote:has-text('when?')")
    page.wait_for_selector(".is-mine:has-text('I think so') .ticks-sent")
    page.press(FIELD, "ArrowUp")
    page.wait_for_selector(".what:has-text('Editing')")
    page.press(FIELD, "End")
    page.keyboard.type(", yes")
    kill(page)
    page = at(anna, "ben")
    page.wait_for_selector(".what:has-text('Editing')")
    assert page.input_value(FIELD) == "I think so, yes"
    page.press(FIELD, "Enter")
    page.wait_for_selector(".is-mine:has-text('I think so, yes') .edited")
    assert page.input_value(FIELD) == ""
    page.set_input_files(".composer input[type=file]", [FILE])
    page.fill(".modal textarea", "the list")
    kill(page)
    page = at(anna, "ben")
    assert page.locator(".what").count() == 0
    page.set_input_files(".composer input[type=file]", [FILE])
    page.wait_for_selector(".modal textarea")
    assert page.input_value(".modal textarea") == "the list"
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine:has-text('the list') a.file")


def test_edit_waits_while_another_chat_is_open(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "at three")
    anna.say("carla", "hello")
    page = at(anna, "ben")
    page.wait_for_selector(".text:has-text('at three')")
    page.press(FIELD, "ArrowUp")
    page.fill(FIELD, "at four")
    page.click("[data-chat=carla]")
    page.wait_for_selector(".text:has-text('hello')")
    assert page.input_value(FIELD) == ""
    page.click("[data-chat=ben]")
    page.wait_for_selector(".what:has-text('Editing')")
    assert page.input_value(FIELD) == "at four"
    page.click("[aria-label=Cancel]")
    assert page.input_value(FIELD) == ""
    page.reload()
    page.wait_for_selector(".text:has-text('at three')")
    assert page.locator(".what").count() == 0


def test_file_is_sent_by_another_tab_when_its_own_is_killed(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    one, two = at(anna, "ben"), at(anna, "ben")
    one.route("**/files", lambda _: None)
    one.set_input_files(".composer input[type=file]", [FILE])
    one.click(".modal .button:has-text('Send')")
    two.wait_for_selector(".is-mine .file.is-waiting")
    until(one, "indexedDB.databases().then((all) => all.length > 0)")
    one.wait_for_timeout(300)
    kill(one)
    two.wait_for_selector(".is-mine a.file")
    assert [len(one.get("attachments", [])) for one in anna.ask(("messages", {"chatId": "ben"}))[0]] == [0, 1]


def test_failure_is_shown_in_both_tabs_and_either_can_retry(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    one, two = at(anna, "ben"), at(anna, "ben")
    refused = {"status": 413, "content_type": "application/json", "body": '{"error": {"code": "too_large"}}'}
    one.route("**/files", lambda route: route.fulfill(**refused))
    one.set_input_files(".composer input[type=file]", [FILE])
    one.click(".modal .button:has-text('Send')")
    for page in (one, two):
        assert "“a.txt” is too large" in page.wait_for_selector(".failed").inner_text()
    one.unroute("**/files")
    two.click(".failed button:has-text('Try again')")
    for page in (one, two):
        page.wait_for_selector(".is-mine a.file")
        page.wait_for_selector(".failed", state="detached")


def test_setting_applies_to_all_tabs(person: Any) -> None:
    anna = person("anna")
    one, two = anna.chats(), anna.chats()
    one.evaluate("localStorage.setItem('settings', JSON.stringify({ theme: 'dark', language: 'de', sound: false }))")
    until(two, "document.documentElement.dataset.theme === 'dark' && document.documentElement.lang === 'de'")


def test_last_typed_text_is_there_after_a_reload(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.keyboard.type("half a thought")
    page.reload()
    page.wait_for_selector(".composer textarea")
    assert page.input_value(".composer textarea") == "half a thought"


def test_two_tabs_agree_on_messages_drafts_and_badges(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "hello")
    one = anna.chats()
    two = anna.chats()
    assert badge(two, "ben") == "1"
    open_chat(one, "ben")
    until(two, "!document.querySelector('[data-chat=ben] .badge')")
    one.fill(".composer textarea", "half a thought")
    two.wait_for_selector("[data-chat=ben] .is-draft")
    write(one, "a whole one")
    two.wait_for_selector("[data-chat=ben]:has-text('a whole one')")
    open_chat(two, "ben")
    two.wait_for_selector(".is-mine .text:has-text('a whole one')")
    assert two.locator(".is-mine").count() == 1


def test_a_tab_is_quiet_while_the_person_looks_at_another(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    anna.context.add_init_script(COUNT_SOUNDS)
    ben.say("anna", "hello")
    one = anna.chats()
    two = anna.chats()
    open_chat(two, "ben")
    two.wait_for_selector(".text:has-text('hello')")
    one.wait_for_selector("[data-chat=ben] .badge", state="detached")
    one.evaluate(LOOK_AWAY, True)
    two.evaluate("window.sounds = 0")
    # The first message came just before the tab was opened, so it may have sounded there.
    heard = one.evaluate("window.sounds")
    ben.say("anna", "you see this")
    two.wait_for_selector(".text:has-text('you see this')")
    one.wait_for_timeout(1_500)
    assert one.evaluate("window.sounds") == heard
    two.evaluate(LOOK_AWAY, True)
    ben.say("anna", "you do not see this")
    one.wait_for_timeout(2_000)
    assert sum(page.evaluate("window.sounds") for page in (one, two)) == heard + 2


def test_two_devices_agree_on_badges(person: Any) -> None:
    ben, phone, desk = person("ben"), person("anna", **PHONE), person("anna")
    ben.say("anna", "hello")
    on_phone, on_desk = phone.chats(), desk.chats()
    on_phone.wait_for_selector("[data-chat=ben] .badge")
    open_chat(on_desk, "ben")
    on_phone.wait_for_selector("[data-chat=ben] .badge", state="detached")
    write(on_desk, "from the desk")
    on_phone.wait_for_selector("[data-chat=ben]:has-text('from the desk')")


def test_reply_begun_sent_or_cancelled_in_one_tab_is_so_in_the_other(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    one, two = at(anna, "ben"), at(anna, "ben")
    for page in (one, two):
        page.wait_for_selector(".text:has-text('hello')")
    one.locator(".text:has-text('hello')").click(button="right")
    one.click("[role=menuitem]:has-text('Reply')")
    one.fill(FIELD, "my answer")
    two.wait_for_selector(".what:has-text('hello')")
    until(two, f"document.querySelector('{FIELD}').value === 'my answer'")
    two.click(".what [aria-label=Cancel]")
    one.wait_for_selector(".what", state="detached")
    one.locator(".text:has-text('hello')").click(button="right")
    one.click("[role=menuitem]:has-text('Reply')")
    two.wait_for_selector(".what:has-text('hello')")
    two.press(FIELD, "Enter")
    two.wait_for_selector(".is-mine:has-text('my answer') .quote")
    one.wait_for_selector(".is-mine:has-text('my answer') .quote")
    one.wait_for_selector(".what", state="detached")
    assert one.input_value(FIELD) == ""


def test_one_of_the_tabs_that_nobody_looks_at_alerts_and_another_if_that_one_dies(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    anna.context.add_init_script(COUNT_SOUNDS)
    ben.say("anna", "hello")
    tabs = [anna.chats() for _ in range(3)]
    tabs[0].wait_for_timeout(2_500)
    for page in tabs:
        page.evaluate(LOOK_AWAY, True)
        page.evaluate("window.sounds = 0")
    ben.say("anna", "ring")
    tabs[0].wait_for_timeout(2_500)
    # An alert is two tones.
    assert sorted(page.evaluate("window.sounds") for page in tabs) == [0, 0, 2]
    tabs[0].wait_for_timeout(1_500)
    ben.say("anna", "ring again")
    tabs[0].evaluate("""() => {
      const dying = new BroadcastChannel('relay:anna');
      dying.postMessage({ kind: 'alerts', chatId: 'ben', messageId: 3, rank: 9, at: 1 });
    }""")
    tabs[0].wait_for_timeout(4_500)
    assert sum(page.evaluate("window.sounds") for page in tabs) == 4
