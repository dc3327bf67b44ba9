"""The last snapshot, and the base: the state at the beginning of the log after history was removed. Reads only."""

from typing import NamedTuple, NotRequired, TypedDict

import msgspec

from relay.keys import ChatKey, DeviceKey, Seq, UnixMs, UserKey
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

_SNAPSHOT = Statement("SELECT seq, at, pruned FROM snapshot")
_SNAPSHOT_USERS = Statement("SELECT key, value FROM user ORDER BY key", whole="once at the start")
_SNAPSHOT_DEVICES = Statement("SELECT key, value FROM device ORDER BY key", whole="once at the start")
_SNAPSHOT_INVITES = Statement("SELECT key, value FROM invite ORDER BY key")
_SNAPSHOT_CHATS = Statement("SELECT key, value FROM chat ORDER BY key", whole="once at the start")
_SNAPSHOT_MEMBERS = Statement("SELECT chat, user, value FROM member ORDER BY chat, user", whole="once at the start")


class Snapshot(NamedTuple):
    """The state as of `seq`. Each row is a key and JSON; a member's row has two keys."""

    seq: Seq
    at: UnixMs
    pruned: Seq
    users: list[tuple[UserKey, str]]
    devices: list[tuple[DeviceKey, str]]
    invites: list[tuple[str, str]]
    chats: list[tuple[ChatKey, str]]
    members: list[tuple[ChatKey, UserKey, str]]


async def snapshot(connection: Connection, *, exact: bool = False) -> Snapshot:
    """Read the last snapshot.

    Args:
        connection: one that reads.
        exact: whether a text that is not UTF-8 is an error.
    """
    rows = await connection.execute(_SNAPSHOT)
    seq, at, pruned = rows[0] if rows else (0, 0, 0)
    return Snapshot(
        seq,
        at,
        pruned,
        await connection.execute(_SNAPSHOT_USERS, exact=exact),
        await connection.execute(_SNAPSHOT_DEVICES, exact=exact),
        await connection.execute(_SNAPSHOT_INVITES, exact=exact),
        await connection.execute(_SNAPSHOT_CHATS, exact=exact),
        await connection.execute(_SNAPSHOT_MEMBERS, exact=exact),
    )


class SnapshotRows(TypedDict):
    """Rows to write to the snapshot, or to the base, in the form in which the store takes them (JSON)."""

    users: list[tuple[UserKey, str]]
    devices: list[tuple[DeviceKey, str]]
    invites: list[tuple[str, str]] | None
    """All of them; None if they are written already."""
    chats: list[tuple[ChatKey, str]]
    whole: list[ChatKey]
    """Chats with a complete list of members: other members in the store are gone."""
    members: list[tuple[ChatKey, UserKey, str]]
    seq: NotRequired[Seq]
    """In the last rows of a round: the entry that it started at, its time, and where history begins."""
    at: NotRequired[UnixMs]
    pruned: NotRequired[Seq]


class Base(msgspec.Struct, rename="camel"):
    """The whole state at the beginning of the log; its fields are those of `Snapshot`."""

    seq: Seq
    at: UnixMs
    pruned: Seq
    round: int = 0
    """The number of its parts in `base_part`; 0 if all rows are here."""
    users: list[tuple[UserKey, str]] = []
    devices: list[tuple[DeviceKey, str]] = []
    invites: list[tuple[str, str]] | None = None
    chats: list[tuple[ChatKey, str]] = []
    members: list[tuple[ChatKey, UserKey, str]] = []


class _BasePart(msgspec.Struct):
    users: list[tuple[UserKey, str]]
    devices: list[tuple[DeviceKey, str]]
    invites: list[tuple[str, str]] | None
    chats: list[tuple[ChatKey, str]]
    members: list[tuple[ChatKey, UserKey, str]]


async def base(connection: Connection) -> Snapshot | None:
    """Read the state at the beginning of the log; None if that is the first entry."""
    # One statement means one view: a newer base removes these parts.
    rows = await connection.execute(
        "SELECT base.value, base_part.value FROM base LEFT JOIN base_part ON base_part.round = base.value->>'$.round'"
        " ORDER BY base_part.number"
    )
    if not rows:
        return None
    kept = msgspec.json.decode(rows[0][0], type=Base)
    invites = kept.invites or []
    for _, value in rows if kept.round else ():
        part = msgspec.json.decode(value, type=_BasePart)
        kept.users += part.users
        kept.devices += part.devices
        kept.chats += part.chats
        kept.members += part.members
        invites = part.invites or invites
    return Snapshot(kept.seq, kept.at, kept.pruned, kept.users, kept.devices, invites, kept.chats, kept.members)


async def base_round(connection: Connection) -> tuple[int, Seq] | None:
    """Read which base is valid.

    Returns:
        The number of its round, and its entry; None without a base.
    """
    rows = await connection.execute("SELECT coalesce(value->>'$.round', 0), value->>'$.seq' FROM base")
    return (rows[0][0], rows[0][1]) if rows else None
