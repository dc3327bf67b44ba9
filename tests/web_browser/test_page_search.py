"""Search: people in the list's search, progress messages, and results with the current text of their messages."""

from __future__ import annotations

import json
from typing import Any

from tests.support.page_actions import IN_VIEW

SCROLL = """(part) => {
  const list = document.querySelector('.chat-list .scroll');
  list.scrollTop = part * list.scrollHeight;
}"""
# The number of drawn rows of the list, and the number of the first visible one.
ROWS = """() => {
  const list = document.querySelector('.chat-list .scroll');
  const top = list.getBoundingClientRect().top;
  const rows = [...list.querySelectorAll('[data-chat]')];
  const first = rows.find((one) => one.getBoundingClientRect().bottom > top + 1);
  return { drawn: rows.length, first: first?.dataset.chat, height: list.scrollHeight };
}"""


def search(page: Any, query: str) -> None:
    page.fill(".chat-list input[type=search]", query)


def test_search_finds_people_by_name_and_id_before_a_dialog_exists(person: Any) -> None:
    page = person("ben").chats()
    for query in ("мария", "MARIA"):
        search(page, query)
        page.wait_for_selector("[data-person=maria]:has-text('Мария Кузнецова')")
        search(page, "")
        page.wait_for_selector("[data-person=maria]", state="detached")
    search(page, "maria")
    page.wait_for_selector("[data-person=maria]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chat-title-name:has-text('Мария Кузнецова')")


def test_dialog_is_found_by_the_other_users_id(person: Any) -> None:
    person("lei").say("ben", "hello")
    page = person("ben").chats()
    search(page, "lei")
    page.wait_for_selector("[data-chat=lei]")
    assert page.locator("[data-person=lei]").count() == 0


def test_search_without_the_relay_says_so_and_answers_on_its_return(person: Any, relay: Any) -> None:
    person("anna").say("ben", "the needle is here")
    page = person("ben").chats()
    page.wait_for_selector("[data-chat=anna]")
    relay.stop()
    search(page, "needle")
    page.wait_for_selector(".chat-list .none:has-text('Searching')")
    page.wait_for_selector(".chat-list .none:has-text('cannot be reached')")
    relay.start()
    page.wait_for_selector(".hit mark:has-text('needle')", timeout=60_000)
    page.wait_for_selector(".chat-list .none", state="detached")


def test_search_refused_by_the_relay_shows_the_reason(person: Any) -> None:
    ben = person("ben")

    def refuse(route: Any) -> None:
        server = route.connect_to_server()

        def ask(text: str) -> None:
            frame = json.loads(text) if text.startswith("{") else {}
            if frame.get("payloadType") in ("search", "users"):
                error = {"code": "forbidden", "message": "no"}
                answer = {"type": "response", "id": frame["id"], "timestamp": frame["timestamp"], "error": error}
                route.send(json.dumps(answer))
            else:
                server.send(text)

        route.on_message(ask)

    ben.context.route_web_socket("**/ws?v=2", refuse)
    page = ben.chats()
    search(page, "needle")
    page.wait_for_selector(".chat-list .none[role=alert]")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.fill(".modal input", "needle")
    page.wait_for_selector(".modal .none[role=alert]")


def test_result_follows_the_edit_and_the_deletion_of_its_message(person: Any) -> None:
    anna = person("anna")
    first, second = anna.say("ben", "needle one", "needle two")
    page = person("ben").chats()
    page.click("[data-chat=anna]")
    page.wait_for_selector(".message:has-text('needle two')")
    search(page, "needle")
    page.wait_for_selector(".hit:has-text('needle two')")
    edit = {"chatId": "ben", "originalMessageId": first["messageId"], "message": "needle three", "clientMessageId": "e"}
    anna.ask(("edit", edit))
    page.wait_for_selector(".hit:has-text('needle three')")
    anna.ask(("delete", {"chatId": "ben", "originalMessageId": second["messageId"], "clientMessageId": "d"}))
    page.wait_for_selector(".hit:has-text('needle two')", state="detached")


