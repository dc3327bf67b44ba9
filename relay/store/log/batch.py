"""The statement that writes a batch: always a single one, so it takes one hop to the thread and one transaction.

SQL only; `writer` decides when.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain

import msgspec

from relay.keys import ChatKey, MessageId
from relay.store import kinds
from relay.store.entry import Amendment, Entry, read_extra
from relay.store.log.schedule import SideWrites
from relay.store.sqlite.parameters import round_up
from relay.store.sqlite.statements import Parameters, SqlValue, Statement, as_json

COLUMNS = (
    "seq", "kind", "chat", "message_id", "actor", "device", "at", "target",
    "client_key", "client_id", "message", "extra",
)  # fmt: skip
_VALUES = {name: f"column{number}" for number, name in enumerate(COLUMNS, 1)}
"""The names that SQLite gives the columns of VALUES."""
_CHECKED = {**_VALUES, "kind": f"iif({_VALUES['client_key']} IN (SELECT key FROM client), NULL, {_VALUES['kind']})"}
_change = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
STATEMENT_ENTRIES = 2_048
"""Maximum entries in one statement: SQLite allows 32,766 parameters."""
_NOTHING = (None,) * len(COLUMNS)
_WITH_SIDE_WRITES = Statement(
    "INSERT INTO batch (entries, amendments, cursors, snapshot, indexed, holdings, files)"
    " SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL"
)


def prepare(
    entries: Sequence[Entry], amendments: Sequence[Amendment], side_writes: SideWrites
) -> tuple[Statement, Parameters]:
    """Make the statement that commits entries, their changes to earlier ones, and side writes: all or nothing.

    Args:
        entries: the entries, in the order of their `seq`.
        amendments: changes to messages in the log.
        side_writes: the due cursors, snapshot rows and progress of the index.

    Returns:
        The statement and its parameters, which SQLite keeps in memory until `release_parameters`.
    """
    rows = [_row(entry) for entry in entries]
    holdings = _holdings(entries, amendments)
    files = [msgspec.Raw(entry.extra) for entry in entries if entry.kind == kinds.FILE and entry.extra]
    if amendments or side_writes or holdings or files or len(rows) > STATEMENT_ENTRIES:
        return _WITH_SIDE_WRITES, _with_side_writes(rows, amendments, side_writes, holdings, files)
    size = round_up(len(rows))
    return plain_statement(size), [*chain.from_iterable(rows), *_NOTHING * (size - len(rows))]


def _row(entry: Entry) -> tuple[SqlValue, ...]:
    kind = entry.kind
    return (
        entry.seq, kind, entry.chat, entry.message_id, entry.actor, entry.device, entry.at, entry.target,
        entry.client_key,
        # In memory a receipt has the client id that it covers, and an edit the edited text. Neither is its own column.
        entry.client_id if kind <= kinds.DELETE else None,
        entry.message if kind == kinds.NEW else None,
        # The row in `file` has the name, and goes with the file; this one stays.
        _without_name(entry.extra) if kind == kinds.FILE and entry.extra else entry.extra,
    )  # fmt: skip


def _without_name(extra: str) -> str:
    change = _change(extra)
    change.pop("name", None)
    return msgspec.json.encode(change).decode()


@cache
def plain_statement(size: int) -> Statement:
    """Make the statement that inserts `size` entries and skips those that are all NULL.

    Parameters take half the time that the same rows take as JSON. An entry whose client key is in the table is refused:
    its kind becomes NULL, which the column does not allow.
    """
    row = f"({', '.join('?' * len(COLUMNS))})"
    return Statement(
        f"INSERT INTO log ({', '.join(COLUMNS)}) SELECT {', '.join(_CHECKED.values())}"
        f" FROM (VALUES {', '.join([row] * size)}) WHERE column1 IS NOT NULL"
    )


def _with_side_writes(
    rows: Iterable[tuple[SqlValue, ...]],
    amendments: Sequence[Amendment],
    side_writes: SideWrites,
    holdings: Sequence[tuple[int, int, str]],
    files: Sequence[msgspec.Raw],
) -> Parameters:
    return (
        as_json(list(rows)),
        as_json(amendments),
        as_json([(device, *cursor) for device, cursor in side_writes.cursors.items()]),
        "{}",
        side_writes.indexed,
        as_json(holdings),
        as_json(files),
    )


def _holdings(entries: Sequence[Entry], amendments: Sequence[Amendment]) -> list[tuple[ChatKey, MessageId, str]]:
    """List which message uses which file: chat, message id, file. An amendment replaces its message's list."""
    held = [
        (entry.chat, entry.message_id, one.id)
        for entry in entries
        if entry.attachments and entry.kind == kinds.NEW
        for one in entry.attachments
        if one.is_here
    ]
    held += [
        (amendment.chat, amendment.message_id, one.id)
        for amendment in amendments
        if amendment.extra is not None
        for one in read_extra(amendment.extra).attachments or ()
        if one.is_here
    ]
    return list(dict.fromkeys(held)) if held else held
