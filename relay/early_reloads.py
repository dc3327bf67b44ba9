"""SIGHUPs that come before the relay has started. By default they would end it, and a start may take minutes."""

import signal

reloads: list[bool] = []
"""One for each."""


def catch() -> None:
    """Count SIGHUPs instead of ending the process."""
    signal.signal(signal.SIGHUP, lambda *_: reloads.append(True))
