"""The opening position of a chat: the newest message, the first unread one, or where the person stopped; dead links."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gallery import Wire
from tests.support.page_actions import IN_VIEW, LOOK_AWAY, badge, open_chat, texts, until, write


def test_opening_a_chat_shows_the_newest_message(person: Any) -> None:
    person("ben").say("anna", *(f"message {at}" for at in range(150)))
    page = person("anna").chats()
    open_chat(page, "ben")
    page.wait_for_selector(".divider-new")
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('message 149')")
    page.reload()
    page.wait_for_selector(".text:has-text('message 149')")
    assert page.evaluate(IN_VIEW, ".message:last-child")


def test_chat_with_unread_messages_opens_at_the_first(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"old {at}" for at in range(60)))
    anna.ask(("read", {"chatId": "ben"}))
    ben.say("anna", *(f"new {at}" for at in range(120)))
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben] .badge")
    assert badge(page, "ben") == "99+"
    open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert "120" in divider.inner_text()
    assert page.evaluate(IN_VIEW, ".divider-new")
    assert page.evaluate(IN_VIEW, ".divider-new + .message")
    assert page.inner_text(".divider-new + .message .text") == "new 0"


@pytest.mark.parametrize("kept", [False, True])
def test_chat_with_more_unread_messages_than_a_page_opens_at_the_first(person: Any, *, kept: bool) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"old {at}" for at in range(60)))
    anna.ask(("read", {"chatId": "ben"}))
    path = "/"
    if kept:
        # The chat is on this device from before, and the page does not know how much came since.
        page = anna.chats()
        open_chat(page, "ben")
        page.wait_for_selector(".text:has-text('old 59')")
        page.wait_for_timeout(1_200)
        page.close()
        path = "/#chat=ben"
    ben.say("anna", "new 0")
    # Edits take ids as well: the first unread message is further up than the count suggests.
    ben.ask(*(("edit", {"chatId": "anna", "originalMessageId": 61, "message": "new 0"}) for _ in range(120)))
    ben.say("anna", *(f"new {at}" for at in range(1, 900)))
    page = anna.open(path)
    if not kept:
        open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert "900" in divider.inner_text()
    until(page, f"({IN_VIEW})('.divider-new + .message')")
    assert page.inner_text(".divider-new + .message .text") == "new 0"
    page.wait_for_timeout(1_000)
    [chat] = anna.ask(("chat", {"chatId": "ben"}))
    assert 850 <= chat["missed"] < 900
    for _ in range(10):
        page.mouse.move(800, 400)
        page.mouse.wheel(0, 2_000)
        page.wait_for_timeout(60)
    shown = [int(text.removeprefix("new ")) for text in texts(page)]
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('new 899')")
    until(page, "!document.querySelector('[data-chat=ben] .badge')")


def test_partly_read_chat_opens_where_the_person_stopped(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", *(f"new {at}" for at in range(250)))
    page = anna.chats()
    open_chat(page, "ben")
    page.wait_for_selector(".divider-new")
    # To the end of the loaded messages and back: the device's stored messages then begin amid the unread ones.
    page.evaluate(LOOK_AWAY, True)
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('new 249')")
    page.wait_for_timeout(1_200)
    page.close()
    ben.say("anna", *(f"new {at}" for at in range(250, 450)))
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]:has-text('new 449')")
    [chat] = anna.ask(("chat", {"chatId": "ben"}))
    open_chat(page, "ben")
    divider = page.wait_for_selector(".divider-new")
    assert str(chat["missed"]) in divider.inner_text()
    assert page.inner_text(".divider-new + .message .text") == f"new {450 - chat['missed']}"
    until(page, f"({IN_VIEW})('.divider-new')")


@pytest.mark.parametrize("chat", ["nobody", "x" * 200])
def test_link_to_an_unknown_chat_says_so(person: Any, chat: str) -> None:
    person("ben").say("anna", "hello")
    anna = person("anna")
    page = anna.open(f"/#chat={chat}")
    page.wait_for_selector(".notice:has-text('no longer exists')")
    page.wait_for_selector(".nothing")
    # The list is known now, and the page is as before.
    page.evaluate("(chat) => { location.hash = `chat=${chat}`; }", chat)
    until(page, "location.hash === ''")
    page.wait_for_selector(".nothing")
    page.wait_for_selector("[data-chat=ben]")
    # A user without a dialog yet is not an unknown chat.
    page.goto(anna.relay.url + "/#chat=carla")
    page.wait_for_selector(".hello")
    page.wait_for_timeout(500)
    write(page, "hello, Carla")
    page.wait_for_selector(".is-mine .ticks-sent")


def test_chat_that_cannot_be_loaded_says_why_and_a_button_loads_it(person: Any) -> None:
    person("ben").say("anna", "hello")
    anna = person("anna")
    wire = Wire(anna.context)
    wire.refused["messages"] = "internal"
    page = anna.open("/#chat=ben")
    page.wait_for_selector(".messages .none:has-text('Something went wrong')")
    assert page.locator(".messages .spinner").count() == 0
    wire.let_go()
    page.click(".messages button:has-text('Try again')")
    page.wait_for_selector(".text:has-text('hello')")


def test_list_that_cannot_be_loaded_says_why_and_a_button_loads_it(person: Any) -> None:
    person("ben").say("anna", "hello")
    anna = person("anna")
    wire = Wire(anna.context)
    wire.refused["chats"] = "internal"
    page = anna.open()
    page.wait_for_selector(".chat-list .none:has-text('Something went wrong')")
    wire.let_go()
    page.click(".chat-list button:has-text('Try again')")
    page.wait_for_selector("[data-chat=ben]")


def test_loading_group_shows_neither_its_id_nor_that_it_is_empty(person: Any) -> None:
    anna = person("anna")
    [made] = anna.ask(("createChat", {"type": "group", "name": "Harbour crew", "participants": ["ben"]}))
    wire = Wire(anna.context)
    wire.mute = True
    page = anna.open(f"/#chat={made['chatId']}&panel=details")
    page.wait_for_selector(".chat-title-name:has-text('Loading')")
    page.wait_for_selector(".column-details .none:has-text('Loading')")
    assert made["chatId"] not in page.inner_text("body")
    assert page.locator(".column-details .is-danger").count() == 0
    wire.mute = False
    wire.held.update(("chat", "messages"))
    page.reload()
    # The list has the group's name, but not its members and their rights.
    page.wait_for_selector(".chat-title-name:has-text('Harbour crew')")
    page.wait_for_selector(".column-details .none:has-text('Loading')")
    assert "member" not in page.inner_text(".column-details").lower()
    assert page.locator(".column-details .is-danger").count() == 0
    wire.let_go()
    page.reload()
    page.wait_for_selector(".column-details .hint:has-text('2 members')")
    page.wait_for_selector(".column-details .person >> nth=1")


def test_notes_have_their_title_before_the_first_note(person: Any) -> None:
    page = person("anna").open("/#chat=anna")
    page.wait_for_selector(".hello:has-text('Keep notes')")
    assert page.inner_text(".chat-title-name") == "Notes to self"
    assert "only you see this" in page.inner_text(".chat-title-sub")
    page.click(".chat-title")
    assert page.inner_text(".column-details h3") == "Notes to self"
