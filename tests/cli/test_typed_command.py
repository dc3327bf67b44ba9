"""The commands that the relay suggests work as they are, however it was started."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay.typed_command import spelled

PROGRAMS = {"relay": "/usr/bin/relay", "python3": "/usr/bin/python3"}
WAIT_SECONDS = 30


@pytest.mark.parametrize(
    ("program", "started", "environment", "typed"),
    [
        ("/usr/bin/relay", ["/usr/bin/python3", "/usr/bin/relay"], {}, "relay"),
        (".venv/bin/relay", ["/srv/.venv/bin/python", ".venv/bin/relay"], {}, ".venv/bin/relay"),
        ("/opt/relay 2/relay", ["python3", "/opt/relay 2/relay"], {}, "'/opt/relay 2/relay'"),
        ("./relay", ["python3", "./relay"], {}, "./relay"),
        ("/srv/.venv/bin/relay", ["/srv/.venv/bin/python"], {"UV_RUN_RECURSION_DEPTH": "1"}, "uv run relay"),
        ("/srv/relay/__main__.py", ["/opt/bin/python3", "-m", "relay"], {}, "/opt/bin/python3 -m relay"),
        ("/srv/relay/__main__.py", ["python3", "-m", "relay"], {}, "python3 -m relay"),
        ("/srv/relay/__main__.py", [".venv/bin/python", "-m", "relay"], {}, ".venv/bin/python -m relay"),
    ],
)
def test_the_command_is_spelled_as_it_was_typed(
    program: str, started: list[str], environment: dict[str, str], typed: str
) -> None:
    assert spelled(program, started, environment, PROGRAMS.get) == typed


def _spellings(tmp_path: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Ways to start the relay, each as its words and its environment."""
    scripts = Path(sys.executable).parent
    plain = {name: value for name, value in os.environ.items() if name not in ("UV_RUN_RECURSION_DEPTH", "RELAY_DATA")}
    plain |= {"HOME": str(tmp_path / "home")}
    return {
        "relative": ([os.path.relpath(scripts / "relay", tmp_path)], plain),
        "path": (["relay"], plain | {"PATH": f"{scripts}:{plain['PATH']}"}),
        "module": ([sys.executable, "-m", "relay"], plain),
    }


@pytest.mark.parametrize(
    ("way", "data"), [("relative", []), ("relative", ["--data", "my data"]), ("path", []), ("module", [])]
)
def test_commands_of_the_first_screen_work_as_typed(tmp_path: Path, way: str, data: list[str]) -> None:
    words, environment = _spellings(tmp_path)[way]
    (tmp_path / "home").mkdir()
    log = tmp_path / "log"
    with log.open("w") as said:
        relay = subprocess.Popen(
            [*words, "serve", "--listen", "127.0.0.1:0", *data], cwd=tmp_path, env=environment, stderr=said
        )
    try:
        end = time.monotonic() + WAIT_SECONDS
        while "a token for a program" not in (shown := log.read_text()):
            assert relay.poll() is None, shown
            assert time.monotonic() < end, shown
            time.sleep(0.02)
        lines = re.findall(r"^  (\S.*?)    \(", shown, re.MULTILINE)
        assert len(lines) == 2
        assert ("In another terminal, in " in shown) == (way == "relative")
        # Another terminal has neither this one's variables nor, unless the text names it, its directory.
        place = tmp_path if way == "relative" else "/"
        for line in lines:
            done = subprocess.run(
                ["sh", "-ec", line],
                cwd=place,
                env=environment,
                capture_output=True,
                text=True,
                timeout=WAIT_SECONDS,
                check=False,
            )
            assert done.returncode == 0, (line, done)
        # The second line's last word is a token.
        assert re.fullmatch(r"\S{20,}", done.stdout.split()[-1])
    finally:
        relay.send_signal(signal.SIGTERM)
        relay.wait(WAIT_SECONDS)
