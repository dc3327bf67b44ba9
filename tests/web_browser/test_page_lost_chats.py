"""Version 2 of the protocol on the page: the list in pages, lost chats, and new devices."""

from __future__ import annotations

import json
from typing import Any

from tests.support.browser_relay import run

# The stored data of a chat: its messages, and how it was lost.
KEPT = """(chatId) => new Promise((resolve, reject) => {
  const opening = indexedDB.open('relay:ben');
  opening.onerror = reject;
  opening.onsuccess = () => {
    const work = opening.result.transaction(['values', 'rooms']);
    const chats = work.objectStore('values').get(`chats/${chatId}`);
    const room = work.objectStore('rooms').get(chatId);
    work.oncomplete = () => {
      opening.result.close();
      const line = chats.result;
      resolve(!line ? null : { messages: room.result?.messages.length ?? 0, lost: Boolean(line.gone) });
    };
  };
})"""
REMOVED = "Anna Lindqvist removed you from “Lab”"


def lab(person: Any, *texts: str) -> tuple[Any, str]:
    """Let Anna make a group with Ben, and send a message in it."""
    anna = person("anna")
    made = anna.ask(("createChat", {"type": "group", "name": "Lab", "participants": ["ben"]}))
    chat: str = made[0]["chatId"]
    anna.say(chat, *(texts or ("the first", "the second")))
    return anna, chat


def wait_until_kept(page: Any, chat: str, kept: dict[str, Any] | None) -> None:
    """Wait until the stored data of a chat is this; None for nothing."""
    for _ in range(200):
        if page.evaluate(KEPT, chat) == kept:
            return
        page.wait_for_timeout(50)
    raise AssertionError(page.evaluate(KEPT, chat))


def remove(anna: Any, chat: str) -> None:
    anna.ask(("removeParticipants", {"chatId": chat, "participants": ["ben"]}))


def open_chat(who: Any, chat: str) -> Any:
    page = who.open(f"/#chat={chat}")
    page.wait_for_selector(".message:has-text('the second')")
    return page


def test_member_removed_while_reading_can_read_on_and_sees_who_removed_them(person: Any) -> None:
    anna, chat = lab(person)
    ben = person("ben")
    page = open_chat(ben, chat)
    remove(anna, chat)
    page.wait_for_selector(f".lost:has-text('{REMOVED}')")
    assert page.locator(".message").count() == 2
    assert page.locator(".composer").count() == 0
    assert REMOVED in page.inner_text(f"[data-chat='{chat}']")
    assert page.locator(".chat-bar button:visible:enabled").count() == 0
    page.locator(".message").last.click(button="right")
    page.wait_for_selector("[role=menuitem]")
    assert page.locator("[role=menuitem]").all_inner_texts() == ["Copy", "Details"]
    page.keyboard.press("Escape")
    wait_until_kept(page, chat, {"messages": 2, "lost": True})
    page.reload()
    page.wait_for_selector(f".lost:has-text('{REMOVED}')")
    page.wait_for_selector(".message:has-text('the second')")
    page.click("text=Remove from the list")
    page.wait_for_selector(f"[data-chat='{chat}']", state="detached")
    assert "chat=" not in page.url
    wait_until_kept(page, chat, None)
    page.reload()
    page.wait_for_selector(".chat-list")
    assert page.locator(f"[data-chat='{chat}']").count() == 0
    assert not ben.problems


def test_member_removed_while_away_can_read_on_and_sees_who_removed_them(person: Any) -> None:
    anna, chat = lab(person)
    ben = person("ben")
    page = open_chat(ben, chat)
    wait_until_kept(page, chat, {"messages": 2, "lost": False})
    page.close()
    anna.ask(("updateChat", {"chatId": chat, "name": "Laboratory"}))
    remove(anna, chat)
    anna.ask(("updateChat", {"chatId": chat, "name": "Secret"}))
    anna.say(chat, "they are gone")
    page = ben.chats()
    page.click("text=removed you from “Laboratory”")
    page.wait_for_selector(".message:has-text('the second')")
    assert "they are gone" not in page.content()
    assert "Secret" not in page.content()


def test_members_of_a_deleted_chat_can_read_on_and_see_who_deleted_it(person: Any) -> None:
    anna, chat = lab(person)
    page = open_chat(person("ben"), chat)
    anna.ask(("deleteChat", {"chatId": chat}))
    page.wait_for_selector(".lost:has-text('Anna Lindqvist deleted “Lab”')")
    assert page.locator(".message").count() == 2


def test_member_added_again_reads_everything_and_writes(person: Any) -> None:
    anna, chat = lab(person)
    page = open_chat(person("ben"), chat)
    remove(anna, chat)
    page.wait_for_selector(".lost")
    anna.say(chat, "said meanwhile")
    anna.ask(("addParticipants", {"chatId": chat, "participants": ["ben"]}))
    page.wait_for_selector(".composer")
    page.wait_for_selector("text=said meanwhile")
    page.fill(".composer textarea", "back again")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message .ticks-delivered, .message .ticks-sent, .message .ticks-read")


def test_member_who_leaves_on_another_device_gets_no_other_notice(person: Any) -> None:
    _, chat = lab(person)
    ben = person("ben")
    page = open_chat(ben, chat)
    ben.ask(("leaveChat", {"chatId": chat}))
    page.wait_for_selector(".notice:has-text('You left “Lab”')")
    page.wait_for_selector(f"[data-chat='{chat}']", state="detached")
    assert page.locator(".lost").count() == 0


