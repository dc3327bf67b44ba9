"""Finds out what is to be imported, and what reads it."""

import json
from pathlib import Path

from relay.cli.sources.files import Files
from relay.cli.sources.mattermost import Mattermost
from relay.cli.sources.own import Own
from relay.cli.sources.said import NotUnderstood, Source
from relay.cli.sources.slack import Slack


def open_source(path: Path, *, room: int) -> Source:
    """Find out what is to be imported.

    Args:
        path: a file or a folder.
        room: bytes that are free where it goes.

    Raises:
        NotUnderstood: nothing that is known here, or more than there is room for.
    """
    files = Files(path)
    if files.unpacked > room:
        raise NotUnderstood(
            f"{path} unpacks to {files.unpacked:,} bytes, and {room:,} are free where the relay's data is"
        )
    if files.has("users.json") and files.has("channels.json"):
        return Slack(files)
    bulk = files.first_with(".jsonl")
    if bulk is None:
        raise NotUnderstood(f"{path} is neither a relay's export nor one of Slack or Mattermost")
    try:
        first = json.loads(next(bulk()))
    except (StopIteration, ValueError):
        raise NotUnderstood(f"{path}: its first line is no JSON object") from None
    if first.get("type") == "relay":
        if first.get("format") != 1:
            raise NotUnderstood(f"{path} was exported by a newer relay: upgrade this one first")
        return Own(bulk, files)
    if first.get("type") == "version":
        return Mattermost(bulk, files)
    raise NotUnderstood(f"{path}: its first line is neither a relay's nor Mattermost's")
