"""An upgrade of the relay under an open page: it is noticed, nothing is lost, and versions are never mixed."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.page_actions import open_chat, write

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parents[2] / "relay"
HIDE = """(hidden) => {
  const get = () => (hidden ? 'hidden' : 'visible');
  Object.defineProperty(document, 'visibilityState', { configurable: true, get });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def upgrade(relay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Replace the running relay by one with a newer page, whose settings have another title."""

    def replace() -> None:
        copy = tmp_path / "newer"
        shutil.copytree(PACKAGE, copy / "relay", ignore=shutil.ignore_patterns("__pycache__"))
        web = copy / "relay" / "web"
        page = (web / "index.html").read_text()
        for name in ("i18n/en.js", "views/settings.js"):
            file = web / name
            file.write_text(file.read_text().replace('"Appearance"', '"Looks"') + "\n")
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
            page = re.sub(rf"/{name}\?v=\w+", f"/{name}?v={digest}", page)
        (web / "index.html").write_text(page)
        # The relay's own package is found from the working directory.
        monkeypatch.chdir(copy)
        relay.stop()
        relay.start()

    return replace


def test_new_version_is_offered_and_loaded_unseen_without_losing_anything(
    person: Any, upgrade: Callable[[], None]
) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page, other = anna.chats(), anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.wait_for_timeout(2_500)
    for one in (page, other):
        one.evaluate("window.stayed = true")
    page.fill(".composer textarea", "half a thought")
    page.wait_for_timeout(500)
    upgrade()
    for one in (page, other):
        one.wait_for_selector(".connection:has-text('There is a new version')", timeout=20_000)
    # An unfinished reply would be lost, so the page waits.
    page.locator(".text:has-text('hello')").click(button="right")
    page.click("[role=menuitem]:has-text('Reply')")
    page.evaluate(HIDE, True)
    page.wait_for_timeout(1_000)
    assert page.evaluate("window.stayed")
    with page.expect_event("load"):
        page.click(".what [aria-label=Cancel]")
    page.wait_for_selector(".composer textarea")
    assert page.input_value(".composer textarea") == "half a thought"
    assert page.locator(".connection").count() == 0
    with other.expect_event("load"):
        other.click(".connection button:has-text('Reload')")
    other.click(".me")
    other.wait_for_selector("text=Looks")


def test_part_of_the_old_page_is_not_mixed_with_a_new_one_and_asks_to_reload(
    person: Any, upgrade: Callable[[], None]
) -> None:
    # Over plain http to another machine there is no worker that keeps the old page.
    anna = person("anna", service_workers="block")
    anna.say("ben", "hello")
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]")
    upgrade()
    page.wait_for_selector(".connection:has-text('There is a new version')", timeout=20_000)
    page.click(".me")
    page.wait_for_selector(".notice:has-text('This part of the page could not be loaded')")
    page.click(".notice button:has-text('Reload')")
    page.wait_for_selector("text=Looks")


def test_pending_messages_are_sent_by_the_new_page(person: Any, relay: Any, upgrade: Callable[[], None]) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".text:has-text('hello')")
    page.wait_for_timeout(2_500)
    relay.stop()
    write(page, "from before")
    page.wait_for_selector(".is-mine .ticks-queued")
    page.evaluate(HIDE, True)
    relay.start()
    upgrade()
    page.wait_for_selector(".is-mine:has-text('from before') .ticks-sent", timeout=20_000)
    sent = [one.get("message") for one in anna.ask(("messages", {"chatId": "ben"}))[0]]
    assert sent.count("from before") == 1


def test_name_typed_in_a_closed_panel_keeps_the_hidden_page_from_reloading(
    person: Any, upgrade: Callable[[], None]
) -> None:
    page = person("anna").open("/#panel=settings")
    page.wait_for_selector(".panel input[name=name]")
    page.wait_for_timeout(2_500)
    page.evaluate("window.stayed = true")
    page.fill(".panel input[name=name]", "Half a name")
    page.keyboard.press("Escape")
    upgrade()
    page.wait_for_selector(".connection:has-text('There is a new version')", timeout=20_000)
    page.evaluate(HIDE, True)
    page.wait_for_timeout(1_500)
    assert page.evaluate("window.stayed")
    page.evaluate(HIDE, False)
    page.click(".me")
    assert page.input_value(".panel input[name=name]") == "Half a name"
    page.keyboard.press("Escape")
    page.click(".connection button:has-text('Reload') >> visible=true")
    page.click(".modal button:has-text('Cancel')")
    assert page.evaluate("window.stayed")
    page.click(".connection button:has-text('Reload') >> visible=true")
    with page.expect_event("load"):
        page.click(".modal .is-danger")
