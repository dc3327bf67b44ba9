"""Layout of messages: captions, albums, names of any direction, text size, hover, three columns."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.picture_files import png, webp

STYLES = (Path(__file__).parents[2] / "relay/web/styles/app.css").read_text()
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PICTURE = png(90, 60)
CAPTION = "The keel after the storm: two dents beside the rudder and a scratch that goes down to the metal, see photo"
UPLOAD = """async ([name, body]) => {
  const data = Uint8Array.from(atob(body), (one) => one.charCodeAt(0));
  const headers = { "Content-Disposition": `attachment; filename="${name}"`, "Content-Type": "image/png" };
  return (await fetch("/files", { method: "POST", body: data, headers })).json();
}"""


def send_pictures(person: Any, chat: str, number: int, text: str = "", picture: bytes = PICTURE) -> None:
    """Send one message with this many pictures, from a device of the person."""
    body = base64.b64encode(picture).decode()
    page = person.context.new_page()
    page.goto(person.relay.url + "/icons/icon.svg")
    attachments = [page.evaluate(UPLOAD, [f"photo {at}.png", body]) for at in range(number)]
    page.close()
    [answer] = person.ask(("new", {"chatId": chat, "message": text, "attachments": attachments}))
    assert "error" not in answer, answer


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = page.eval_on_selector_all(
        selector,
        "all => all.map(one => { const b = one.getBoundingClientRect(); return {x: b.x, w: b.width, h: b.height}; })",
    )
    return found


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_a_captioned_picture_has_a_bubble_as_wide_as_itself(
    person: Any, pictures: Path, options: dict[str, Any]
) -> None:
    send_pictures(person("ben"), "anna", 1, CAPTION, png(330, 220))
    page = person("anna", **options).open("/#chat=ben")
    page.wait_for_selector(".picture img")
    page.wait_for_function("document.querySelector('.picture img').complete")
    [bubble], [picture] = boxes(page, ".bubble"), boxes(page, ".picture")
    page.screenshot(path=pictures / f"caption-{'phone' if options else 'desk'}.png")
    assert bubble["w"] - picture["w"] <= 14
    [indents] = page.eval_on_selector_all(
        ".text p",
        """all => all.map(p => {
          const range = document.createRange(); range.selectNodeContents(p);
          const lines = [...range.getClientRects()].filter(one => one.width > 8);
          return [...new Set(lines.map(one => Math.round(one.x)))]; })""",
    )
    assert len(indents) == 1, f"the lines of the caption begin at {indents}"


@pytest.mark.parametrize("number", [2, 3, 4, 5, 9])
def test_pictures_of_one_message_are_a_grid_that_fits_a_phone(person: Any, pictures: Path, number: int) -> None:
    send_pictures(person("ben"), "anna", number, "from the harbour")
    page = person("anna", **PHONE).open("/#chat=ben")
    page.wait_for_selector(".album img")
    [album], [bubble] = boxes(page, ".album"), boxes(page, ".bubble")
    page.screenshot(path=pictures / f"album-{number}.png")
    assert album["h"] <= 400
    assert bubble["w"] - album["w"] <= 14
    assert len(boxes(page, ".album .picture")) == min(number, 6)
    assert page.locator(".picture-more").all_inner_texts() == (["+4"] if number == 9 else [])
    page.locator(".album .picture").first.click()
    page.wait_for_selector(".viewer img")


def test_undisplayable_picture_is_offered_as_a_file(person: Any) -> None:
    send_pictures(person("ben"), "anna", 1, picture=webp(200, 200))  # a header, and nothing behind it
    page = person("anna").open("/#chat=ben")
    page.wait_for_selector(".file .file-name")
    assert page.locator(".picture").count() == 0


def test_hover_styles_apply_only_to_devices_with_hover() -> None:
    loose = [line for line in STYLES.splitlines() if ":hover" in line and not line.startswith("@media (hover: hover)")]
    assert loose == []


def test_no_text_size_is_in_pixels() -> None:
    assert re.findall(r"font(?:-size)?: [^;]*?[\d.]+px[^;]*;", STYLES) == []


@pytest.mark.parametrize("width", [390, 800, 960, 1180, 1280])
def test_details_never_cover_a_part_of_the_composer(person: Any, pictures: Path, width: int) -> None:
    person("ben").say("anna", "hello")
    page = person("anna", viewport={"width": width, "height": 800}).open("/#chat=ben")
    page.locator(".chat-title").click()
    page.wait_for_selector(".column-details .panel-head")
    page.screenshot(path=pictures / f"details-{width}.png")
    [details], [composer] = boxes(page, ".column-details"), boxes(page, ".composer")
    beside = composer["x"] + composer["w"] <= details["x"] + 1
    covered = details["x"] <= composer["x"] + 1 and details["x"] + details["w"] >= composer["x"] + composer["w"] - 1
    assert beside or covered
    assert beside == (width >= 960)
