"""The suite isolates its tests: a failing test breaks no other."""

import os
import subprocess
import sys
from pathlib import Path

TWO = """
import gc
import socket

def test_a():
    connections = [socket.socket() for _ in range(3)]
    connections.append(connections)
    try:
        assert not connections
    except AssertionError as error:
        raise ExceptionGroup("as nurseries have it", [error])

def test_b():
    gc.collect()
"""


def test_resources_left_open_by_a_failed_test_fail_no_other_test(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(TWO)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "conftest", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", tmp_path, tmp_path],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
