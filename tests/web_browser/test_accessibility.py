"""Every main screen held to the rules of axe-core (WCAG 2, A and AA), in both themes, on a desk and on a phone.

On a phone also to the smallest size of what is pressed with a finger.

axe is run by the browser's debugger, which a page's policy does not bind: the page keeps the policy that people get.
"""

from __future__ import annotations

from typing import Any

import pytest

SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desk": {"viewport": {"width": 1280, "height": 800}},
}
# Bits of the page that come and go softly have another contrast half way.
CALM = {"reduced_motion": "reduce"}
# What keeps somebody from using the page at all, or makes it hard.
GRAVE = ("serious", "critical")
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
MOVING = (
    "document.getAnimations().some((one) => one.playState === 'running' && one.effect.getTiming().iterations === 1)"
)


def talk(person: Any) -> str:
    """Let people say something of each kind there is; the id of their group."""
    anna, ben, maria = person("anna"), person("ben"), person("maria")
    [group] = anna.ask(("createChat", {"type": "group", "name": "Harbour crew", "participants": ["ben", "maria"]}))
    chat: str = group["chatId"]
    anna.say(chat, "Is everybody coming on Saturday?")
    maria.say(chat, "Я смогу после обеда.", "See https://pumps.example.org/manual, then `reset`\n```\nERR 17\n```")
    ben.say(chat, "👍", "to be deleted", "to be edited")
    ben.ask(("delete", {"chatId": chat, "messageId": 5}))
    ben.ask(("edit", {"chatId": chat, "messageId": 6, "message": "The pump is edited"}))
    ben.ask(("new", {"chatId": chat, "message": "Of course", "replyTo": 1}))
    ben.say("anna", "Morning! Did the boat survive?", "The pump did not")
    maria.say("anna", *(f"number {at}" for at in range(3)))
    anna.say("maria", "thank you")
    return chat


# What is pressed with a finger and is smaller than 44 pixels; a link in a text is as high as its line.
SMALL = """() => !matchMedia('(pointer: coarse)').matches ? []
  : [...document.querySelectorAll('button, input, select, textarea')]
  .filter((one) => one.checkVisibility() && !one.closest('.hidden'))
  .map((one) => [one, (one.closest('label') ?? one).getBoundingClientRect()])
  .filter(([, { width, height }]) => width > 0 && Math.min(width, height) < 44)
  .map(([one, { width, height }]) => `${one.className || one.tagName} ${Math.round(width)}x${Math.round(height)}`)"""


class Judge:
    """Holds what is on the screen to the rules, and keeps what it found until all screens were seen."""

    def __init__(self) -> None:
        from axe_playwright_python.sync_playwright import Axe

        self.axe = Axe()
        self.found: list[str] = []

    def __call__(self, page: Any, screen: str) -> None:
        for _ in range(40):
            if not page.evaluate(MOVING):
                break
            page.wait_for_timeout(50)
        results = self.axe.run(page, options={"resultTypes": ["violations"]}).response
        assert results["passes"], "axe looked at nothing"
        self.found += [
            f"{screen}: {rule['impact']} {rule['id']}: {node['html'][:160]}: {node['failureSummary']}"
            for rule in results["violations"]
            if rule["impact"] in GRAVE
            for node in rule["nodes"]
        ]
        self.found += [f"{screen}: too small for a finger: {one}" for one in page.evaluate(SMALL)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_screen_keeps_to_the_rules(person: Any, size: str, scheme: str) -> None:
    judge = Judge()
    group = talk(person)
    options = {**SIZES[size], **CALM, "color_scheme": scheme}
    stranger = person(None, **options).open()
    stranger.wait_for_selector(".signin form")
    judge(stranger, "sign-in")
    stranger.goto(stranger.url + "#invite=made-up")
    stranger.click("text=Join")
    stranger.wait_for_selector(".form-error")
    judge(stranger, "sign-in refused")

    page = person("anna", **options).chats()
    page.wait_for_selector("[data-chat=ben] .badge")
    judge(page, "list")
    page.click("[data-chat=ben]")
    page.wait_for_selector(".message")
    judge(page, "dialog")
    if size == "phone":
        page.go_back()
    page.click(f"[data-chat={group}]")
    page.wait_for_selector(".message .is-deleted")
    judge(page, "group")

    page.locator(".message").last.click(button="right")
    page.wait_for_selector("[role=menu]")
    judge(page, "menu")
    page.click("[role=menuitem]:has-text('Reply')")
    page.wait_for_selector(".what")
    judge(page, "reply")
    page.locator(".message").last.click(button="right")
    page.click("[role=menuitem]:has-text('Details')")
    page.wait_for_selector(".modal")
    judge(page, "message info")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.set_input_files(
        ".composer input[type=file]", [{"name": "plan.svg", "mimeType": "image/svg+xml", "buffer": PICTURE}]
    )
    page.wait_for_selector(".modal .files")
    judge(page, "files")
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine a.file")
    judge(page, "file sent")

    page.click(".chat-title")
    page.wait_for_selector(".panel-head")
    judge(page, "details")
    page.click("text=Search in this chat")
    page.fill(".modal input", "pump")
    page.wait_for_selector(".modal mark")
    judge(page, "search in a chat")
    page.keyboard.press("Escape")  # empties the field
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.click("text=Delete for everybody")
    page.wait_for_selector(".modal .is-danger")
    judge(page, "confirm")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.go_back()

    page.goto(page.url.split("#")[0])
    page.click(".me")
    page.wait_for_selector(".photo")
    page.wait_for_selector("text=This device")
    judge(page, "settings")
    page.click(".list-button:has-text('Keys')")
    page.wait_for_selector(".modal kbd")
    judge(page, "keys")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")
    page.click(".list-button:has-text('Invite')")
    page.click(".modal .button:has-text('Make a link')")
    page.wait_for_selector("svg.qr path")
    judge(page, "invite")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal", state="detached")

    page.goto(page.url.split("#")[0])
    page.click(".column-list .bar .is-accent")
    page.wait_for_selector(".person")
    judge(page, "new chat")
    page.locator(".list-button").first.click()
    page.check(".person:has-text('Ben') input")
    page.wait_for_selector(".chip")
    judge(page, "new group")

    page.goto(page.url.split("#")[0])
    page.fill("input[type=search]", "pump")
    page.wait_for_selector(".hit")
    judge(page, "search")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".modal .person")
    judge(page, "jump")
    assert judge.found == [], "\n".join(judge.found)
