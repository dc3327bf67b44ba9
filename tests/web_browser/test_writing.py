"""Writing: text and files that are pasted, dragged or chosen into the composer, and drafts."""

from __future__ import annotations

from typing import Any

from tests.support.page_actions import open_chat, texts

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)
# Drops a file on the conversation; returns whether the browser would open it.
DROP_FILE = """() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(['x'], 'dropped.txt', { type: 'text/plain' }));
  const event = new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer });
  return document.querySelector('.conversation').dispatchEvent(event);
}"""
# Pastes the clipboard into the composer; returns whether the browser would do it.
PASTE = """([text, file]) => {
  const clipboardData = new DataTransfer();
  if (text) clipboardData.setData('text/plain', text);
  clipboardData.items.add(new File(['x'], file, { type: 'image/png' }));
  const event = new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData });
  return document.querySelector('.composer textarea').dispatchEvent(event);
}"""


def test_file_sent_meanwhile_leaves_an_edit_unchanged(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.press(".composer textarea", "ArrowUp")
    page.wait_for_selector(".what")
    page.fill(".composer textarea", "hello again")
    page.set_input_files(".composer input[type=file]", [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine a.file")
    assert page.input_value(".composer textarea") == "hello again"
    page.press(".composer textarea", "Enter")
    page.wait_for_selector(".edited")
    assert texts(page) == ["hello again"]


def test_picture_is_sent_with_its_place_kept(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "send it")
    page = anna.chats()
    open_chat(page, "ben")
    picture = {"name": "größe & co.png", "mimeType": "image/png", "buffer": PIXEL}
    page.set_input_files(".composer input[type=file]", [picture])
    page.fill(".modal textarea", "here")
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine .picture img[src^='/files/']")
    other = ben.chats()
    open_chat(other, "anna")
    shown = other.wait_for_selector(".picture img")
    assert shown.get_attribute("alt") == "größe & co.png"
    assert other.locator(".picture").evaluate("(one) => one.getBoundingClientRect().height") >= 48
    other.click(".picture")
    other.wait_for_selector(".viewer img")
    other.keyboard.press("Escape")
    other.wait_for_selector(".viewer", state="detached")


def test_file_is_accepted_only_with_the_right_to_write(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    [channel] = anna.ask(("createChat", {"type": "channel", "name": "Notices", "participants": ["ben"]}))
    anna.say(channel["chatId"], "read this")
    for someone, writes in ((ben, False), (anna, True)):
        page = someone.chats()
        open_chat(page, channel["chatId"])
        page.wait_for_selector(".composer" if writes else ".read-only")
        assert page.evaluate(DROP_FILE) is False
        page.wait_for_timeout(300)
        assert page.locator(".modal").count() == int(writes)


def test_text_is_pasted_as_text_although_a_picture_of_it_comes_along(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    assert page.evaluate(PASTE, ["1\t2\n3\t4", "image.png"]) is True
    page.wait_for_timeout(200)
    assert page.locator(".modal").count() == 0
    # A file manager adds the file's name or its path.
    for text in ("", "boat.png", "/home/anna/boat.png"):
        assert page.evaluate(PASTE, [text, "boat.png"]) is False
        page.wait_for_selector(".modal .files")
        page.keyboard.press("Escape")
        page.wait_for_selector(".modal", state="detached")


def test_text_can_be_dragged_into_the_composer(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "carry me over")
    page = anna.chats()
    open_chat(page, "ben")
    text = page.locator(".text:has-text('carry') p").bounding_box()
    field = page.locator(".composer textarea").bounding_box()
    page.mouse.click(text["x"] + 30, text["y"] + 8, click_count=3)
    page.mouse.move(text["x"] + 30, text["y"] + 8)
    page.mouse.down()
    page.mouse.move(field["x"] + 40, field["y"] + 8, steps=8)
    page.mouse.up()
    assert "carry me over" in page.input_value(".composer textarea")


def test_unfinished_reply_continues_after_an_edit(person: Any) -> None:
    person("ben").say("anna", "which pump?")
    anna = person("anna")
    anna.say("ben", "the old one")
    page = anna.chats()
    open_chat(page, "ben")
    page.locator(".message:has-text('which pump?')").click(button="right")
    page.click("[role=menuitem]:has-text('Reply')")
    page.fill(".composer textarea", "half an answer")
    page.locator(".message:has-text('the old one')").click(button="right")
    page.click("[role=menuitem]:has-text('Edit')")
    page.fill(".composer textarea", "the new one")
    page.press(".composer textarea", "Enter")
    page.wait_for_selector(".edited")
    page.wait_for_selector(".what .quote-text:has-text('which pump?')")
    assert page.input_value(".composer textarea") == "half an answer"
    page.press(".composer textarea", "Enter")
    page.wait_for_selector(".message:has-text('half an answer') .quote:has-text('which pump?')")


def test_text_that_the_browser_cannot_keep_is_told_while_it_is_there(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.evaluate("""() => {
      const full = () => { throw new DOMException("full", "QuotaExceededError"); };
      Storage.prototype.setItem = full;
      IDBObjectStore.prototype.put = full;
    }""")
    page.locator(".composer textarea").press_sequentially("a long thought")
    page.wait_for_selector(".notice:has-text('does not keep your text')")
    assert page.input_value(".composer textarea") == "a long thought"


def test_text_typed_after_the_storage_was_cleared_under_the_page_is_told_and_kept(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.wait_for_timeout(1_000)
    page.evaluate("""() => new Promise((resolve) => {
      localStorage.clear();
      const erasing = indexedDB.deleteDatabase('relay:anna');
      erasing.onsuccess = erasing.onerror = erasing.onblocked = () => resolve();
    })""")
    page.locator(".composer textarea").press_sequentially("a long")
    page.wait_for_selector(".notice:has-text('does not keep your text')")
    # The relay has said meanwhile who is signed in.
    page.wait_for_timeout(500)
    page.locator(".composer textarea").press_sequentially(" thought")
    page.reload()
    page.wait_for_selector(".composer textarea")
    assert page.input_value(".composer textarea") == "a long thought"
