"""The first load of the page: requests, KiB and the time until the chat list can be used, of several revisions in turn.

    uv run python tests/bench/first_load.py [--rounds 9] [--cpu 4] [--wait 0] [--rate 0] [REVISION …] [DIRECTORY …]

Each revision is unpacked from the history (`.` is the work tree) and served by its own relay. Each load has
a fresh Chromium, whose processor is slowed `--cpu` times; `--wait` milliseconds and `--rate` Mbit/s make the network
slow too. The revisions take turns, and each round begins with another one. It counts the requests until the list was
painted, with the headers of the answers; the first load of each does not count. The median of the ratios to the first
revision's load in the same round is in brackets.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Playwright, sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.support.browser_relay import CHROMIUM, FLAGS
from tests.web_browser.conftest import BLANK, SPEAK

HERE = Path(__file__).resolve().parents[2]
CHATS = 30
LISTED = """window.listed = new Promise((resolve) => {
  new MutationObserver((_, observer) => {
    if (!document.querySelector('[data-chat]')) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
  }).observe(document, { childList: true, subtree: true });
});"""
"""Records in the page when the list was painted, in ms after the request for the page."""


class Load(NamedTuple):
    """The cost of a first load until the list was painted."""

    requests: int
    kib: float
    ms: float
    busy: float
    """CPU milliseconds of the slowed main thread, which other work on the machine does not affect."""


class Served(NamedTuple):
    """A revision and its running relay."""

    name: str
    url: str
    token: str


def unpack(revision: str, where: Path) -> Path:
    """Return the tree of a revision, or the existing directory."""
    if Path(revision).is_dir():
        return Path(revision).resolve()
    tree = where / revision.replace("/", "-")
    tree.mkdir()
    packed = subprocess.run(["git", "archive", revision], cwd=HERE, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-xf", "-"], cwd=tree, input=packed, check=True)
    return tree


@contextmanager
def serving(name: str, tree: Path, data: Path) -> Iterator[Served]:
    """Run the relay of a tree with one user who has a device."""
    program = [sys.executable, "-m", "relay"]
    store = ["--data", str(data)]
    subprocess.run([*program, "user", "add", "anna", *store], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run(
        [*program, "device", "add", "anna", "--json", *store], cwd=tree, check=True, capture_output=True
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [*program, "serve", "--listen", f"127.0.0.1:{port}", *store], cwd=tree, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        yield Served(name, url, json.loads(made.stdout)["token"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


class Browsers:
    """A fresh Chromium for each load."""

    def __init__(self, playwright: Playwright, *, cpu: float, wait: float, rate: float) -> None:
        self._playwright = playwright
        self._cpu = cpu
        self._network = {
            "offline": False,
            "latency": wait,
            "downloadThroughput": rate * 125_000 or -1,
            "uploadThroughput": rate * 125_000 or -1,
        }

    @contextmanager
    def _opened(self, served: Served) -> Iterator[Any]:
        browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            context = browser.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
            context.add_cookies([{"name": "relay_session", "value": served.token, "url": served.url}])
            yield context
        finally:
            browser.close()

    def fill(self, served: Served) -> None:
        """Make chats with messages in them."""
        asked = [["createChat", {"type": "group", "name": f"Group {at}", "participants": []}] for at in range(CHATS)]
        with self._opened(served) as context:
            page = context.new_page()
            page.goto(served.url + BLANK)
            made = page.evaluate(SPEAK, [asked, 0])
            said = [["new", {"chatId": one["chatId"], "message": f"hello {one['chatId']}"}] for one in made]
            page.evaluate(SPEAK, [said, 0])

    def load(self, served: Served) -> Load:
        """Load the page for the first time."""
        with self._opened(served) as context:
            page = context.new_page()
            devtools = context.new_cdp_session(page)
            asked: set[str] = set()
            came: dict[str, float] = {}
            devtools.on("Network.requestWillBeSent", lambda one: asked.add(one["request"]["url"]))
            devtools.on(
                "Network.loadingFinished", lambda one: came.update({one["requestId"]: one["encodedDataLength"]})
            )
            devtools.send("Network.enable")
            devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
            devtools.send("Network.emulateNetworkConditions", self._network)
            devtools.send("Emulation.setCPUThrottlingRate", {"rate": self._cpu})
            page.add_init_script(LISTED)
            page.goto(served.url, wait_until="commit")
            ms = page.evaluate("window.listed")
            metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
            count = sum(one.startswith("http") for one in asked)
            return Load(count, sum(came.values()) / 1_024, ms, metrics["TaskDuration"] * 1_000)


def spread(values: Sequence[float]) -> str:
    """Format the median with the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def main() -> None:
    """Measure, and print a line for each revision."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--cpu", type=float, default=4, help="how many times the browser's processor is slowed")
    options.add_argument("--wait", type=float, default=0, help="ms until the answer to a request begins to come")
    options.add_argument("--rate", type=float, default=0, help="Mbit/s of the network (default: as fast as it is)")
    options.add_argument("revisions", nargs="*", metavar="REVISION|DIRECTORY", help="(default: the work tree)")
    chosen = options.parse_args()
    if CHROMIUM is None:
        raise SystemExit("there is no chromium on this machine")
    os.chdir(HERE)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        playwright = stack.enter_context(sync_playwright())
        browsers = Browsers(playwright, cpu=chosen.cpu, wait=chosen.wait, rate=chosen.rate)
        there = [
            stack.enter_context(serving(one, unpack(one, scratch), scratch / f"data{at}"))
            for at, one in enumerate(chosen.revisions or ["."])
        ]
        for one in there:
            browsers.fill(one)
            browsers.load(one)
        loads: dict[str, list[Load]] = {one.name: [] for one in there}
        for number in range(chosen.rounds):
            begin = number % len(there)
            for one in there[begin:] + there[:begin]:
                loads[one.name].append(browsers.load(one))
        first = [load.ms for load in loads[there[0].name]]
        for one in there:
            requests, kib, ms, busy = zip(*loads[one.name], strict=True)
            counted = f"{max(requests):3} requests  {max(kib):6.1f} KiB"
            ratio = statistics.median(mine / other for mine, other in zip(ms, first, strict=True))
            print(f"{one.name:<12} {counted}  list after {spread(ms)} ms ({ratio:.2f}), processor {spread(busy)} ms")


if __name__ == "__main__":
    main()
