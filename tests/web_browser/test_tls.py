"""What works in Chromium over plain HTTP, over TLS with the warning clicked away, and with the authority trusted.

The page /trust says so to people; here it is tried.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WORKS = """async () => {
  const policy = window.trustedTypes?.createPolicy("service-worker", { createScriptURL: () => "/sw.js" });
  let worker = "none";
  try {
    await navigator.serviceWorker.register(policy.createScriptURL(""));
    await navigator.serviceWorker.ready;
    worker = "ready";
  } catch (failure) {
    worker = failure.name;
  }
  const shown = new Promise((resolve) => {
    const notification = new Notification("here");
    notification.onshow = () => resolve(true);
    notification.onerror = () => resolve(false);
  });
  return {
    secure: isSecureContext,
    worker,
    notifications: await shown,
    signedIn: (await fetch("/session")).status === 200,
    socket: await new Promise((resolve) => {
      const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws");
      socket.onopen = () => resolve(true);
      socket.onerror = () => resolve(false);
    }),
  };
}"""


def address() -> str:
    """The machine's address on its network: a browser trusts the loopback without any TLS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine is on no network")
        return probe.getsockname()[0]


def command(data: Path, *arguments: str) -> str:
    program = [sys.executable, "-m", "relay", *arguments, "--data", str(data)]
    return subprocess.run(program, check=True, capture_output=True, text=True).stdout


@contextmanager
def served(data: Path, *options: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    command(data, "user", "add", "anna")
    program = [sys.executable, "-m", "relay", "serve", "--listen", f"0.0.0.0:{port}", "--data", str(data), *options]
    with subprocess.Popen(program, stderr=subprocess.DEVNULL) as running:
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"{address()}:{port}"
        finally:
            running.terminate()


def visit(url: str, home: Path, code: str, *, click: bool = False) -> dict:
    """Sign in as a new browser does, and find out what works."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, "HOME": str(home)},
        )
        page = browser.new_context(permissions=["notifications"]).new_page()
        if click:
            with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                page.goto(url)
            page.wait_for_timeout(500)
            # What one types into Chromium's warning in place of two clicks.
            page.keyboard.type("thisisunsafe")
            page.wait_for_function("() => location.protocol === 'https:' && document.title !== 'Privacy error'")
        else:
            page.goto(url)
        page.evaluate("async (invite) => fetch('/session', { method: 'POST', body: JSON.stringify({ invite }) })", code)
        try:
            return page.evaluate(WORKS)
        finally:
            browser.close()


def invite(data: Path) -> str:
    import json

    return json.loads(command(data, "invite", "anna", "--json"))["code"]


def test_over_plain_http_all_but_notifications_and_installing_works(tmp_path):
    with served(tmp_path / "data") as host:
        found = visit(f"http://{host}/", tmp_path, invite(tmp_path / "data"))
    assert found["signedIn"]
    assert found["socket"]
    assert not found["secure"]
    assert found["worker"] != "ready"
    assert not found["notifications"]


def test_a_warning_clicked_away_gives_tls_and_no_more(tmp_path):
    command(tmp_path / "data", "tls", "init")
    with served(tmp_path / "data", "--tls") as host:
        found = visit(f"https://{host}/", tmp_path, invite(tmp_path / "data"), click=True)
    assert found["signedIn"]
    assert found["socket"]
    assert found["secure"]
    assert found["notifications"]
    # Without a worker nothing can be installed, and a phone shows no notification.
    assert found["worker"] == "SecurityError"


@pytest.mark.skipif(shutil.which("certutil") is None, reason="needs certutil (libnss3-tools)")
def test_with_the_authority_trusted_everything_works(tmp_path):
    command(tmp_path / "data", "tls", "init")
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{store}", "-N", "--empty-password"], check=True)
    trust = ["certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "relay"]
    subprocess.run([*trust, "-i", str(tmp_path / "data" / "tls" / "ca.crt")], check=True)
    with served(tmp_path / "data", "--tls") as host:
        found = visit(f"https://{host}/", tmp_path, invite(tmp_path / "data"))
    assert found == {"secure": True, "worker": "ready", "notifications": True, "signedIn": True, "socket": True}
