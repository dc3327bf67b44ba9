"""The records of a Slack export, with the fields that an import reads."""

import re

import msgspec

from relay.cli.importers.formats.dates import moment
from relay.protocol.base import JsonValue

_SECONDS = re.compile(r"(\d+)(?:\.(\d{0,6}))?")
"""A `ts`, of which some programs leave out the last zeros."""


class SlackProfile(msgspec.Struct):
    """A user's names."""

    display_name: str | None = None
    real_name: str | None = None


class SlackUser(msgspec.Struct):
    """A user."""

    id: str
    name: str | None = None
    real_name: str | None = None
    profile: SlackProfile | None = None
    is_bot: bool | None = None
    is_admin: bool | None = None
    deleted: bool | None = None

    @property
    def shown(self) -> str:
        """The name that others see."""
        profile = self.profile or SlackProfile()
        return profile.display_name or profile.real_name or self.real_name or self.name or self.id


class SlackChannel(msgspec.Struct):
    """A public or private channel, a group conversation or a dialog."""

    id: str
    name: str | None = None
    creator: str | None = None
    created: int | float | str | None = None
    members: list[str | None] | None = None


class BotProfile(msgspec.Struct):
    """The program that sent a message."""

    name: str | None = None


class SlackFile(msgspec.Struct):
    """A file in a message: only its name, as an export has no contents."""

    id: str | None = None
    name: str | None = None


class SlackComment(msgspec.Struct):
    """A comment on a file, in older messages."""

    user: str | None = None


class Reaction(msgspec.Struct):
    """The users who reacted with one sign."""

    users: list[str | None] | None = None


class Author(msgspec.Struct):
    """The author as a message describes them: people of other workspaces are in no list."""

    display_name: str | None = None
    real_name: str | None = None
    name: str | None = None


class SlackMessage(msgspec.Struct):
    """A message, or a note that somebody joined, left or changed something."""

    ts: str | float | None = None
    """When it was sent, in seconds; also its id within the channel."""
    type: str | None = None
    subtype: str | None = None
    user: str | None = None
    user_profile: Author | None = None
    bot_id: str | None = None
    username: str | None = None
    bot_profile: BotProfile | None = None
    text: str | None = None
    blocks: JsonValue = None
    attachments: JsonValue = None
    files: list[SlackFile | None] | None = None
    comment: SlackComment | None = None
    reactions: list[Reaction | None] | None = None
    thread_ts: str | float | None = None

    @property
    def at(self) -> int | None:
        """Unix milliseconds; None if it has no date."""
        return moment(self.ts)

    @property
    def id(self) -> str:
        """Its id within the channel; empty if it has none."""
        return _stamp(self.ts)

    @property
    def thread(self) -> str:
        """The id of the message that it replies to; empty if it replies to none."""
        found = _stamp(self.thread_ts)
        return found if found != self.id else ""

    @property
    def is_one(self) -> bool:
        """Whether it is a message, and not another object of which none of the fields is known."""
        return self.ts is not None or self.type is not None


class PlacedMessage(msgspec.Struct):
    """A message while those of several files are sorted by date, on disk."""

    at: int
    message: SlackMessage


def _stamp(ts: str | float | None) -> str:
    """Write a `ts` as Slack does: with six decimals, whether a program wrote it as a number or as text."""
    if ts is None:
        return ""
    if isinstance(ts, float):
        return f"{ts:.6f}"
    found = _SECONDS.fullmatch(ts)
    return f"{found[1]}.{(found[2] or '').ljust(6, '0')}" if found else ts
