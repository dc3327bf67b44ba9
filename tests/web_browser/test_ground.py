"""Open dialogs whose subject disappears: a chat, a message, a reply; and keys that belong to an input method."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.page_actions import CUT, LOOK_AWAY, open_chat, until, write

# A key that an input method consumes while it composes: Safari marks some of them only by the code.
METHOD_KEY = """([key, composing, altKey]) => {
  const what = { key, altKey, isComposing: composing, keyCode: 229, bubbles: true, cancelable: true };
  document.activeElement.dispatchEvent(new KeyboardEvent('keydown', what));
}"""
OUTBOX = """new Promise((resolve, reject) => {
  const opening = indexedDB.open('relay:ben');
  opening.onerror = reject;
  opening.onsuccess = () => {
    const asked = opening.result.transaction('outbox').objectStore('outbox').getAll();
    asked.onsuccess = () => resolve(asked.result.length);
  };
})"""
NOTIFIED = """navigator.serviceWorker.getRegistration()
  .then((one) => one.getNotifications()).then((all) => all.map((one) => one.title + ': ' + one.body).sort())"""
CLOSED = "!document.querySelector('.conversation') && location.hash === ''"


def group(person: Any, *members: str) -> tuple[Any, str]:
    """Anna makes a group."""
    anna = person("anna")
    made = anna.ask(("createChat", {"type": "group", "name": "Trip", "participants": list(members)}))[0]
    return anna, made["chatId"]


def leave_out(anna: Any, chat: str) -> None:
    anna.ask(("removeParticipants", {"chatId": chat, "participants": ["ben"]}))


@pytest.mark.parametrize("composing", [True, False])
def test_input_method_keys_reach_no_handler_of_the_page(person: Any, *, composing: bool) -> None:
    anna = person("anna")
    anna.say("carla", "hello")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.locator(".text:has-text('hello')").click(button="right")
    page.click("[role=menuitem]:has-text('Reply')")
    for key, alt in (("Escape", False), ("ArrowDown", True), ("Enter", False), ("?", False)):
        page.focus(".composer textarea")
        page.evaluate(METHOD_KEY, [key, composing, alt])
    assert page.locator(".what").count() == 1
    assert page.evaluate("location.hash") == "#chat=ben"
    page.fill("input[type=search]", "half a")
    page.focus("input[type=search]")
    page.evaluate(METHOD_KEY, ["Escape", composing, False])
    assert page.input_value("input[type=search]") == "half a"
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal input")
    page.evaluate(METHOD_KEY, ["Enter", composing, False])
    page.evaluate(METHOD_KEY, ["Escape", composing, False])
    assert page.locator(".modal input").count() == 1
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")


@pytest.mark.parametrize("above", ["nothing", "dialog", "panel"])
def test_lost_chat_is_closed_whatever_is_open_above_it(person: Any, above: str) -> None:
    anna, chat = group(person, "ben", "carla")
    page = person("ben").chats()
    open_chat(page, chat)
    page.wait_for_selector(".hello")
    if above == "dialog":
        page.keyboard.press("Control+k")
        page.wait_for_selector(".modal")
    elif above == "panel":
        page.click(".chat-title")
        page.wait_for_selector(".column-details .panel")
    leave_out(anna, chat)
    until(page, CLOSED)
    page.wait_for_selector(".notice:has-text('Trip'), .notice:has-text('no longer exists')")
    assert page.locator(".modal").count() == (1 if above == "dialog" else 0)
    assert page.locator(".column-details").count() == 0
    # There is no way back to it.
    page.keyboard.press("Escape")
    page.go_back() if page.evaluate("history.state.depth") > 0 else None
    assert page.locator(".conversation").count() == 0


def test_dialog_that_would_send_into_a_lost_chat_is_closed(person: Any) -> None:
    anna, chat = group(person, "ben", "carla")
    anna.say(chat, "hello")
    page = person("ben").chats()
    open_chat(page, chat)
    page.wait_for_selector(".text:has-text('hello')")
    page.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.wait_for_selector(".modal .file")
    leave_out(anna, chat)
    page.wait_for_selector(".modal", state="detached")


def test_pending_messages_for_a_lost_chat_are_reported_and_dropped(person: Any) -> None:
    anna, chat = group(person, "ben", "carla")
    ben = person("ben")
    ben.context.add_init_script(f"({CUT})(); window.cut = false;")
    page = ben.chats()
    open_chat(page, chat)
    page.wait_for_selector(".hello")
    page.evaluate("window.cut = true")
    anna.relay.stop()
    anna.relay.start()
    page.wait_for_selector(".connection")
    write(page, "to nobody")
    page.wait_for_selector(".is-mine .ticks-queued")
    leave_out(anna, chat)
    page.evaluate("window.cut = false")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_selector(".notice:has-text('1 message to it was not sent')", timeout=20_000)
    until(page, CLOSED)
    until(page, f"{OUTBOX}.then((count) => count === 0)")


def test_question_about_a_message_deleted_meanwhile_is_withdrawn(person: Any) -> None:
    anna = person("anna")
    said = anna.say("ben", "mistake")[0]
    page = anna.chats()
    open_chat(page, "ben")
    page.locator(".text:has-text('mistake')").click(button="right")
    page.click("[role=menuitem]:has-text('Delete')")
    page.wait_for_selector(".modal .is-danger")
    other = person("anna")
    other.ask(("delete", {"chatId": "ben", "originalMessageId": said["messageId"], "clientMessageId": "d1"}))
    page.wait_for_selector(".modal", state="detached")
    page.wait_for_selector(".notice:has-text('Message deleted')")


def test_edit_of_a_message_deleted_meanwhile_ends_with_a_notice(person: Any) -> None:
    anna = person("anna")
    said = anna.say("ben", "mistake")[0]
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('mistake')")
    page.press(".composer textarea", "ArrowUp")
    page.wait_for_selector(".what")
    page.fill(".composer textarea", "a better word")
    other = person("anna")
    other.ask(("delete", {"chatId": "ben", "originalMessageId": said["messageId"], "clientMessageId": "d1"}))
    page.wait_for_selector(".what", state="detached")
    page.wait_for_selector(
        ".notice:has-text('The message you were editing was deleted. Your text is kept as a draft.')"
    )
    assert page.input_value(".composer textarea") == "a better word"


def test_setting_and_own_name_are_the_same_in_two_tabs(person: Any) -> None:
    anna = person("anna")
    one, two = anna.chats(), anna.chats()
    for page in (one, two):
        page.click(".me")
        page.wait_for_selector("text=Appearance")
    one.locator(".setting:has-text('Appearance') select").select_option("dark")
    until(two, "document.documentElement.dataset.theme === 'dark'")
    two.locator(".setting:has-text('Language') select").select_option("de")
    until(one, "document.documentElement.lang === 'de'")
    kept = two.evaluate("JSON.parse(localStorage.getItem('settings'))")
    assert (kept["theme"], kept["language"]) == ("dark", "de")


def test_notification_disappears_with_its_reason(person: Any) -> None:
    anna, ben, carla = person("anna"), person("ben"), person("carla")
    again = person("anna")
    for one in (ben, carla):
        one.say("anna", "hello")
    anna.context.grant_permissions(["notifications"], origin=anna.relay.url)
    anna.context.add_init_script("localStorage.setItem('settings', JSON.stringify({ notifications: true }))")
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]")
    until(page, "navigator.serviceWorker.getRegistration().then((one) => Boolean(one?.active))")
    page.evaluate(LOOK_AWAY, True)
    ben.say("anna", "from ben")
    secret = carla.say("anna", "from carla")[0]["messageId"]
    until(page, f"{NOTIFIED}.then((all) => all.length === 2)")
    # Edited: the notification shows the message's text.
    carla.ask(("edit", {"chatId": "anna", "originalMessageId": secret, "clientMessageId": "e1", "message": "mended"}))
    until(page, f"{NOTIFIED}.then((all) => all.some((one) => one.includes('mended')))")
    # Read on another device.
    news = again.ask(("messages", {"chatId": "ben", "count": 1}))[0][-1]["messageId"]
    again.ask(("read", {"chatId": "ben", "messageId": news}))
    until(page, f"{NOTIFIED}.then((all) => all.length === 1)")
    # Deleted.
    carla.ask(("delete", {"chatId": "anna", "originalMessageId": secret, "clientMessageId": "d1"}))
    until(page, f"{NOTIFIED}.then((all) => all.length === 0)")
    # Read here.
    ben.say("anna", "once more")
    until(page, f"{NOTIFIED}.then((all) => all.length === 1)")
    page.evaluate(LOOK_AWAY, False)
    open_chat(page, "ben")
    until(page, f"{NOTIFIED}.then((all) => all.length === 0)")
    page.evaluate(LOOK_AWAY, True)
    ben.say("anna", "the last")
    until(page, f"{NOTIFIED}.then((all) => all.length === 1)")
    # Signed out.
    page.evaluate(LOOK_AWAY, False)
    page.context.clear_cookies()
    page.evaluate("new BroadcastChannel('relay:anna').postMessage({ kind: 'signedOut', unsent: 0 })")
    page.wait_for_selector(".signin")
    until(page, f"{NOTIFIED}.then((all) => all.length === 0)")


def test_two_finger_zoom_leaves_the_layout_alone(person: Any) -> None:
    anna = person("anna", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    # The keyboard is watched once the list is shown.
    until(page, "Boolean(document.documentElement.style.getPropertyValue('--visible-height'))")
    height = page.evaluate("document.documentElement.style.getPropertyValue('--visible-height')")
    page.context.new_cdp_session(page).send("Emulation.setPageScaleFactor", {"pageScaleFactor": 2})
    until(page, "visualViewport.scale === 2")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.style.getPropertyValue('--visible-height')") == height
