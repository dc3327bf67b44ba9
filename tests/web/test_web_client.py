"""The web client's own tests, run by node without a browser, as one test of the suite."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relay.protocol.requests import REQUESTS

HERE = Path(__file__).parent
SOCKET = HERE.parent.parent / "relay" / "web" / "net" / "socket.js"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
def test_the_client_passes_its_own_tests() -> None:
    assert NODE
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    done = subprocess.run([NODE, "--test", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
def test_page_repeats_the_requests_that_the_protocol_allows_to_repeat() -> None:
    assert NODE
    script = (
        f"import {{ NOT_REPEATED }} from {json.dumps(SOCKET.as_uri())}; console.log(JSON.stringify([...NOT_REPEATED]))"
    )
    done = subprocess.run([NODE, "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {name for name, kind in REQUESTS.items() if not kind.repeatable}


def test_vendored_files_and_stamps_match_the_record() -> None:
    script = HERE.parent.parent / "packaging" / "web_assets.py"
    done = subprocess.run([sys.executable, str(script), "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
