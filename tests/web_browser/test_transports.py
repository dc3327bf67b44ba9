"""Features over plain http, over TLS with the warning dismissed, and over TLS with a trusted authority.

The relay's page at /trust lists them; here Chromium confirms the list. The relay is reached under a LAN name, because
browsers make exceptions for a machine's own addresses. The authority is trusted as that page says, by certutil.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser_relay import CHROMIUM, FLAGS, Relay, run

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "chat.office.lan"
PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)
# Keeps the result of the page's own attempt to register its worker.
OVERHEAR = """if (window.ServiceWorkerContainer) {
  const { register } = ServiceWorkerContainer.prototype;
  ServiceWorkerContainer.prototype.register = function (...what) {
    const attempt = register.apply(this, what);
    window.registered = attempt.then(() => 'registered', (failure) => failure.name);
    return attempt;
  };
}"""
REGISTERED = """async () => {
  for (let tries = 0; !window.registered && tries < 200; tries += 1) await new Promise((next) => setTimeout(next, 100));
  return window.registered ?? 'never tried';
}"""
# A notification without a worker, as the page makes it if it has none.
NOTIFY = """() => new Promise((resolve) => {
  const shown = new Notification('title');
  shown.onshow = () => resolve('shown');
  shown.onerror = () => resolve('refused');
})"""
NOTIFY_BY_WORKER = """async () => {
  const worker = await navigator.serviceWorker.ready;
  await worker.showNotification('title');
  return (await worker.getNotifications()).length;
}"""


class LanRelay(Relay):
    """A relay with a LAN name, with or without TLS."""

    def __init__(self, data: Path, *, secure: bool) -> None:
        settings = data.parent / "relay.toml"
        settings.write_text(f'[http]\nhosts = ["{NAME}"]\n')
        super().__init__(data, {}, "--config", str(settings), *(["--tls"] if secure else []))
        if secure:
            run("tls", "init", "--name", NAME, data=data)
        self.plain = f"http://{NAME}:{self.port}"
        self.url = self.plain.replace("http", "https", 1) if secure else self.plain

    def invite(self, user: str) -> str:
        """Make an invite; return the part after the # in its link."""
        url: str = json.loads(run("invite", user, "--json", data=self.data))["url"]
        return url[url.index("#") :]


@pytest.fixture
def lan_relay(template: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> Iterator[Any]:
    started: list[LanRelay] = []

    def start(*, secure: bool) -> LanRelay:
        shutil.copytree(template[0], tmp_path / "data")
        started.append(LanRelay(tmp_path / "data", secure=secure))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def lan_context(chromium: Any) -> Iterator[Any]:
    """A separate browser with a home of its own, so its trust settings affect no other."""
    # Not below pytest's directory: the browser makes a socket there, whose path is limited.
    place = tempfile.TemporaryDirectory()
    home = Path(place.name, "home")
    opened: list[Any] = []

    def launch(relay: LanRelay, *, trust: bool = False) -> Any:
        home.mkdir()
        if trust:
            store = home / ".pki" / "nssdb"
            store.mkdir(parents=True)
            for step in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "relay", "-i", _authority(relay)]):
                subprocess.run(["certutil", "-d", f"sql:{store}", *step], check=True)
        rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
        opened.append(
            chromium.browser_type.launch(
                executable_path=CHROMIUM, args=[*FLAGS, rules], env={"HOME": str(home), "TMPDIR": place.name}
            )
        )
        context = opened[-1].new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
        context.set_default_timeout(30_000)
        if relay.url.startswith("https"):
            context.grant_permissions(["notifications"], origin=relay.url)
        context.add_init_script(OVERHEAR)
        return context

    with place:
        yield launch
        for one in opened:
            one.close()


def _authority(relay: LanRelay) -> str:
    return str(relay.data / "tls" / "ca.crt")


def chat(page: Any, relay: LanRelay) -> None:
    """Sign in by an invite, write to a user, send a picture, and find the message."""
    page.goto(relay.url + "/" + relay.invite("anna"))
    page.click("text=Join")
    page.click(".modal .button")
    page.click("text=Write to someone")
    page.click(".person:has-text('Ben')")
    page.fill(".composer textarea", "hello from the office")
    page.press(".composer textarea", "Enter")
    page.wait_for_selector(".ticks-sent")
    page.set_input_files(
        ".composer input[type=file]", [{"name": "pixel.png", "mimeType": "image/png", "buffer": PIXEL}]
    )
    page.click(".modal .button:has-text('Send')")
    page.wait_for_selector(".is-mine .picture img[src^='/files/']")
    page.fill("input[type=search]", "office")
    page.wait_for_selector(".hit")


def offers_notifications(page: Any) -> bool:
    """Whether the settings have a switch for notifications, or give a reason."""
    page.click(".me")
    page.wait_for_selector("text=Appearance")
    return bool(page.locator(".setting:has-text('otification')").count())


def click_through(page: Any, url: str) -> None:
    """Dismiss the browser's warning by its hidden key sequence."""
    from playwright.sync_api import Error

    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(url)
    page.wait_for_timeout(500)
    page.keyboard.type("thisisunsafe")
    page.wait_for_selector(".signin form")


def test_plain_http_allows_chatting_and_promises_nothing_more(lan_relay: Any, lan_context: Any) -> None:
    relay = lan_relay(secure=False)
    page = lan_context(relay).new_page()
    chat(page, relay)
    assert page.evaluate("isSecureContext") is False
    assert page.evaluate("'serviceWorker' in navigator") is False
    assert not offers_notifications(page)


def test_dismissed_warning_allows_chatting_and_notifications_but_no_installation(
    lan_relay: Any, lan_context: Any
) -> None:
    relay = lan_relay(secure=True)
    page = lan_context(relay).new_page()
    click_through(page, relay.url)
    chat(page, relay)
    assert page.evaluate("isSecureContext") is True
    assert page.evaluate(REGISTERED) == "SecurityError"
    assert offers_notifications(page)
    assert page.evaluate(NOTIFY) == "shown"


def test_trusted_authority_allows_everything(lan_relay: Any, lan_context: Any) -> None:
    relay = lan_relay(secure=True)
    context = lan_context(relay, trust=True)
    page = context.new_page()
    page.goto(relay.plain)
    assert page.url == relay.url + "/"
    chat(page, relay)
    assert page.evaluate("isSecureContext") is True
    assert page.evaluate(REGISTERED) == "registered"
    assert offers_notifications(page)
    assert page.evaluate(NOTIFY_BY_WORKER) == 1
    found = context.new_cdp_session(page).send("Page.getInstallabilityErrors")
    # The only obstacle is that this browser keeps nothing.
    assert {error["errorId"] for error in found["installabilityErrors"]} <= {"in-incognito"}
    relay.stop()
    page.goto(relay.url)
    page.wait_for_selector(".chat-list")


def test_trust_page_states_what_the_browsers_here_do(lan_relay: Any, lan_context: Any) -> None:
    relay = lan_relay(secure=True)
    page = lan_context(relay).new_page()
    page.goto(relay.plain + "/trust")
    rows = [re.split(r"\t+", row) for row in page.locator("tr").all_inner_texts()[1:]]
    assert [row[1:4] for row in rows] == [["yes", "no", "no"], ["yes", "on computers", "no"], ["yes", "yes", "yes"]]
