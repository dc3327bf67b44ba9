"""Gestures mean what the person meant: presses, keys and drags, and what they must not end, open or send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.page_actions import PHONE, open_chat, texts, until, write

if TYPE_CHECKING:
    from pathlib import Path

# Reading a chosen file waits until `free()`, as from a network drive.
SLOW_FILES = """
const slow = new Promise((resolve) => (window.free = resolve));
const read = Blob.prototype.arrayBuffer;
Blob.prototype.arrayBuffer = async function () { await slow; return read.call(this); };
const stream = Blob.prototype.stream;
const slice = Blob.prototype.slice;
Blob.prototype.slice = function (...range) {
  const part = slice.apply(this, range);
  part.arrayBuffer = async () => { await slow; return read.call(part); };
  return part;
};"""
MAC = "Object.defineProperty(navigator, 'platform', { get: () => 'MacIntel' });"


def choose(page: Any, path: Path) -> None:
    path.write_text("a file")
    page.set_input_files(".composer input[type=file]", str(path))


def press_key(page: Any, key: str, code: str, number: int, modifiers: int) -> None:
    """Press a key of another layout: `key` is what it writes there, `code` its place."""
    devtools = page.context.new_cdp_session(page)
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "modifiers": modifiers, "key": key, "code": code, "windowsVirtualKeyCode": number}
        devtools.send("Input.dispatchKeyEvent", event)


def drag_out(page: Any, inside: str) -> None:
    """Press the mouse inside a dialog and release it left of the dialog."""
    box = page.locator(inside).bounding_box()
    modal = page.locator("dialog[open]").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 15)
    page.mouse.down()
    page.mouse.move(modal["x"] - 80, box["y"] + 15, steps=4)
    page.mouse.up()


def test_press_that_ends_outside_a_dialog_leaves_it_open(person: Any, tmp_path: Path) -> None:
    person("anna").say("ben", "hello")
    page = person("ben").chats()
    open_chat(page, "anna")
    choose(page, tmp_path / "report.txt")
    page.wait_for_selector("dialog.modal textarea")
    drag_out(page, "dialog.modal textarea")
    page.keyboard.press("Control+k")
    page.wait_for_timeout(300)
    assert page.locator("dialog.modal .file-name").all_inner_texts() == ["report.txt"]
    assert page.locator("dialog[open]").count() == 1
    page.mouse.click(20, 400)
    page.wait_for_selector("dialog.modal", state="detached")
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog.modal input")
    drag_out(page, "dialog.modal input")
    page.wait_for_timeout(300)
    assert page.locator("dialog.modal input").count() == 1


def test_files_of_one_chat_name_it_and_go_nowhere_else(person: Any, tmp_path: Path) -> None:
    person("anna").say("ben", "from anna")
    person("carla").say("ben", "from carla")
    ben = person("ben")
    ben.context.add_init_script(SLOW_FILES)
    page = ben.chats()
    open_chat(page, "anna")
    choose(page, tmp_path / "report.txt")
    page.wait_for_selector("dialog.modal:has-text('Anna Lindqvist')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.modal", state="detached")
    open_chat(page, "carla")
    page.evaluate("free()")
    page.wait_for_timeout(500)
    assert page.locator("dialog[open]").count() == 0
    choose(page, tmp_path / "second.txt")
    page.wait_for_selector("dialog.modal:has-text('Carla')")
    page.click("dialog.modal .button:not(.is-quiet)")
    page.wait_for_selector(".message .file-name:has-text('second.txt')")


def test_begun_answer_does_not_open_the_keyboard_of_a_phone(person: Any) -> None:
    person("anna").say("ben", "a question")
    page = person("ben", **PHONE).chats()
    open_chat(page, "anna")
    page.wait_for_selector(".message")
    page.locator(".message .bubble").click(button="right")
    page.click("[role=menuitem]:has-text('Reply')")
    until(page, "document.activeElement.matches('.composer textarea')")
    page.keyboard.type("begun")
    page.click(".chat-bar .only-narrow")
    page.wait_for_selector(".chat-bar", state="hidden")
    open_chat(page, "anna")
    page.wait_for_selector(".what")
    page.wait_for_timeout(200)
    assert not page.evaluate("document.activeElement.matches('.composer textarea')")
    assert page.input_value(".composer textarea") == "begun"


def test_finder_opens_by_the_place_of_the_key_on_a_cyrillic_layout(person: Any) -> None:
    page = person("maria", locale="ru-RU").chats()
    press_key(page, "л", "KeyK", 75, 2)
    page.wait_for_selector("dialog.modal")


def test_mac_leaves_control_and_option_keys_to_the_field(person: Any) -> None:
    person("carla").say("ben", "hello")
    person("anna").say("ben", "hello")
    ben = person("ben")
    ben.context.add_init_script(MAC)
    page = ben.chats()
    open_chat(page, "anna")
    page.keyboard.type("hello")
    page.keyboard.press("Control+k")
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_timeout(300)
    assert page.locator("dialog[open]").count() == 0
    assert page.locator(".chat-title-name").inner_text() == "Anna Lindqvist"
    page.keyboard.press("Meta+k")
    page.wait_for_selector("dialog.modal input")


def test_sheet_of_keys_opens_with_control_and_its_single_key_can_be_switched_off(person: Any) -> None:
    ben = person("ben")
    page = ben.chats()
    page.wait_for_selector(".nothing")
    page.keyboard.press("?")
    page.click("dialog.modal input[type=checkbox]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.modal", state="detached")
    page.reload()
    page.wait_for_selector(".nothing")
    page.keyboard.press("?")
    page.wait_for_timeout(300)
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("Control+/")
    page.wait_for_selector(".keys")
    assert not page.is_checked("dialog.modal input[type=checkbox]")


def test_notice_while_a_dialog_is_open_is_on_top_of_it_and_can_be_read(person: Any) -> None:
    page = person("anna").chats()
    page.click(".chat-list .icon-button.is-accent")
    page.click(".list-button:has-text('Invite')")
    page.click("dialog.modal form .button:not(.is-quiet)")
    page.click("dialog.modal .copy-field button")
    page.wait_for_selector(".notice")
    assert page.evaluate("""() => {
      const box = document.querySelector('.notice').getBoundingClientRect();
      const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
      document.querySelector('.notices').style.pointerEvents = 'auto';
      return Boolean(document.elementFromPoint(x, y)?.closest('.notice'));
    }""")
    page.get_by_role("status").get_by_text("Copied").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.querySelector('body > .notices') !== null")


def test_drop_overlay_goes_when_the_message_under_the_pointer_was_deleted(person: Any, tmp_path: Path) -> None:
    anna = person("anna")
    said = anna.say("ben", *[f"line {number}" for number in range(8)])
    page = person("ben").chats()
    open_chat(page, "anna")
    box = page.locator(".text:has-text('line 5') p").bounding_box()
    path = tmp_path / "report.txt"
    path.write_text("x")
    devtools = page.context.new_cdp_session(page)

    def drag(kind: str, x: float, y: float) -> None:
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    drag("dragEnter", box["x"] + 10, box["y"] + 8)
    drag("dragOver", box["x"] + 10, box["y"] + 8)
    page.wait_for_selector(".drop")
    request = {"chatId": "ben", "originalMessageId": said[5]["messageId"], "clientMessageId": "d1"}
    anna.ask(("delete", request))
    page.wait_for_selector(".text.is-deleted")
    drag("dragOver", 100, 400)
    page.wait_for_selector(".drop", state="detached", timeout=3_000)


def test_emptied_edit_asks_to_delete_and_takes_a_caption_off(person: Any, tmp_path: Path) -> None:
    person("anna").say("ben", "hello")
    page = person("ben").chats()
    open_chat(page, "anna")
    write(page, "a message")
    page.wait_for_selector(".ticks-sent, .ticks-delivered")
    page.press(".composer textarea", "ArrowUp")
    page.wait_for_selector(".what")
    page.fill(".composer textarea", "")
    page.keyboard.press("Enter")
    page.click("dialog.modal .is-danger")
    page.wait_for_selector(".text.is-deleted")
    page.wait_for_selector(".what", state="detached")
    choose(page, tmp_path / "report.txt")
    page.fill("dialog.modal textarea", "a caption")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message:has-text('a caption') :is(.ticks-sent, .ticks-delivered)")
    page.press(".composer textarea", "ArrowUp")
    page.wait_for_selector(".what")
    page.fill(".composer textarea", "")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message .edited")
    assert "a caption" not in texts(page)
    assert page.locator(".message .file-name").all_inner_texts() == ["report.txt"]


def test_answer_is_spoken_as_an_answer_with_what_it_answers(person: Any) -> None:
    anna = person("anna")
    [asked] = anna.say("ben", "shall we meet at three?")
    ben = person("ben")
    ben.ask(("new", {"chatId": "anna", "message": "yes, fine", "replyTo": asked["messageId"]}))
    page = ben.chats()
    open_chat(page, "anna")
    page.wait_for_selector(".quote")
    label = page.locator(".message:has(.quote)").get_attribute("aria-label")
    assert "Reply to Anna Lindqvist: shall we meet at three?" in label
    anna.ask(("delete", {"chatId": "ben", "originalMessageId": asked["messageId"], "clientMessageId": "d1"}))
    until(page, "document.querySelector('.message:has(.quote)').ariaLabel.includes('three') === false")


def test_draft_to_a_person_without_a_chat_is_in_the_list(person: Any) -> None:
    page = person("ben").chats()
    page.fill(".chat-list input[type=search]", "maria")
    page.click("[data-person=maria]")
    page.wait_for_selector(".composer textarea")
    page.fill(".composer textarea", "a first word")
    page.wait_for_timeout(500)
    page.press(".composer textarea", "Escape")
    page.reload()
    page.wait_for_selector("[data-person=maria]:has-text('Draft: a first word')")
    until(page, "document.querySelector('[data-person=maria]').innerText.includes('Кузнецова')")
    page.click("[data-person=maria]")
    page.wait_for_selector(".composer textarea")
    assert page.input_value(".composer textarea") == "a first word"