def test_list_comes_in_pages_that_are_shown_at_once(person: Any) -> None:
    anna = person("anna")
    for name in ("One", "Two", "Three"):
        anna.ask(("createChat", {"type": "group", "name": name, "participants": []}))
    held: list[Any] = []

    def pages(route: Any) -> None:
        """Stand between the page and the relay; send one chat per page, and the second page on demand."""
        server = route.connect_to_server()
        asked: dict[str, str | None] = {}
        whole: list[Any] = []

        def ask(text: str) -> None:
            frame = json.loads(text) if text.startswith("{") else {}
            if frame.get("payloadType") == "chats":
                asked[frame["id"]] = frame["payload"].get("after")
                text = json.dumps({**frame, "payload": {}})
            server.send(text)

        def answer(text: str) -> None:
            frame = json.loads(text)
            if frame.get("eventType") == "chat":
                return
            if frame.get("id") in asked and frame["type"] == "response":
                at = int(asked.pop(frame["id"]) or 0)
                whole[:] = whole or frame["payload"]
                frame["payload"] = whole[at : at + 1]
                if at + 1 < len(whole):
                    frame.update(more=True, next=str(at + 1))
                if at == 1:
                    held.append(lambda: route.send(json.dumps(frame)))
                    return
            route.send(json.dumps(frame))

        route.on_message(ask)
        server.on_message(answer)

    anna.context.route_web_socket("**/ws?v=2", pages)
    page = anna.chats()
    page.wait_for_selector(".chat-row")
    page.wait_for_timeout(200)
    assert page.locator(".chat-row").count() == 1
    held.pop()()
    page.wait_for_selector(".chat-row >> nth=2")


def test_new_device_is_announced_with_a_way_to_all_devices(person: Any, relay: Any) -> None:
    page = person("ben").chats()
    person("anna").say("ben", "are you there")
    page.wait_for_selector("text=are you there")
    run("device", "add", "ben", "--label", "Firefox on Linux", data=relay.data)
    page.wait_for_selector(".notice:has-text('A new device signed in to your account: Firefox on Linux')")
    page.click("text=Show devices")
    page.wait_for_selector("section[aria-label='Devices'] >> text=Firefox on Linux")
    assert page.locator(".notice").count() == 0


def test_text_typed_for_a_lost_group_can_be_read_and_copied_and_is_erased_only_after_a_question(person: Any) -> None:
    anna, chat = lab(person)
    ben = person("ben", permissions=["clipboard-read", "clipboard-write"])
    ben.say(chat, "mine")
    page = open_chat(ben, chat)
    field = ".composer textarea"
    page.wait_for_selector(".is-mine:has-text('mine')")
    page.fill(field, "half a thought")
    page.set_input_files(".composer input[type=file]", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"})
    page.fill(".modal textarea", "a caption")
    page.keyboard.press("Escape")
    page.fill(field, "")
    page.press(field, "ArrowUp")
    page.fill(field, "mine, corrected")
    page.click("[aria-label='Emoji']")
    page.keyboard.press("Escape")
    remove(anna, chat)
    for text in ("a caption", "mine, corrected"):
        page.wait_for_selector(f".lost .unsent:has-text('{text}')")
    page.click(".unsent:has-text('corrected') [aria-label='Copy']")
    page.wait_for_selector(".notice:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == "mine, corrected"
    wait_until_kept(page, chat, {"messages": 3, "lost": True})
    page.reload()
    page.wait_for_selector(".lost .unsent:has-text('a caption')")
    page.click("text=Remove from the list")
    page.click(".modal button:has-text('Cancel')")
    page.wait_for_selector(".lost .unsent:has-text('a caption')")
    page.click("text=Remove from the list")
    page.click(".modal .is-danger")
    page.wait_for_selector(f"[data-chat='{chat}']", state="detached")
    assert "corrected" not in page.evaluate("JSON.stringify(localStorage)")


def test_files_dialog_that_closes_because_the_group_is_lost_says_so(person: Any) -> None:
    anna, chat = lab(person)
    page = open_chat(person("ben"), chat)
    page.set_input_files(".composer input[type=file]", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"})
    page.fill(".modal textarea", "a caption")
    remove(anna, chat)
    page.wait_for_selector(f".notice:has-text('{REMOVED}')")
    page.wait_for_selector(".lost .unsent:has-text('a caption')")
    assert page.locator(".modal").count() == 0


def test_text_typed_for_a_channel_that_becomes_read_only_can_be_read(person: Any) -> None:
    anna = person("anna")
    made = anna.ask(("createChat", {"type": "channel", "name": "News", "participants": ["ben"]}))
    chat = made[0]["chatId"]
    anna.ask(("updateChat", {"chatId": chat, "admins": ["ben"]}))
    anna.say(chat, "the second")
    page = open_chat(person("ben"), chat)
    page.fill(".composer textarea", "an announcement")
    anna.ask(("updateChat", {"chatId": chat, "admins": []}))
    page.wait_for_selector(".read-only:has-text('Only admins can post') .unsent:has-text('an announcement')")
    anna.ask(("updateChat", {"chatId": chat, "admins": ["ben"]}))
    page.wait_for_selector(".composer textarea")
    assert page.input_value(".composer textarea") == "an announcement"
