"""The outbox: messages wait for a connection and go once, or are refused with a reason; states of messages."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from tests.support.browser_relay import run
from tests.support.page_actions import open_chat, write

if TYPE_CHECKING:
    import pytest

# A reply to a missing message, which the relay refuses.
SPOIL = """() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (text) {
    return send.call(this, text.replace('"message":"forbidden words"', '"replyTo":99,"message":"x"'));
  };
}"""
# A message in the stored outbox that exceeds the relay's frame limit.
KEEP_LARGE = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open('relay:anna');
  opening.onerror = reject;
  opening.onsuccess = () => {
    const message = 'x'.repeat(300_000);
    const row = { kind: 'new', clientMessageId: 'large', chatId: 'ben', message, createdAt: 1, state: 'queued' };
    const change = opening.result.transaction('outbox', 'readwrite');
    change.objectStore('outbox').put(row);
    change.oncomplete = resolve;
  };
})"""


def test_message_written_offline_survives_the_tab_and_is_sent_once(person: Any, relay: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    relay.stop()
    write(page, "from the tunnel")
    page.wait_for_selector(".is-mine .ticks-queued")
    page.wait_for_timeout(300)
    page.close()
    relay.start()
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben] .ticks-sent")
    open_chat(page, "ben")
    page.wait_for_selector(".is-mine .ticks-sent")
    sent = [one.get("message") for one in ben.ask(("messages", {"chatId": "anna"}))[0]]
    assert sent.count("from the tunnel") == 1


def test_pending_file_is_sent_by_another_tab_when_its_own_closes(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    one = anna.chats()
    two = anna.chats()
    for page in (one, two):
        open_chat(page, "ben")
        page.wait_for_selector(".text:has-text('hello')")
    # The dialog's module is loaded before the connection breaks.
    one.bring_to_front()
    one.locator(".text:has-text('hello')").click(button="right")
    one.wait_for_selector("[role=menu]")
    one.keyboard.press("Escape")
    relay.stop()
    one.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    one.click(".modal .button:has-text('Send')")
    two.wait_for_selector(".is-mine .file.is-waiting")
    one.wait_for_timeout(300)
    one.close()
    relay.start()
    two.wait_for_selector(".is-mine a.file")
    assert [len(one.get("attachments", [])) for one in anna.ask(("messages", {"chatId": "ben"}))[0]] == [0, 1]


def test_pending_message_can_be_cancelled_offline(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    # The menus' module is loaded before the connection breaks.
    page.locator(".text:has-text('hello')").click(button="right")
    page.wait_for_selector("[role=menu]")
    page.keyboard.press("Escape")
    relay.stop()
    page.wait_for_timeout(300)
    write(page, "not meant")
    page.locator(".is-mine:has-text('not meant')").click(button="right")
    page.click("[role=menuitem]:has-text('Discard')")
    page.wait_for_selector(".is-mine:has-text('not meant')", state="detached")
    relay.start()
    page.wait_for_selector(".connection", state="detached", timeout=15_000)
    page.wait_for_timeout(500)
    assert len(anna.ask(("messages", {"chatId": "ben"}))[0]) == 1


def test_state_of_a_message_goes_from_sent_to_read(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    write(page, "are you there?")
    page.wait_for_selector(".message.is-mine:last-child .ticks-sent")
    other = ben.chats()
    page.wait_for_selector(".message.is-mine:last-child .ticks-delivered")
    open_chat(other, "anna")
    page.wait_for_selector(".message.is-mine:last-child .ticks-read")
    assert "Read" in page.locator(".message.is-mine:last-child .ticks").inner_text()


def test_refused_message_shows_the_reason_and_offers_a_retry(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_timeout(300)
    page.evaluate(SPOIL)
    write(page, "forbidden words")
    failed = page.wait_for_selector(".failed")
    assert "Try again" in failed.inner_text()
    page.click(".failed button:has-text('Discard')")
    page.wait_for_selector(".failed", state="detached")


def test_too_long_message_shows_an_error_and_delays_no_other(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    for field in (".chat-list input[type=search]", ".modal input[type=search]"):
        if "modal" in field:
            page.click("[aria-label='Search in this chat']")
        page.focus(field)
        page.keyboard.insert_text("x" * 300_000)
        assert len(page.input_value(field)) <= 256
        page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.fill(".modal textarea", "x" * 300_000)
    page.click(".modal .button:has-text('Send')")
    assert "32,000" in page.wait_for_selector(".modal .form-error").inner_text()
    page.fill(".modal textarea", "short")
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine a.file")
    page.wait_for_selector(".message.is-mine:last-child .ticks-sent")


def test_stored_oversized_message_does_not_block_the_others(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.evaluate(KEEP_LARGE)
    page.reload()
    failed = page.wait_for_selector(".failed")
    assert "too large" in failed.inner_text()
    write(page, "after the large one")
    page.wait_for_selector(".is-mine:has-text('after the large one') .ticks-sent")
    page.click(".failed button:has-text('Discard')")
    page.wait_for_selector(".failed", state="detached")


def test_message_over_a_relays_small_limit_is_refused_without_losing_the_connection(
    person: Any, relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_LIMITS_FRAME_BYTES", "8192")
    relay.stop()
    relay.start()
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    later_sockets: list[str] = []
    page.on("websocket", lambda socket: later_sockets.append(socket.url))
    write(page, "x" * 9_000)
    assert "too large" in page.wait_for_selector(".failed").inner_text()
    write(page, "after the large one")
    page.wait_for_selector(".is-mine:has-text('after the large one') .ticks-sent")
    assert later_sockets == []


def test_edit_that_waits_while_a_backup_is_restored_comes_back_as_a_draft(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "one")
    relay.stop()
    backup = relay.data.parent / "backup"
    shutil.copytree(relay.data, backup)
    relay.start()
    anna.say("ben", "two")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('two')")
    relay.stop()
    page.press(".composer textarea", "ArrowUp")
    write(page, "two, edited")
    page.wait_for_selector(".text:has-text('two, edited')")
    shutil.rmtree(relay.data)
    shutil.copytree(backup, relay.data)
    page.context.set_offline(True)
    relay.start()
    run("send", "--as", "anna", "ben", "another second message", data=relay.data)
    page.context.set_offline(False)
    page.wait_for_selector(".notice:has-text('kept as a draft')")
    page.wait_for_selector(".text:has-text('another second message')")
    assert page.input_value(".composer textarea") == "two, edited"
    messages = anna.ask(("messages", {"chatId": "ben"}))[0]
    assert [one["message"] for one in messages] == ["one", "another second message"]
