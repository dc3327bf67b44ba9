"""Names: known everywhere, distinguishable, set in their own direction; presence as sent by the relay."""

from __future__ import annotations

from typing import Any

from tests.support.browser_relay import run
from tests.support.page_actions import open_chat

# Where an element begins and ends, in px from the left.
SPAN = "(element) => { const { left, right } = element.getBoundingClientRect(); return [left, right]; }"
LEILA = "لیلا کریمی"
PHONE = {"viewport": {"width": 390, "height": 844}}


def add(relay: Any, user: str, name: str) -> None:
    """Add somebody with a device, so that they can speak."""
    run("user", "add", user, "--name", name, data=relay.data)
    relay.tokens[user] = [run("device", "add", user, data=relay.data).strip().splitlines()[-1]]


def lab(person: Any, *members: str) -> tuple[Any, str]:
    anna = person("anna")
    made = anna.ask(("createChat", {"type": "group", "name": "Lab", "participants": list(members)}))
    return anna, made[0]["chatId"]


def test_author_in_the_list_is_named_without_opening_the_group(person: Any) -> None:
    _, chat = lab(person, "ben", "carla")
    person("carla").say(chat, "good morning")
    ben = person("ben")
    page = ben.chats()
    page.wait_for_selector(f"[data-chat='{chat}'] .chat-row-author:has-text('Carla Schnabelreiter')")
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: frames.append(str(data))))
    page.wait_for_timeout(1_000)
    page.reload()
    page.wait_for_selector(f"[data-chat='{chat}'] .chat-row-author:has-text('Carla Schnabelreiter')")
    page.wait_for_timeout(2_500)
    assert not any('"users"' in frame for frame in frames)
    assert not ben.problems


def test_right_to_left_names_are_placed_like_all_names(person: Any, relay: Any, pictures: Any) -> None:
    add(relay, "leila", LEILA)
    anna, chat = lab(person, "ben", "leila")
    leila = person("leila")
    leila.say(chat, "ok")
    leila.say("ben", "سلام، فردا صبح ساعت هشت در ایستگاه قطار همدیگر را می بینیم و بعد با هم به شهر می رویم")
    anna.say("ben", "hello")
    ben = person("ben", **PHONE)
    page = ben.chats()
    page.wait_for_selector(".chat-row-author:has-text('لیلا')")
    # A group's name has an icon before it.
    begins = {one.evaluate(SPAN)[0] for one in page.locator(".chat-row-name:first-child bdi").all()}
    assert len(begins) == 1, begins
    author = page.locator(f"[data-chat='{chat}'] .chat-row-author").evaluate(SPAN)
    said = page.locator(f"[data-chat='{chat}'] .chat-row-said").evaluate(SPAN)
    assert author[1] <= said[0]
    # A long right-to-left text loses its end, not its beginning, and begins where texts do.
    row = page.locator("[data-chat=leila] .chat-row-said")
    assert row.evaluate("(one) => [getComputedStyle(one).direction, getComputedStyle(one).textAlign]") == [
        "rtl",
        "left",
    ]
    page.screenshot(path=pictures / "names-list-390.png")
    page.click(f"[data-chat='{chat}']")
    page.wait_for_selector(".author bdi")
    bubble, name = (page.locator(one).first.evaluate(SPAN) for one in (".bubble:has(.author)", ".author bdi"))
    assert name[0] - bubble[0] < 24
    page.go_back()
    page.click("[data-chat=leila]")
    page.wait_for_selector(".chat-title")
    assert page.get_attribute(".chat-title", "title") == f"About \u2068{LEILA}\u2069"
    page.screenshot(path=pictures / "names-chat-390.png")
    assert not ben.problems


def test_stranger_is_not_shown_as_offline(person: Any) -> None:
    person("ben").chats()
    page = person("anna").chats()
    page.goto(f"{page.url.split('#')[0]}#chat=ben")
    page.wait_for_selector(".chat-title-sub:has-text('@ben')")
    assert page.locator(".chat-bar .presence").count() == 0
    page.fill(".composer textarea", "hello")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chat-title-sub .is-online")


def test_nobody_is_shown_as_offline_while_the_relay_is_away(person: Any, relay: Any) -> None:
    anna = person("anna")
    anna.say("ben", "hello")
    person("ben").chats()
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben] .presence.is-online")
    relay.stop()
    page.wait_for_selector("[data-chat=ben] .presence", state="detached")
    relay.start()
    page.wait_for_selector("[data-chat=ben] .presence.is-online", timeout=60_000)


def test_people_with_look_alike_names_are_distinguished_by_their_ids(person: Any, relay: Any) -> None:
    # The second one's first letter is Cyrillic; an admin may give any name.
    for user, name in (("eve1", "Eve Park"), ("eve2", "\u0415ve park")):
        run("user", "add", user, "--name", name, data=relay.data)
    page = person("anna").chats()
    page.click(".column-list .bar .is-accent")
    page.wait_for_selector(".person:has-text('Eve Park @eve1')")
    page.wait_for_selector(".person:has-text('park @eve2')")
    assert page.locator(".person:has-text('Ben Okafor @')").count() == 0
    page.click(".person:has-text('Eve Park @eve1')")
    page.wait_for_selector(".chat-title-name:has-text('Eve Park @eve1')")


def test_typing_and_presence_are_shown(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    anna.say("ben", "hello")
    page, other = anna.chats(), ben.chats()
    open_chat(page, "ben")
    open_chat(other, "anna")
    page.wait_for_selector(".chat-title-sub .is-online")
    other.type(".composer textarea", "hm")
    page.wait_for_selector(".chat-title-sub .is-typing")
    other.close()
    page.wait_for_selector(".chat-title-sub .is-typing", state="detached")
    page.wait_for_selector(".chat-title-sub .is-online", state="detached")
