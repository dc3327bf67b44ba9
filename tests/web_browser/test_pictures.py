"""A picture of every screen, on a phone and on a desktop, light and dark, for human review.

Kept with --pictures DIR. Nothing here judges beauty; a test fails if a screen cannot be reached or is wider than the
window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desk": {"viewport": {"width": 1280, "height": 800}},
}
LOCALES = {"light": "en-GB", "dark": "de-DE"}
MANY = 130


def talk(person: Any) -> str:
    """Fill the chats with messages in several languages; return the id of the group."""
    anna, ben, carla, maria, lei, yusuf = (person(one) for one in ("anna", "ben", "carla", "maria", "lei", "yusuf"))
    members = ["ben", "carla", "maria"]
    [group] = anna.ask(
        ("createChat", {"type": "group", "name": "Harbour crew ⚓ weekend repairs", "participants": members})
    )
    [channel] = ben.ask(("createChat", {"type": "channel", "name": "Announcements", "participants": ["anna"]}))
    ben.say(channel["chatId"], "The office closes at 16:00 on Friday.")
    anna.say("anna", "Wi-Fi guest password: `blue-otter-42`")
    yusuf.say("anna", "السلام عليكم، هل يمكننا الاجتماع غدا صباحا؟")
    anna.say("yusuf", "نعم، الساعة العاشرة مناسبة.")
    maria.say("anna", *(f"Сообщение номер {at}: вы уже видели расписание на выходные?" for at in range(MANY)))
    lei.say("anna", "周末一起吃火锅吗?我知道一家新店,就在地铁站旁边。")
    ben.say("anna", "Morning! Did the boat survive the storm last night?")
    anna.say("ben", "It did 🎉 One fender is gone, that is all.")
    ben.say(
        "anna",
        "Lucky. I walked along the pier at six and there were ropes everywhere",
        "The harbour master was unhappy.",
    )
    anna.say(
        "ben", "The pump says\n```\nERR 17: no pressure\n  at pump.start (pump.c:212)\n```\nand `reset` does nothing."
    )
    ben.ask(
        (
            "new",
            {
                "chatId": "anna",
                "message": "See https://pumps.example.org/manuals/model-17b/pressure.html#errors (page 4).",
                "replyTo": 5,
            },
        )
    )
    anna.say("ben", "👍")
    ben.ask(("read", {"chatId": "anna"}))
    anna.ask(("read", {"chatId": "ben"}))
    carla.say(
        group["chatId"],
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft: Kuchen!",
        "Der Wetterbericht sagt Sturm ab 18 Uhr.",
    )
    maria.say(group["chatId"], "Я смогу после обеда, около двух.")
    anna.say(group["chatId"], "Great, then we are four.")
    ben.say(group["chatId"], "Can we get the big crane? The keel is 2.4 t")
    chat: str = group["chatId"]
    return chat


@pytest.mark.parametrize("scheme", list(LOCALES))
@pytest.mark.parametrize("size", list(SIZES))
def test_every_screen_has_its_picture(person: Any, pictures: Path, size: str, scheme: str) -> None:
    group = talk(person)
    options = {**SIZES[size], "color_scheme": scheme, "locale": LOCALES[scheme]}
    anna = person("anna", **options)
    width = SIZES[size]["viewport"]["width"]

    def take(page: Any, name: str) -> None:
        page.wait_for_timeout(350)
        page.screenshot(path=pictures / f"{size}-{scheme}-{name}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name

    def leave(page: Any) -> None:
        page.go_back()
        page.wait_for_timeout(150)

    stranger = person(None, **options).open()
    stranger.wait_for_selector(".signin form")
    take(stranger, "signin")

    page = anna.chats()
    page.wait_for_selector("[data-chat=maria] .badge")
    take(page, "list")
    for chat, name in (("ben", "dialog"), (group, "group"), ("maria", "unread"), ("yusuf", "rtl"), ("anna", "notes")):
        page.click(f"[data-chat={chat}]")
        page.wait_for_selector(".message")
        take(page, name)
        if size == "phone":
            leave(page)
    page.click(f"[data-chat={group}]")
    page.click(".chat-title")
    page.wait_for_selector(".panel-head")
    take(page, "details")
    leave(page)
    page.fill(
        ".composer textarea", "One line\nand a second that is long enough to be wrapped around on a phone\nand a third"
    )
    page.locator(".message").last.click(button="right")
    page.wait_for_selector("[role=menu]")
    take(page, "menu")
    page.keyboard.press("Escape")
    # The browser goes back one step at a time: two at once count as one.
    page.wait_for_selector("[role=menu]", state="detached")
    page.wait_for_timeout(150)
    leave(page)
    page.click(".me")
    page.wait_for_selector("[aria-label] .photo")
    take(page, "settings")
    leave(page)
    page.click(".column-list .bar .is-accent")
    page.wait_for_selector(".person")
    take(page, "new-chat")
    page.locator(".list-button").first.click()
    page.wait_for_selector("input[name=name]")
    take(page, "new-group")
    leave(page)
    page.fill("input[type=search]", "pump")
    page.wait_for_selector(".hit")
    take(page, "search")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal .person")
    take(page, "jump")
    page.keyboard.press("Escape")


def test_the_readme_shows_two_people_talking(person: Any, pictures: Path) -> None:
    """`chat.png` is the picture in the README, kept as packaging/pictures/chat.png."""
    anna, ben, lei = person("anna", viewport={"width": 1100, "height": 640}), person("ben"), person("lei")
    [crew] = anna.ask(("createChat", {"type": "group", "name": "Harbour crew", "participants": ["ben", "lei"]}))
    lei.say("anna", "周末一起吃火锅吗?我知道一家新店。")
    anna.say("anna", "Wi-Fi for guests: `blue-otter-42`")
    lei.say(crew["chatId"], "The wind drops at two, says the forecast.", "I bring the ropes.")
    ben.say("anna", "Morning! Did the boat survive the night?")
    anna.say(
        "ben", "It did 🎉 One fender is gone, that is all.", "But the pump is silent:\n```\nERR 17: no pressure\n```"
    )
    answer = {"chatId": "anna", "message": "That is the filter. I have one in the shed, give me an hour.", "replyTo": 3}
    ben.ask(("new", answer))
    anna.say("ben", "You are the best. Coffee is on me ☕")
    ben.ask(("read", {"chatId": "anna"}))
    anna.ask(("read", {"chatId": "ben"}))
    other = ben.chats()
    page = anna.chats()
    page.click("[data-chat=ben]")
    page.wait_for_selector(".chat-title-sub .is-online")
    page.wait_for_selector(".is-mine .ticks-read")
    other.click("[data-chat=anna]")
    page.wait_for_timeout(350)
    kept = pictures / "chat.png"
    page.screenshot(path=kept)
    assert kept.stat().st_size <= 120 * 1024