def test_list_of_many_chats_draws_only_a_window_of_them(person: Any) -> None:
    ben = person("ben")
    chats = [
        {
            "type": "group",
            "id": f"g{at}",
            "name": f"Group {at}",
            "lastMessageText": "x",
            "lastMessageTime": 9_999 - at,
            "lastMessageStatus": "read",
            "lastMessageId": 1,
            "lastMessageAuthor": "ben",
            "missed": 0,
            "isMine": True,
        }
        for at in range(2_000)
    ]

    def many(route: Any) -> None:
        server = route.connect_to_server()
        asked: set[str] = set()

        def ask(text: str) -> None:
            frame = json.loads(text) if text.startswith("{") else {}
            if frame.get("payloadType") == "chats":
                asked.add(frame["id"])
            server.send(text)

        def answer(text: str) -> None:
            frame = json.loads(text)
            if frame.get("id") in asked and frame["type"] == "response":
                frame["payload"] = chats
            route.send(json.dumps(frame))

        route.on_message(ask)
        server.on_message(answer)

    ben.context.route_web_socket("**/ws?v=2", many)
    page = ben.chats()
    page.wait_for_selector("[data-chat=g0]")
    height = page.evaluate(ROWS)["height"]
    assert height > 2_000 * 60
    for part in (0.5, 1, 0.25, 0):
        page.evaluate(SCROLL, part)
        at = round(2_000 * part)
        page.wait_for_function("(at) => document.querySelector(`[data-chat=g${at}]`)", arg=min(at, 1_999))
        shown = page.evaluate(ROWS)
        assert shown["drawn"] <= 80
        assert abs(int(shown["first"][1:]) - at) <= 14
        assert abs(shown["height"] - height) <= 70
    assert page.get_attribute("li:has(> [data-chat=g3])", "aria-posinset") == "4"
    # The keyboard reaches all of them.
    page.focus(".chat-list input[type=search]")
    for _ in range(90):
        page.keyboard.press("ArrowDown")
    page.wait_for_function("document.activeElement.dataset.chat === 'g89'")
    search(page, "Group 1999")
    page.wait_for_selector("[data-chat=g1999]")
    assert page.evaluate(ROWS)["drawn"] == 1


def test_a_search_leads_to_the_message(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "the needle is here", *(f"hay {at}" for at in range(350)))
    anna.ask(("read", {"chatId": "ben"}))
    page = anna.chats()
    page.fill("input[type=search]", "needle")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash:has-text('needle')")
    assert page.evaluate(IN_VIEW, ".message.is-flash")
    page.click(".to-end")
    page.wait_for_selector(".text:has-text('hay 349')")


def test_single_character_is_searched_for_if_it_is_a_word(person: Any) -> None:
    person("ben").say("anna", "我 有 猫")
    page = person("anna").chats()
    page.wait_for_selector("[data-chat=ben]")
    page.fill("input[type=search]", "猫")
    page.wait_for_selector(".hit mark:has-text('猫')")
    # Without a search, the page does not claim that there are no results.
    page.fill("input[type=search]", "q")
    page.wait_for_selector(".hit", state="detached")
    page.wait_for_selector(".none:has-text('Type more to search the messages')")


def test_word_is_highlighted_in_any_spelling(person: Any) -> None:
    person("ben").say("anna", "alle Wege führen über die Große Straße")
    page = person("anna").chats()
    page.wait_for_selector("[data-chat=ben]")
    page.fill("input[type=search]", "GROSSE STRASSE")
    page.wait_for_selector(".hit mark:has-text('Große')")
    page.wait_for_selector(".hit mark:has-text('Straße')")


def test_searched_words_are_marked_in_the_message_until_it_is_left(person: Any) -> None:
    ben, anna = person("ben"), person("anna")
    ben.say("anna", "the Needle `needle` is here", *(f"hay {at}" for at in range(40)))
    anna.ask(("read", {"chatId": "ben"}))
    anna.say("carla", "hello")
    page = anna.chats()
    search(page, "NEEDLE")
    page.click(".hit")
    page.wait_for_selector(".message.is-flash mark")
    assert page.locator(".message mark").all_inner_texts() == ["Needle", "needle"]
    assert page.locator(".message code mark").count() == 1
    # Opened again, the chat shows its end, and nothing is marked.
    search(page, "")
    page.click("[data-chat=carla]")
    page.wait_for_selector(".text:has-text('hello')")
    page.click("[data-chat=ben]")
    page.wait_for_selector(".text:has-text('hay 39')")
    page.wait_for_timeout(300)
    assert page.evaluate(IN_VIEW, ".message:last-child")
    assert page.locator(".message mark").count() == 0


def test_hit_of_a_search_in_a_chat_is_marked_in_its_message(person: Any) -> None:
    anna = person("anna")
    anna.say("ben", "the needle is here", "hay")
    page = anna.open("/#chat=ben")
    page.click(".chat-bar [aria-label='Search in this chat']")
    page.fill(".modal input", "needle")
    page.wait_for_selector(".modal mark")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message mark:has-text('needle')")
