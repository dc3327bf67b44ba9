"""What people see and hear of the page: pictures that fail for a while, code in right-to-left text, high contrast,
reduced motion, answers on a screen reader, quotes of texts that are gone, and large groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser_relay import run
from tests.support.gallery import picture, upload
from tests.support.page_actions import open_chat, until

if TYPE_CHECKING:
    from pathlib import Path

DRAWN = "document.querySelector(%r)?.naturalWidth > 0"
# The letters of an element from left to right, as they are drawn.
LEFT_TO_RIGHT = """(selector) => {
  const node = document.querySelector(selector).firstChild;
  const range = document.createRange();
  return [...node.data].map((letter, at) => {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return [range.getBoundingClientRect().left, letter];
  }).sort(([one], [other]) => one - other).map(([, letter]) => letter).join("");
}"""
STYLE = """([selector, part, pseudo]) => getComputedStyle(document.querySelector(selector), pseudo)[part]"""


def style(page: Any, selector: str, part: str, pseudo: str | None = None) -> Any:
    return page.evaluate(STYLE, [selector, part, pseudo])


def test_pictures_and_avatars_that_failed_are_shown_at_the_next_connection(person: Any, relay: Any) -> None:
    anna, ben = person("anna"), person("ben")
    shot = upload(anna, picture(60, 60, 20), "pier.png", "image/png")
    anna.ask(("profile", {"photoUrl": upload(anna, picture(40, 40, 90), "me.png", "image/png")["url"]}))
    anna.ask(("new", {"chatId": "ben", "attachments": [shot]}))
    ben.context.route("**/files/**", lambda route: route.abort())
    page = ben.chats()
    open_chat(page, "anna")
    page.wait_for_selector(".bubble a.file")
    until(page, "document.querySelector('[data-chat=anna] .avatar').innerText === 'AL'")
    ben.context.unroute("**/files/**")
    relay.stop()
    relay.start()
    until(page, DRAWN % ".bubble .picture img")
    until(page, DRAWN % "[data-chat=anna] .avatar img")


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_FILES_FILE_BYTES", "20000")


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("notes.txt", b"not a picture", "text/plain", "“notes.txt” is not a picture"),
        ("empty.png", b"", "image/png", "“empty.png” is not a picture"),
        ("big.png", b"x" * 60_000, "image/png", "“big.png” is too large. This relay takes files of up to 20 kB."),
    ],
)
def test_a_file_that_cannot_be_ones_picture_is_refused_before_the_upload(
    small_files: None, person: Any, name: str, content: bytes, kind: str, said: str
) -> None:
    page = person("ben").chats()
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
    page.click(".me")
    page.set_input_files(".photo input", [{"name": name, "mimeType": kind, "buffer": content}])
    assert said in page.wait_for_selector(".notice.is-error").inner_text()
    assert sent == []
    page.set_input_files(".photo input", [{"name": "me.png", "mimeType": "image/png", "buffer": picture(40, 40, 20)}])
    until(page, DRAWN % ".photo img")


def test_code_and_addresses_in_right_to_left_text_run_left_to_right(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "شغّل `--force` الآن", "انظر https://example.com/docs/ الآن")
    page = person("ben").chats()
    open_chat(page, "anna")
    page.wait_for_selector(".message a")
    assert page.evaluate(LEFT_TO_RIGHT, ".message code") == "--force"
    assert page.evaluate(LEFT_TO_RIGHT, ".message .text a") == "https://example.com/docs/"


def test_states_can_be_told_apart_in_forced_colours(person: Any) -> None:
    person("anna").say("ben", "hello")
    page = person("ben", forced_colors="active").chats()
    open_chat(page, "anna")
    page.wait_for_selector(".text:has-text('hello')")
    assert style(page, ".chat-row.is-open", "outlineStyle") == "solid"
    page.click(".me")
    page.wait_for_selector(".switch")
    assert style(page, ".switch", "borderTopStyle") == "solid"
    knob, track = (style(page, ".switch", "backgroundColor", pseudo) for pseudo in ("::after", None))
    assert knob != track
    page.click(".switch:checked")
    assert style(page, ".switch:not(:checked)", "backgroundColor") != track


def test_focus_and_the_selected_row_of_a_finder_are_seen_in_forced_colours(person: Any, pictures: Path) -> None:
    ben = person("ben", forced_colors="active")
    ben.say("anna", "hello", "hello again")
    page = ben.chats()
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal .person")
    page.keyboard.type("a")
    page.wait_for_selector(".modal .person:nth-child(2)")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".modal .person:nth-child(2).is-active")
    page.screenshot(path=pictures / "forced-jump.png")
    for finder in ("jump", "search"):
        if finder == "search":
            page.keyboard.press("Escape")
            page.keyboard.press("Escape")
            open_chat(page, "anna")
            page.click(".chat-bar [aria-label='Search in this chat']")
            page.wait_for_selector(".modal input")
            page.keyboard.type("hello")
            page.wait_for_selector(".modal .person:nth-child(2)")
            page.screenshot(path=pictures / "forced-search.png")
        for seen in (".modal .search:has(:focus)", ".modal .is-active"):
            assert style(page, seen, "outlineStyle") == "solid", (finder, seen)
            assert style(page, seen, "outlineColor") != style(page, ".modal-inside", "backgroundColor"), (finder, seen)
        assert style(page, ".modal .person:not(.is-active)", "outlineStyle") == "none"
    # A ring around found letters would cover them.
    assert style(page, ".modal mark", "outlineStyle") == "none"
    assert style(page, ".modal mark", "backgroundColor") != style(page, ".modal-inside", "backgroundColor")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_a_message_one_jumps_to_is_marked_with_and_without_motion(person: Any, motion: str) -> None:
    anna, ben = person("anna"), person("ben", reduced_motion=motion)
    anna.say("ben", *(f"row {at}" for at in range(20)))
    anna.ask(("new", {"chatId": "ben", "message": "that one", "replyTo": 5}))
    page = ben.chats()
    open_chat(page, "anna")
    page.click(".quote")
    page.wait_for_selector(".message.is-flash")
    assert " 3px" in style(page, ".message.is-flash .bubble", "boxShadow")


def test_a_screen_reader_hears_what_an_answer_answers(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "is it fixed?")
    ben = person("ben")
    ben.ask(("new", {"chatId": "anna", "message": "yes", "replyTo": 1}))
    page = ben.chats()
    open_chat(page, "anna")
    spoken = page.get_attribute(".message[data-id='2']", "aria-label")
    assert spoken.startswith("You, Reply to Anna Lindqvist: is it fixed?, yes, ")
    anna.ask(("edit", {"chatId": "ben", "originalMessageId": 1, "clientMessageId": "e", "message": "is it done?"}))
    until(page, "document.querySelector('.message[data-id=\"2\"]').ariaLabel.includes(': is it done?, yes')")


def test_a_quote_of_a_text_that_is_gone_says_so_and_pressing_it_too(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    ben.say("anna", "an old text")
    ben.ask(("deleteChat", {"chatId": "anna"}))
    anna.ask(("new", {"chatId": "ben", "message": "an answer", "replyTo": 1}))
    page = ben.chats()
    open_chat(page, "anna")
    page.wait_for_selector(".quote-text:has-text('No longer here')")
    page.click(".quote")
    page.wait_for_selector(".notice:has-text('No longer here')")
    assert page.locator(".text:has-text('an answer')").count() == 1


def test_members_of_a_large_group_are_drawn_as_they_are_scrolled_to(person: Any, relay: Any, tmp_path: Path) -> None:
    crowd = [f"p{at}" for at in range(250)]
    table = tmp_path / "crowd.csv"
    table.write_text("".join(f"{one},Person {one}\n" for one in crowd))
    run("user", "import", str(table), data=relay.data)
    ben = person("ben")
    [group] = ben.ask(("createChat", {"type": "group", "name": "Crowd", "participants": crowd}))
    page = ben.chats()
    open_chat(page, group["chatId"])
    page.click(".chat-title")
    page.wait_for_selector(".person-open")
    assert page.locator(".person-open").count() < 100
    for _ in range(10):
        page.evaluate("document.querySelector('.column-details .scroll').scrollTop = 1e9")
        page.wait_for_timeout(150)
    assert page.locator(".person-open").count() == 251


def test_the_row_of_a_chat_opened_by_keys_comes_into_view(person: Any) -> None:
    ben = person("ben")
    ben.ask(*(("createChat", {"type": "group", "name": f"Group {at}", "participants": ["anna"]}) for at in range(40)))
    page = ben.chats()
    page.wait_for_selector(".chat-row")
    for _ in range(30):
        page.keyboard.press("Alt+ArrowDown")
    until(
        page,
        """(() => {
          const row = document.querySelector('.chat-row.is-open')?.getBoundingClientRect();
          const list = document.querySelector('.chat-list > .scroll').getBoundingClientRect();
          return row && row.bottom > list.top && row.top < list.bottom && list.top >= 0;
        })()""",
    )
