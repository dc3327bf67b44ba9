"""Facts: look-ups in the log that the rules need before they decide a batch.

SQL in, facts out. Reads only.
"""

from collections.abc import Iterable, Sequence

from relay.keys import ChatKey, MessageId, UserKey
from relay.store.entry import (
    ClientKey,
    Covered,
    CoveredBy,
    Fact,
    Facts,
    FilesNamed,
    FirstMark,
    FirstReceipt,
    MessageAt,
    Prunable,
    StoredMessage,
    UnreadAfter,
)
from relay.store.idempotency import IdempotencyKeys
from relay.store.kinds import DLVRD, LAST_MESSAGE, NEW, READ
from relay.store.queries.stored_files import files
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement, as_json

COVERED_MESSAGES = 10_000
"""Maximum messages, the latest, whose authors get one receipt: a member's first receipt may cover a long history."""
_STORED = "chat, message_id, kind, actor, client_id, at, message, deleted, changed, changed_at, target, extra, device"
_CLIENT_KEYS = Statement(
    f"SELECT client_key, {_STORED} FROM log WHERE seq IN (SELECT value FROM json_each(?1)"
    " UNION ALL SELECT seq FROM client WHERE key IN (SELECT value FROM json_each(?2)))"
    " UNION ALL SELECT r.key, r.chat, r.message_id, r.kind, r.actor, '', r.at, NULL, 0, 0, 0, r.target, NULL, NULL"
    " FROM client AS c CROSS JOIN removed AS r ON r.place = c.seq % 65536 AND r.seq = c.seq"
    " WHERE c.key IN (SELECT value FROM json_each(?2))"
)
_MESSAGE = Statement(f"SELECT {_STORED} FROM log WHERE kind <= {LAST_MESSAGE} AND chat = ? AND message_id = ?")
# Both conditions are needed: SQLite uses a partial index only if the statement repeats the index's condition.
_UNREAD = Statement(
    f"SELECT count(*) FROM log WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = ?"
    " AND message_id > ? AND message_id <= ? AND actor <> ? AND NOT deleted"
)
COVERED_BY = Statement(
    "SELECT actor, max(message_id), client_id FROM (SELECT actor, message_id, client_id FROM log"
    f" WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = ? AND message_id > ? AND message_id <= ?"
    " AND actor <> ? AND NOT deleted"
    f" ORDER BY message_id DESC LIMIT {COVERED_MESSAGES}) GROUP BY actor ORDER BY 2 DESC",
    sorts=f"{COVERED_MESSAGES} messages at most",
)
_COVERED_IN_DIALOG = Statement(
    f"SELECT actor, message_id, client_id FROM log WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = ?"
    " AND message_id > ? AND message_id <= ? AND actor <> ? AND NOT deleted ORDER BY message_id DESC LIMIT 1"
)
_LAST_OF_OTHERS = Statement(
    f"SELECT message_id, client_id FROM log WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = ?"
    " AND message_id <= ? AND actor <> ? AND NOT deleted ORDER BY message_id DESC LIMIT 1"
)
_FIRST_MARK = Statement(
    f"SELECT min((SELECT at FROM log WHERE kind IN ({DLVRD}, {READ}) AND chat = ?1 AND actor = ?2 AND kind = k.value"
    " AND message_id >= ?3 ORDER BY message_id LIMIT 1)) FROM json_each(?4) AS k"
)


async def look_up(connection: Connection, facts: Iterable[Fact], recent: IdempotencyKeys) -> Facts:
    """Look up facts for the rules.

    Args:
        connection: one that reads.
        facts: the facts; several commands may need the same one.
        recent: the idempotency keys that are in memory.
    """
    found: Facts = {}
    for fact in dict.fromkeys(facts):
        match fact:
            case MessageAt():
                found[fact] = await _message(connection, fact)
            case ClientKey():
                found.update((await client_keys(connection, [fact.client_key], recent)).items())
            case CoveredBy():
                found[fact] = await _covered_by(connection, fact)
            case UnreadAfter():
                ((found[fact],),) = await connection.execute(_UNREAD, (fact.chat, fact.after, fact.upto, fact.user))
            case Prunable():
                found[fact] = await _prunable(connection, fact)
            case FilesNamed():
                found[fact] = {file.id: file for file in await files(connection, fact.ids)}
            case FirstMark():
                found[fact] = await _first_mark(connection, fact)
    return found


async def client_keys(
    connection: Connection, keys: Sequence[int], recent: IdempotencyKeys
) -> dict[ClientKey, StoredMessage | None]:
    """Find the messages with these client keys, including those that retention removed.

    Args:
        connection: the connection to read with.
        keys: hashes of client ids (`draft.client_key`).
        recent: the keys that are not in the table yet.

    Returns:
        The message by key; None if there is none.
    """
    latest = [seq for key in keys if (seq := recent.seq(key)) is not None]
    rows = await connection.execute(_CLIENT_KEYS, (as_json(latest), as_json(keys)))
    found: dict[ClientKey, StoredMessage | None] = {ClientKey(key): None for key in keys}
    found.update({ClientKey(key): StoredMessage(*columns) for key, *columns in rows})
    return found


async def _message(connection: Connection, fact: MessageAt) -> StoredMessage | None:
    rows = await connection.execute(_MESSAGE, (fact.chat, fact.message_id))
    return StoredMessage(*rows[0]) if rows else None


async def _covered_by(connection: Connection, fact: CoveredBy) -> tuple[Covered, ...]:
    # The first receipt of a long dialog covers all of it, and the writer waits: the last message is enough.
    statement = _COVERED_IN_DIALOG if fact.dialog else COVERED_BY
    rows = await connection.execute(statement, (fact.chat, fact.after, fact.upto, fact.user))
    return tuple(Covered(*row) for row in rows)


async def _prunable(connection: Connection, fact: Prunable) -> dict[ChatKey, dict[UserKey, list[MessageId]]]:
    rows = await connection.execute(
        f"SELECT l.chat, l.message_id, l.actor FROM json_each(?) AS w CROSS JOIN log AS l ON l.kind <= {LAST_MESSAGE}"
        " AND l.chat = w.value->>0 AND l.message_id > w.value->>1 AND l.message_id <= w.value->>2"
        f" WHERE l.kind = {NEW} AND NOT l.deleted ORDER BY w.key, l.message_id",
        (as_json(fact.chats),),
    )
    messages: dict[ChatKey, dict[UserKey, list[MessageId]]] = {chat: {} for chat, _, _ in fact.chats}
    for chat, message_id, author in rows:
        messages[chat].setdefault(author, []).append(message_id)
    return messages


async def _first_mark(connection: Connection, fact: FirstMark) -> FirstReceipt | None:
    rows = await connection.execute(_LAST_OF_OTHERS, (fact.chat, fact.upto, fact.user))
    if not rows:
        return None
    ((message_id, client_id),) = rows
    marked = [READ] if fact.read else [DLVRD, READ]
    ((at,),) = await connection.execute(_FIRST_MARK, (fact.chat, fact.user, message_id, as_json(marked)))
    return None if at is None else FirstReceipt(message_id, client_id, at)
