"""Each view in each state that it has: empty, loading, refused, long, right to left; in both themes, three windows.

Each must pass axe-core (WCAG 2.2, A and AA, any severity), the minimum size of touch targets, and the width of the
window. `--pictures DIR` keeps a picture of each for somebody to look at. axe runs through the browser's debugger, which
is not bound by the page's policy: the page keeps its normal policy.
Longer than a module is elsewhere: all views share one relay with people who have talked, which takes longer to make
than to look at.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser_relay import Relay
from tests.support.gallery import CALM, LONG_TEXT, MODES, Gallery, Wire, picture, talk, until
from tests.web_browser.conftest import Person

if TYPE_CHECKING:
    from collections.abc import Iterator

# The page says that nothing was found; while it still searches, the same place has a spinner.
NOTHING = ".none:not(:has(.spinner))"


class Town:
    """A relay with people and messages. Nobody changes the messages, so all tests share it."""

    def __init__(self, relay: Relay, browser: Any) -> None:
        self.relay = relay
        self.browser = browser
        self.people: list[Person] = []
        self.chats = talk(self.bring)

    def bring(self, user: str | None, **options: Any) -> Person:
        """Add a person with a browser of their own; all browsers of one user are the same device."""
        self.people.append(Person(self.relay, self.browser, None, **options))
        if user:
            cookie = {"name": "relay_session", "value": self.relay.tokens[user][0], "url": self.relay.url}
            self.people[-1].context.add_cookies([cookie])
        return self.people[-1]

    def leave(self) -> None:
        for one in self.people:
            one.context.close()
        self.people.clear()


@pytest.fixture(scope="module")
def built(
    template: tuple[Path, dict[str, list[str]]], chromium: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    data = tmp_path_factory.mktemp("gallery") / "data"
    shutil.copytree(template[0], data)
    relay = Relay(data, template[1])
    relay.start()
    made = Town(relay, chromium)
    made.leave()
    yield made
    relay.stop()


@pytest.fixture
def town(built: Town) -> Iterator[Town]:
    yield built
    built.leave()


@pytest.fixture(params=list(MODES))
def gallery(request: pytest.FixtureRequest) -> Iterator[Gallery]:
    kept = request.config.getoption("--pictures")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
    made = Gallery(Path(kept) if kept else None, request.param)
    yield made
    made.check()


def arrive(town: Town, gallery: Gallery, user: str | None, **more: Any) -> tuple[Any, Wire, Person]:
    """Open the page as a user, with a wire in between."""
    person = town.bring(user, **{**MODES[gallery.mode], **CALM, **more})
    wire = Wire(person.context)
    page = person.open()
    if user:
        page.wait_for_selector(".chat-list")
        until(page, "!document.querySelector('.connection')")
    return page, wire, person


def go(page: Any, chat: str, what: str = ".composer") -> None:
    """Open a chat from any view."""
    page.goto(page.url.split("#")[0] + f"#chat={chat}")
    page.wait_for_selector(what)


def home(page: Any) -> None:
    page.goto(page.url.split("#")[0] + "#")
    page.wait_for_selector(".chat-list:not([hidden])")


def dismiss(page: Any) -> None:
    """Close the dialog; the first Escape only empties a search field."""
    for _ in range(3):
        if page.locator("dialog[open]").count() == 0:
            return
        page.keyboard.press("Escape")
        page.wait_for_timeout(100)


def menu(page: Any) -> None:
    page.locator(".message").last.click(button="right", position={"x": 8, "y": 8})
    page.wait_for_selector("[role=menu]")


def test_signing_in_passes_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    person = town.bring(None, **MODES[gallery.mode], **CALM)
    held: list[Any] = []
    person.context.route("**/session", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    page = person.open()
    page.wait_for_selector(".splash")
    gallery.show(page, "signin-loading")
    for one in held:
        one.continue_()
    person.context.unroute("**/session")
    page.wait_for_selector(".signin form")
    gallery.show(page, "signin")
    page.goto(page.url + "#invite=made-up")
    page.wait_for_selector("text=Join")
    gallery.show(page, "signin-invited")
    page.click("text=Join")
    page.wait_for_selector(".form-error")
    gallery.show(page, "signin-error")
    [invite] = town.bring("anna").ask(("invite", {}))
    page.goto(town.relay.url + "/#" + invite["url"].split("#")[1])
    page.click("text=Join")
    page.wait_for_selector(".modal input[name=name]")
    gallery.show(page, "welcome")


def test_list_passes_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    person = town.bring("maria", **MODES[gallery.mode], **CALM)
    Wire(person.context).mute = True
    page = person.open()
    page.wait_for_selector(".chat-list")
    page.wait_for_timeout(300)
    gallery.show(page, "list-loading")
    page.close()
    person = town.bring("maria", **MODES[gallery.mode], **CALM)
    Wire(person.context).refused["chats"] = "internal"
    page = person.open()
    page.wait_for_selector(".chat-list .none[role=alert]")
    gallery.show(page, "list-unfetched")
    page, _, _ = arrive(town, gallery, "lei")
    page.wait_for_selector("[data-chat]")
    gallery.show(page, "list-one")
    page, wire, person = arrive(town, gallery, "anna")
    page.wait_for_selector("[data-chat=maria] .badge")
    gallery.show(page, "list-long")
    wire.held.add("search")
    page.fill("input[type=search]", "pump")
    page.wait_for_timeout(400)
    gallery.show(page, "search-loading")
    wire.let_go()
    wire.refused["search"] = "unavailable"
    page.fill("input[type=search]", "pumps")
    page.wait_for_selector(".chat-list .none[role=alert]")
    gallery.show(page, "search-error")
    wire.let_go()
    page.fill("input[type=search]", "pump")
    page.wait_for_selector(".hit")
    gallery.show(page, "search")
    page.fill("input[type=search]", "zzzz nowhere")
    page.wait_for_selector(f".chat-list {NOTHING}")
    gallery.show(page, "search-empty")
    page.fill("input[type=search]", "")
    person.context.set_offline(True)
    wire.go_away()
    page.wait_for_selector(".connection", timeout=15_000)
    gallery.show(page, "list-offline")


def test_user_without_chats_is_told_what_to_do(town: Town, gallery: Gallery) -> None:
    person = town.bring(None, **MODES[gallery.mode], **CALM)
    [invite] = town.bring("anna").ask(("invite", {}))
    page = person.open("/#" + invite["url"].split("#")[1])
    page.click("text=Join")
    # The modes share one relay, where no two people may have one name.
    page.fill(".modal input[name=name]", f"Newcomer {gallery.mode}")
    page.click(".modal .button")
    page.wait_for_selector(".empty")
    page.wait_for_selector(".modal", state="detached")
    gallery.show(page, "list-empty")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal input")
    gallery.show(page, "jump-empty")


def test_chat_passes_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    page, wire, _ = arrive(town, gallery, "anna")
    wire.held.update(("messages", "chat"))
    go(page, "carla")
    page.wait_for_timeout(300)
    gallery.show(page, "chat-loading")
    wire.let_go()
    page.reload()
    page.wait_for_selector(".hello")
    gallery.show(page, "chat-empty")
    for chat, name in (
        (town.chats["crew"], "group"),
        (town.chats["long"], "long"),
        ("yusuf", "rtl"),
        ("ben", "dialog"),
    ):
        go(page, chat)
        page.wait_for_selector(".message")
        until(page, "[...document.images].every((one) => one.complete)")
        gallery.show(page, f"chat-{name}")
    page.locator(".messages > .scroll").evaluate("(one) => { one.scrollTop = 0; }")
    page.wait_for_timeout(200)
    gallery.show(page, "chat-pictures")
    go(page, town.chats["channel"], ".read-only")
    gallery.show(page, "chat-read-only")
    go(page, "anna", ".hello")
    gallery.show(page, "chat-notes-empty")
    go(page, "maria")
    page.wait_for_selector(".divider-new")
    gallery.show(page, "chat-unread")
    wire.refused.update(messages="internal", chat="internal")
    go(page, "lei")
    page.wait_for_selector(".conversation .none[role=alert]")
    gallery.show(page, "chat-error")


def test_lost_chat_passes_the_rules(town: Town, gallery: Gallery) -> None:
    ben = town.bring("ben")
    [chat] = ben.ask(("createChat", {"type": "group", "name": "Last year's crew", "participants": ["anna"]}))
    ben.say(chat["chatId"], "That was the season. Thank you all!")
    page, _, _ = arrive(town, gallery, "anna")
    go(page, chat["chatId"])
    page.wait_for_selector(".message")
    ben.ask(("removeParticipants", {"chatId": chat["chatId"], "participants": ["anna"]}))
    page.wait_for_selector(".lost")
    gallery.show(page, "chat-lost")
    home(page)
    gallery.show(page, "list-lost")


def test_composer_passes_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    page, wire, person = arrive(town, gallery, "anna")
    go(page, "ben")
    page.wait_for_selector(".message")
    menu(page)
    gallery.show(page, "menu")
    page.click("[role=menuitem]:has-text('Reply')")
    page.wait_for_selector(".what")
    page.fill(".composer textarea", LONG_TEXT)
    gallery.show(page, "composer-long")
    page.fill(".composer textarea", "")
    page.locator(".is-mine").last.hover()
    if gallery.mode == "desk":
        page.wait_for_selector(".actions")
        gallery.show(page, "message-tools")
        page.click(".composer [aria-haspopup=dialog]")
        page.wait_for_selector(".emoji-panel")
        gallery.show(page, "emoji")
        dismiss(page)
    shot = {"name": "pier.png", "mimeType": "image/png", "buffer": picture(480, 320, 40)}
    long = {"name": f"{'plan-of-the-harbour-' * 6}.pdf", "mimeType": "application/pdf", "buffer": b"x" * 5000}
    page.set_input_files(".composer input[type=file]", [shot, long])
    page.wait_for_selector(".modal .files")
    page.fill(".modal textarea", LONG_TEXT)
    gallery.show(page, "files-long")
    page.fill(".modal textarea", "x" * 33_000)
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".modal .form-error")
    gallery.show(page, "files-error")
    page.fill(".modal textarea", "")
    wire.held.add("new")
    held: list[Any] = []
    person.context.route("**/files", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector("progress")
    gallery.show(page, "files-loading")
    for one in held:
        one.abort()
    person.context.unroute("**/files")
    wire.let_go()
    wire.refused["new"] = "forbidden"
    go(page, "carla")
    page.fill(".composer textarea", "This is refused")
    page.click(".composer .send")
    page.wait_for_selector(".failed")
    gallery.show(page, "message-error")
    home(page)
    gallery.show(page, "list-error")
    go(page, "carla")
    wire.held.add("new")
    wire.refused.clear()
    page.fill(".composer textarea", "This one waits")
    page.click(".composer .send")
    page.wait_for_selector(".message:has-text('This one waits')")
    gallery.show(page, "message-loading")


def test_unavailable_pictures_pass_the_rules(town: Town, gallery: Gallery) -> None:
    page, _, person = arrive(town, gallery, "anna", service_workers="block")
    go(page, "ben")
    page.wait_for_selector(".picture img")
    until(page, "[...document.images].every((one) => one.complete)")
    page.locator(".picture").last.click()
    page.wait_for_selector(".viewer img")
    gallery.show(page, "viewer")
    dismiss(page)
    person.context.route("**/files/*", lambda route: route.fulfill(status=404))
    page.reload()
    page.wait_for_selector(".message")
    page.locator(".messages > .scroll").evaluate("(one) => { one.scrollTop = 0; }")
    page.wait_for_timeout(500)
    gallery.show(page, "chat-pictures-error")


def test_details_pass_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    page, wire, _ = arrive(town, gallery, "anna")
    wire.held.add("chat")
    go(page, town.chats["long"])
    page.click(".chat-title")
    page.wait_for_selector(".panel-head")
    gallery.show(page, "details-loading")
    wire.let_go()
    wire.refused["chat"] = "internal"
    page.reload()
    page.wait_for_selector(".column-details .none[role=alert]")
    gallery.show(page, "details-unfetched")
    wire.let_go()
    page.reload()
    page.wait_for_selector(".column-details .person")
    gallery.show(page, "details-long")
    for chat, name in (("ben", "pictures"), ("yusuf", "rtl"), (town.chats["crew"], "own")):
        go(page, chat)
        page.wait_for_selector(".message")
        page.click(".chat-title")
        page.wait_for_selector(".panel-head")
        page.wait_for_timeout(200)
        gallery.show(page, f"details-{name}")
    wire.refused["updateChat"] = "forbidden"
    page.click(".column-details .list-button:has-text('Rename')")
    page.fill(".column-details input[name=name]", "A better name")
    page.click(".column-details form .button")
    page.wait_for_selector(".column-details .form-error")
    gallery.show(page, "details-error")
    assert page.input_value(".column-details input[name=name]") == "A better name"
    page.click(".column-details .list-button:has-text('Delete for everybody')")
    page.wait_for_selector(".modal .is-danger")
    gallery.show(page, "confirm")
    dismiss(page)
    page.click(".column-details .list-button.is-accent")
    page.wait_for_selector(".panel-foot")
    page.wait_for_selector(f".panel .person, .panel {NOTHING}")
    gallery.show(page, "add-members")


def test_settings_pass_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    page, wire, _ = arrive(town, gallery, "anna")
    wire.held.add("devices")
    page.click(".me")
    page.wait_for_selector(".photo")
    gallery.show(page, "settings-loading")
    page.locator("section[aria-label='Signed-in devices'], .panel .group-box").last.scroll_into_view_if_needed()
    wire.let_go()
    wire.refused.update(devices="internal", profile="unavailable")
    page.reload()
    page.wait_for_selector(".panel .none[role=alert]")
    page.fill(".panel input[name=name]", "Another name")
    page.click(".panel form .button")
    page.wait_for_selector(".form-error")
    gallery.show(page, "settings-error")
    assert page.input_value(".panel input[name=name]") == "Another name"
    wire.let_go()
    page.reload()
    page.wait_for_selector("text=This device")
    gallery.show(page, "settings")
    page.locator(".panel .list-button.is-danger").scroll_into_view_if_needed()
    gallery.show(page, "settings-end")
    page.click(".list-button:has-text('Keys')")
    page.wait_for_selector(".modal kbd")
    gallery.show(page, "keys")
    dismiss(page)
    page.click(".list-button:has-text('Invite')")
    page.wait_for_selector(".modal form")
    gallery.show(page, "invite")
    wire.refused["invite"] = "forbidden"
    page.click(".modal .button:has-text('Make a link')")
    page.wait_for_selector(".modal .form-error")
    gallery.show(page, "invite-error")
    wire.let_go()
    page.click(".modal .button:has-text('Make a link')")
    page.wait_for_selector("svg.qr path")
    gallery.show(page, "invite-made")


def test_new_chats_pass_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    page, wire, _ = arrive(town, gallery, "anna")
    wire.held.add("users")
    page.click(".column-list .bar .is-accent")
    page.wait_for_selector(".panel input[type=search]")
    page.wait_for_timeout(300)
    gallery.show(page, "new-chat-loading")
    wire.let_go()
    wire.refused["users"] = "internal"
    page.reload()
    page.wait_for_selector(".panel .none[role=alert]")
    gallery.show(page, "new-chat-error")
    wire.let_go()
    page.reload()
    page.wait_for_selector(".panel .person")
    gallery.show(page, "new-chat")
    page.fill(".panel input[type=search]", "zzzz")
    page.wait_for_selector(f".panel {NOTHING}")
    gallery.show(page, "new-chat-empty")
    page.fill(".panel input[type=search]", "")
    page.wait_for_selector(".panel .person")
    page.locator(".panel .list-button").first.click()
    page.wait_for_selector(".panel .person input")
    for one in page.locator(".panel .person input").all():
        one.check()
    wire.refused["createChat"] = "forbidden"
    page.fill("input[name=name]", "The people from the pier who meet on Saturday mornings at six")
    page.click(".panel-foot .button")
    page.wait_for_selector(".form-error")
    gallery.show(page, "new-group-error-long")


def test_search_results_pass_the_rules_in_each_state(town: Town, gallery: Gallery) -> None:
    page, wire, _ = arrive(town, gallery, "anna")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal .person")
    gallery.show(page, "jump")
    dismiss(page)
    go(page, town.chats["crew"])
    page.wait_for_selector(".message")
    page.locator(".is-mine").last.click(button="right", position={"x": 8, "y": 8})
    page.click("[role=menuitem]:has-text('Details')")
    town.bring("maria").chats()
    page.wait_for_selector(".modal .hint:has-text('Delivered')")
    gallery.show(page, "message-info")
    dismiss(page)
    page.click(".chat-bar [aria-label='Search in this chat']")
    page.wait_for_selector(".modal input")
    gallery.show(page, "find")
    wire.held.add("search")
    page.fill(".modal input", "pump")
    page.wait_for_timeout(400)
    gallery.show(page, "find-loading")
    wire.let_go()
    wire.refused["search"] = "unavailable"
    page.fill(".modal input", "pumps")
    page.wait_for_selector(".modal [role=alert]")
    gallery.show(page, "find-error")
    wire.let_go()
    page.fill(".modal input", "pump")
    page.wait_for_selector(".modal mark")
    gallery.show(page, "find-hits")
    page.fill(".modal input", "zzzz")
    page.wait_for_selector(f".modal {NOTHING}")
    gallery.show(page, "find-empty")
