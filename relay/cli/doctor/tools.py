"""Runs the machine's own tools for checks of `relay doctor`."""

import subprocess

from relay.cli.doctor.finding import CHECK_SECONDS


def run_tool(*command: str, stdin: str = "") -> str | None:
    """Run one of the machine's tools. Return its output; None if it is missing or fails."""
    try:
        ran = subprocess.run(  # noqa: S603 - fixed commands
            command, input=stdin, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
