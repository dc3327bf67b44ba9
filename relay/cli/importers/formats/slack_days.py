"""The files of a Slack export with messages: Slack writes one a day for each channel, other programs other ones."""

from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import pairwise

import msgspec

from relay.cli.importers.formats.archive import SLACK_LISTS, Archive, Flaws
from relay.cli.importers.formats.slack_records import PlacedMessage, SlackMessage
from relay.cli.importers.names import first_names, guess_name, what_is_wrong
from relay.cli.importers.order import in_order


class SlackDays:
    """The messages of each folder, in the order of their dates."""

    def __init__(self, archive: Archive, wanted: AbstractSet[str], left: Counter[str]) -> None:
        """Find the files of each folder, and count those that are none of a channel.

        Args:
            archive: the export.
            wanted: the names that folders of channels may have.
            left: counts what stays behind.
        """
        self._archive = archive
        self._left = left
        self._renamed: dict[str, str] = {}
        """The names of folders in the archive, by the names that they should have, if the encoding was guessed."""
        self.files = self._find(wanted)
        """The names of the files in each folder."""
        self._mixed: set[str] = set()
        """Folders of which several files have messages of the same time."""

    def _find(self, wanted: AbstractSet[str]) -> dict[str, list[str]]:
        """Find the files of each folder that may have messages: programs that make exports name them in many ways."""
        found: dict[str, list[str]] = {}
        others: dict[str, list[str]] = {}
        for name in self._archive.names:
            folder, _, day = name.rpartition("/")
            if folder and day.lower().endswith(".json"):
                found.setdefault(folder, []).append(day)
            elif folder:
                others.setdefault(name.partition("/")[0], []).append(name)
            elif name not in SLACK_LISTS and not self._archive.is_void(name):
                self._left[f"files that are in no channel's folder: {name}"] += 1
        for top, names in others.items():
            self._left[f"files in {top} that are not JSON: {first_names(names)}"] += len(names)
        # A program that packed the folders again may have named them in another encoding than the list of channels.
        wanted = wanted - found.keys()
        for folder in list(found):
            guessed = guess_name(folder, wanted)
            if guessed is not None and guessed not in found and folder not in wanted:
                self._renamed[guessed] = folder
                found[guessed] = found.pop(folder)
        return found

    def scan(self, folder: str) -> int | None:
        """Find out which files of a folder have messages, and bring these files into the order of their dates.

        Returns:
            The date of the oldest message.

        Raises:
            NotUnderstood: a file is damaged.
        """

        def flawed(error: msgspec.DecodeError | UnicodeDecodeError) -> None:
            self._left[f"messages ({what_is_wrong(error, folder)})"] += 1

        spans: list[tuple[int, int, str]] = []
        latest = 0
        oldest: int | None = None
        for day in self.files[folder]:
            messages = self._day(folder, day, flawed)
            if messages is None:
                self._left[f"files without a list of messages: {folder}/{day}"] += 1
                continue
            dates = [message.at for message in messages if message.at is not None]
            latest = max(dates, default=latest)
            spans.append((min(dates, default=latest), latest, day))
            oldest = min([*dates, *([] if oldest is None else [oldest])], default=None)
        spans.sort(key=lambda span: span[:2])
        self.files[folder] = [day for _, _, day in spans]
        if any(end > start for (_, end, _), (start, _, _) in pairwise(spans)):
            self._mixed.add(folder)
        return oldest

    def _day(self, folder: str, day: str, flaws: Flaws = lambda _error: None) -> list[SlackMessage] | None:
        """Read a file's messages in the order of their dates; None if it has other things than messages."""
        messages = self._archive.records(f"{self._renamed.get(folder, folder)}/{day}", SlackMessage, flaws)
        if messages is None or (messages and not any(message.is_one for message in messages)):
            return None
        dates = [0]
        for message in messages:
            dates.append(message.at or dates[-1])
        return [message for _, message in sorted(zip(dates[1:], messages, strict=True), key=lambda one: one[0])]

    def messages(self, folder: str) -> Iterator[SlackMessage]:
        """Read all messages of a folder in the order of their dates."""
        if folder not in self._mixed:
            for day in self.files[folder]:
                yield from self._day(folder, day) or ()
            return
        for one in in_order(self._placed(folder), PlacedMessage, lambda placed: (placed.at,)):
            yield one.message

    def _placed(self, folder: str) -> Iterator[PlacedMessage]:
        at = 0
        for day in self.files[folder]:
            for message in self._day(folder, day) or ():
                at = message.at or at
                yield PlacedMessage(at, message)
