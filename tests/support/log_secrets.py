"""Contents that no log may have: the text of a message, a token, an invite's code. Every relay that a test starts in a
separate process is checked once it has stopped, at the most verbose level."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

TALKATIVE = {"RELAY_LOG_LEVEL": "debug"}
"""Makes a relay log as much as it can."""
_TOKEN = re.compile(r"(?<![\w/-])[\w-]{43}(?![\w-])")
"""Matches 256 random bits in a token."""
_SHORTEST = 6
"""Shorter texts may be in a log by chance."""


def check(log: str, data: Path) -> None:
    """Make sure that a log contains no message text and no credentials."""
    token = _TOKEN.search(log)
    assert not token, f"a token in the log: {_line(log, token.start())}"
    for text in _texts(data / "relay.db"):
        assert text not in log, f"a message's text in the log: {_line(log, log.index(text))}"


def _texts(store: Path) -> list[str]:
    if not store.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "SELECT DISTINCT message FROM log WHERE length(message) >= ? LIMIT 2000", (_SHORTEST,)
            )
            return [text for (text,) in rows]
    except sqlite3.Error:
        # Some tests leave an unreadable store.
        return []


def _line(log: str, at: int) -> str:
    return log[log.rfind("\n", 0, at) + 1 :].split("\n", 1)[0]
