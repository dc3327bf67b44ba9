"""Devices whose clock is wrong by minutes, hours or years: decisions by time use the relay's clock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.page_actions import COUNT_SOUNDS, open_chat, until

# The device's clock is `ms` ahead of the relay's, from the beginning.
SHIFT = """(() => {
  const Real = Date;
  window.Date = class extends Real {
    constructor(...parts) {
      super(...(parts.length > 0 ? parts : [Real.now() + %d]));
    }
    static now() {
      return Real.now() + %d;
    }
  };
})()"""
HOUR = 3_600_000


@pytest.mark.parametrize("ahead", [90_000, 3 * HOUR, -3 * HOUR, 5 * 365 * 24 * HOUR])
def test_device_with_a_wrong_clock_sounds_and_shows_the_relays_time(person: Any, ahead: int) -> None:
    anna, ben = person("anna"), person("ben")
    for user in ("ben", "carla"):
        anna.say(user, "first")
    anna.context.add_init_script(COUNT_SOUNDS + SHIFT % (ahead, ahead))
    page = anna.chats()
    open_chat(page, "carla")
    page.wait_for_selector(".day:has-text('Today')")
    shown = page.locator(".chat-row time, .chat-row-time").first.inner_text()
    assert ":" in shown
    ben.say("anna", "fresh")
    page.wait_for_selector("[data-chat=ben] .badge")
    until(page, "window.sounds > 0")


def test_typing_ends_on_a_device_whose_clock_is_behind(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    anna.say("ben", "hello")
    anna.context.add_init_script(SHIFT % (-3 * HOUR, -3 * HOUR))
    page = anna.chats()
    page.wait_for_selector("[data-chat=ben]")
    # Somebody types, and the end event is lost.
    other = ben.chats()
    open_chat(other, "anna")
    other.locator(".composer textarea").press_sequentially("h")
    page.wait_for_selector("[data-chat=ben] .is-typing")
    other.close()
    page.wait_for_selector("[data-chat=ben] .is-typing", state="detached", timeout=15_000)
