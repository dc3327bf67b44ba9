"""Detects the format of an export, and chooses the source that reads it."""

import json
from pathlib import Path

from relay.cli.importers.base import NotUnderstood, Source
from relay.cli.importers.formats.archive import (
    ARCHIVE_BOUNDS,
    SLACK_LISTS,
    SLACK_USERS,
    Archive,
    ArchiveBounds,
    is_slack,
)
from relay.cli.importers.formats.mattermost import Mattermost
from relay.cli.importers.formats.relay_export import FORMATS, RelayExport
from relay.cli.importers.formats.slack import Slack
from relay.cli.importers.names import first_names

BACKUP_STORE = "relay.db"
"""The file by which a backup is recognized."""


def open_source(path: Path, *, room: int, bounds: ArchiveBounds = ARCHIVE_BOUNDS) -> Source:
    """Detect the format of an export, and open it.

    Args:
        path: a file or a folder.
        room: free bytes on the disk of the data directory.
        bounds: how much of it is held in memory.

    Raises:
        NotUnderstood: its format is unknown, or there is no room for it.
    """
    files = _open_archive(path, room, bounds)
    source = _choose_source(path, files)
    for names, what in (
        (files.outside, "files beside the export's folder"),
        (files.skipped, "links and special files"),
    ):
        if names:
            source.left[f"{what}: {first_names(names)}"] += len(names)
    return source


def _choose_source(path: Path, files: Archive) -> Source:
    lists = [name for name in SLACK_LISTS if files.has(name)]
    if is_slack(lists):
        return Slack(files)
    if lists and files.first_with(".jsonl") is None:
        missing = "users.json" if set(SLACK_USERS).isdisjoint(lists) else "a list of channels (channels.json)"
        raise NotUnderstood(f"{path} looks like a Slack export, but {missing} is missing in it")
    bulk = files.first_with(".jsonl")
    if bulk is None:
        raise NotUnderstood(f"{path} is neither a relay's export nor one of Slack or Mattermost")
    try:
        first = json.loads(next(line for line in bulk() if line.strip()))
    except (StopIteration, ValueError):
        raise NotUnderstood(f"{path}: its first line is not a JSON object") from None
    if not isinstance(first, dict):
        raise NotUnderstood(f"{path}: its first line is not a JSON object")
    if first.get("type") == "relay":
        if first.get("format") not in FORMATS:
            raise NotUnderstood(f"{path} was exported by a newer relay: upgrade this one first")
        return RelayExport(bulk, files)
    if first.get("type") == "version":
        return Mattermost(bulk, files)
    raise NotUnderstood(f"{path}: its first line is neither a relay's nor Mattermost's")


def _open_archive(path: Path, room: int, bounds: ArchiveBounds) -> Archive:
    """Open an archive; refuse a backup, and an archive for which there is no room."""
    files = Archive(path, bounds)
    if files.unpacked > room:
        raise NotUnderstood(
            f"{path} unpacks to {files.unpacked:,} bytes, and {room:,} are free where the relay's data is"
        )
    if files.has(BACKUP_STORE):
        raise NotUnderstood(f"{path} is a relay's backup and no export: `relay restore` puts it in place of a store")
    return files
