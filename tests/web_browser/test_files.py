"""Files that cannot be sent: each shows an error with the limit and advice, and nothing hammers the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.page_actions import PHONE, open_chat

if TYPE_CHECKING:
    from pathlib import Path

CHOOSER = ".composer input[type=file]"
SEND = ".modal .button:has-text('Send')"
# A file is pasted into the caption, or dropped on it.
BRING = """(way) => {
  const data = new DataTransfer();
  data.items.add(new File(['2'], 'second.txt', { type: 'text/plain' }));
  const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
  const event = way === 'paste' ? new ClipboardEvent('paste', options) : new DragEvent('drop', options);
  document.querySelector('.modal textarea').dispatchEvent(event);
}"""


def chat(person: Any) -> Any:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    return page


def uploads_of(page: Any) -> list[str]:
    """Collect the page's upload attempts from now on."""
    tried: list[str] = []
    page.on("request", lambda one: tried.append(one.url) if one.url.endswith("/files") else None)
    return tried


def test_file_changed_since_it_was_chosen_is_reported_and_not_tried(person: Any, tmp_path: Path) -> None:
    page = chat(person)
    tried = uploads_of(page)
    report = tmp_path / "report.txt"
    report.write_text("first")
    page.set_input_files(CHOOSER, report)
    page.fill(".modal textarea", "the report")
    page.wait_for_timeout(1_100)
    report.write_text("saved once more")
    page.click(SEND)
    assert "“report.txt” was changed" in page.wait_for_selector(".modal .form-error").inner_text()
    assert page.input_value(".modal textarea") == "the report"
    page.keyboard.press("Escape")
    page.set_input_files(CHOOSER, report)
    page.click(SEND)
    page.wait_for_selector(".is-mine:has-text('the report') a.file")
    assert len(tried) == 1


def test_folder_is_refused_with_a_message_and_files_beside_it_are_accepted(person: Any, tmp_path: Path) -> None:
    page = chat(person)
    (tmp_path / "afolder").mkdir()
    (tmp_path / "README").write_bytes(b"")
    data = {
        "items": [],
        "files": [str(tmp_path / "afolder"), str(tmp_path / "README")],
        "dragOperationsMask": 1,
    }
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 800, "y": 400, "data": data})
    assert "“afolder” is a folder" in page.wait_for_selector(".notice").inner_text()
    # Empty and without a known type, but a file.
    page.wait_for_selector(".modal .file-name")
    assert page.locator(".modal .file-name").all_inner_texts() == ["README"]
    page.click(SEND)
    page.wait_for_selector(".is-mine a.file:has-text('README')")


def test_file_over_the_limit_is_refused_with_the_limit_before_it_is_sent(
    person: Any, relay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_FILES_FILE_BYTES", "10000")
    relay.stop()
    relay.start()
    page = chat(person)
    tried = uploads_of(page)
    page.set_input_files(CHOOSER, [{"name": "big.bin", "mimeType": "", "buffer": b"x" * 50_000}])
    said = page.wait_for_selector(".notice").inner_text()
    assert "“big.bin” is too large" in said
    assert "10 kB" in said
    assert page.locator(".modal").count() == 0
    assert tried == []


def test_upload_that_never_gets_through_is_retried_with_pauses(person: Any) -> None:
    page = chat(person)
    tried = uploads_of(page)
    page.route("**/files", lambda route: route.abort())
    page.set_input_files(CHOOSER, [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.click(SEND)
    page.wait_for_timeout(5_000)
    assert 1 <= len(tried) <= 3
    page.unroute("**/files")
    page.wait_for_selector(".is-mine a.file")


def test_enter_breaks_the_line_of_a_caption_on_a_phone(person: Any) -> None:
    anna = person("anna", **PHONE)
    anna.say("ben", "hello")
    page = anna.chats()
    page.tap("[data-chat=ben]")
    page.wait_for_selector(".conversation")
    page.set_input_files(CHOOSER, [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.tap(".modal textarea")
    page.keyboard.type("first line")
    page.keyboard.press("Enter")
    page.keyboard.type("second")
    assert page.input_value(".modal textarea") == "first line\nsecond"
    page.tap(SEND)
    page.wait_for_selector(".is-mine:has-text('second') a.file")


@pytest.mark.parametrize("way", ["paste", "drop", "choose"])
def test_files_that_come_while_the_dialog_is_open_are_added(person: Any, way: str) -> None:
    page = chat(person)
    page.set_input_files(CHOOSER, {"name": "first.txt", "mimeType": "text/plain", "buffer": b"1"})
    page.wait_for_selector(".modal .file:has-text('first.txt')")
    page.fill(".modal textarea", "both")
    if way == "choose":
        page.set_input_files(CHOOSER, {"name": "second.txt", "mimeType": "text/plain", "buffer": b"2"})
    else:
        page.evaluate(BRING, way)
    page.wait_for_selector(".modal .file:has-text('second.txt')")
    assert page.input_value(".modal textarea") == "both"
    page.click(SEND)
    page.wait_for_selector(".is-mine:has-text('both') a.file >> nth=1")
    sent = page.locator(".is-mine:has-text('both') a.file").all_inner_texts()
    assert [name.split("\n")[0] for name in sent] == ["first.txt", "second.txt"]


def test_files_beyond_the_most_that_are_added_are_told(person: Any) -> None:
    page = chat(person)
    several = [{"name": f"{at}.txt", "mimeType": "text/plain", "buffer": b"1"} for at in range(10)]
    page.set_input_files(CHOOSER, several)
    page.wait_for_selector(".modal .file >> nth=9")
    page.evaluate(BRING, "drop")
    page.wait_for_selector(".notice:has-text('You can send 10 files at a time')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
