"""A relay on loopback, a Chromium, and people in it. Everything here is skipped without --browser.

The relay is the real one, started as users start it; people sign in with tokens from its command line.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser_relay import CHROMIUM, FLAGS, Relay, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.lying_network import LyingNetwork

PEOPLE = {
    "anna": "Anna Lindqvist",
    "ben": "Ben Okafor",
    "carla": "Carla Schnabelreiter-Großherzogenberger",
    "maria": "Мария Кузнецова",
    "lei": "李雷",
    "yusuf": "Youssef أمين",
}
# A page of the relay's own origin that is not the client: a test uses it to speak the protocol as another user.
BLANK = "/icons/icon.svg"
SPEAK = """async ([requests, wait]) => {
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws');
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  const answers = [];
  const ask = (at) => {
    const [payloadType, payload] = requests[at];
    if (payloadType === 'new') payload.clientMessageId ??= 'q' + at + Math.random();
    socket.send(JSON.stringify({ type: 'request', id: String(at), timestamp: Date.now(), payloadType, payload }));
  };
  const done = new Promise((resolve, reject) => {
    socket.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type !== 'response') return;
      const { retryAfter } = frame.error ?? {};
      if (retryAfter) return void setTimeout(ask, retryAfter, Number(frame.id));
      answers.push(frame.payload ?? { error: frame.error });
      if (answers.length === requests.length) resolve();
    };
  });
  for (const at of requests.keys()) {
    ask(at);
    if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  }
  await done;
  socket.close(1000);
  return answers;
}"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = None
    if not config.getoption("--browser"):
        reason = "asks for a browser: run with --browser"
    elif CHROMIUM is None:
        reason = "there is no chromium on this machine"
    here = Path(__file__).parent
    for item in items:
        if reason and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Make a store with people in it, each with devices, once."""
    data = tmp_path_factory.mktemp("template") / "data"
    tokens: dict[str, list[str]] = {}
    for user, name in PEOPLE.items():
        run("user", "add", user, "--name", name, *(["--admin"] if user == "anna" else []), data=data)
        devices = 2 if user in ("anna", "ben") else 1
        made = [run("device", "add", user, "--json", data=data) for _ in range(devices)]
        tokens[user] = [json.loads(one)["token"] for one in made]
    return data, tokens


@pytest.fixture
def relay(template: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> Iterator[Relay]:
    data, tokens = template
    shutil.copytree(data, tmp_path / "data")
    started = Relay(tmp_path / "data", tokens)
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Person:
    """A person with a browser of their own."""

    def __init__(self, relay: Relay | LyingNetwork, browser: Any, user: str | None, **options: Any) -> None:
        self.relay = relay
        self.user = user
        self.problems: list[str] = []
        self.asked: list[str] = []
        settings = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options}
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(30_000)
        if user:
            cookie = {"name": "relay_session", "value": relay.token(user), "url": relay.url}
            self.context.add_cookies([cookie])
        self._voice: Any = None

    def open(self, path: str = "/") -> Any:
        """Open the client; collect console errors in `problems`, and requests in `asked`."""
        page = self.context.new_page()
        page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda box: self.problems.append(f"a dialog of the browser: {box.message}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.relay.url + path)
        return page

    def chats(self) -> Any:
        """Open the client and wait for the list."""
        page = self.open()
        page.wait_for_selector(".chat-list")
        return page

    def ask(self, *requests: tuple[str, dict[str, Any]], wait: int = 0) -> list[Any]:
        """Speak the protocol itself, from this person's device."""
        answers: list[Any] = self.speaker().evaluate(SPEAK, [[list(one) for one in requests], wait])
        return answers

    def speaker(self) -> Any:
        """Return a page of the relay that is not the client; this person uses it to speak the protocol."""
        if self._voice is None:
            self._voice = self.context.new_page()
            self._voice.goto(self.relay.url + BLANK)
        return self._voice

    def say(self, chat: str, *texts: str, wait: int = 0) -> list[Any]:
        said = self.ask(*(("new", {"chatId": chat, "message": text}) for text in texts), wait=wait)
        assert not any("error" in one for one in said), said
        return said

    def say_meanwhile(self, chat: str, texts: list[str], *, wait: int) -> None:
        """Start to send a message every `wait` ms, without waiting for the end."""
        requests = [["new", {"chatId": chat, "message": text}] for text in texts]
        self.speaker().evaluate(f"(what) => void ({SPEAK})(what)", [requests, wait])


@pytest.fixture
def person(relay: Relay, chromium: Any) -> Iterator[Any]:
    """Add a person: person("anna"), or person(None) for one who is not signed in."""
    people: list[Person] = []

    def bring(user: str | None, **options: Any) -> Person:
        people.append(Person(relay, chromium, user, **options))
        return people[-1]

    yield bring
    for one in people:
        one.context.close()


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder for pictures of screens, which is kept if --pictures names one."""
    folder = Path(request.config.getoption("--pictures") or os.fspath(tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
