"""Helpers for tests of the page: people's actions, waiting conditions, and scripts that run in the page."""

from __future__ import annotations

import time
from typing import Any

import pytest

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
IN_VIEW = """(selector) => {
  const scroller = document.querySelector('.messages > .scroll').getBoundingClientRect();
  return [...document.querySelectorAll(selector)].some((one) => {
    const box = one.getBoundingClientRect();
    return box.top >= scroller.top - 1 && box.bottom <= scroller.bottom + 1;
  });
}"""
# The window loses (or regains) the focus, as when the person looks at another one.
LOOK_AWAY = """(away) => {
  document.hasFocus = () => !away;
  dispatchEvent(new Event(away ? 'blur' : 'focus'));
}"""
# No new connection is made until `cut` is false.
CUT = """() => {
  window.cut = true;
  const Real = window.WebSocket;
  window.WebSocket = class extends Real {
    constructor(address) {
      super(window.cut ? address.replace('/ws', '/nowhere') : address);
    }
  };
}"""
COUNT_SOUNDS = """window.sounds = 0;
const make = AudioContext.prototype.createOscillator;
AudioContext.prototype.createOscillator = function () {
  window.sounds += 1;
  return make.call(this);
};"""

# Opens a chat from the list; milliseconds until its last message is there.
OPEN = """async ([chat, last]) => {
  const start = performance.now();
  document.querySelector(`[data-chat="${chat}"]`).click();
  while (!document.querySelector(`.message[data-id="${last}"]`)) {
    if (performance.now() - start > 10_000) throw new Error(`message ${last} is not shown`);
    await new Promise(requestAnimationFrame);
  }
  return performance.now() - start;
}"""


def open_chat(page: Any, chat: str) -> None:
    page.click(f"[data-chat={chat}]")
    page.wait_for_selector(".conversation")


def all_came(page: Any) -> None:
    """Reopen the page and wait until the relay has nothing more to send."""
    frames: list[float] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda _: frames.append(time.monotonic())))
    page.reload()
    page.wait_for_selector(".chat-list")
    for _ in range(300):
        page.wait_for_timeout(200)
        if frames and time.monotonic() - frames[-1] >= 0.8:
            return
    pytest.fail("the relay has been telling for a minute")


def until(page: Any, condition: str, seconds: float = 10) -> None:
    """Wait for a condition; the page's policy forbids waiting that evaluates text inside it."""
    for _ in range(int(seconds * 20)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


def texts(page: Any) -> list[str]:
    found: list[str] = page.locator(".message .text").all_inner_texts()
    return found


def write(page: Any, text: str) -> None:
    page.fill(".composer textarea", text)
    page.press(".composer textarea", "Enter")


def badge(page: Any, chat: str) -> str | None:
    page.wait_for_selector(f"[data-chat={chat}]")
    shown = page.locator(f"[data-chat={chat}] .badge [aria-hidden]")
    return shown.inner_text() if shown.count() else None


def wheel_up(page: Any, times: int = 6) -> None:
    page.mouse.move(800, 400)
    for _ in range(times):
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(40)
    page.wait_for_timeout(200)
