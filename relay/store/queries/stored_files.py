"""Uploaded files: their data, the messages that use them, and those that may be deleted. Reads only."""

from collections.abc import Sequence

import msgspec

from relay.keys import ChatKey, MessageId, UnixMs
from relay.store.entry import (
    StoredFile,
)
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement, as_json

_FILES = Statement(
    "SELECT id, digest, user, name, mimetype, size, width, height, loose,"
    " (SELECT json_group_array(json_array(chat, message_id)) FROM"
    " (SELECT chat, max(message_id) AS message_id FROM holding WHERE file = id GROUP BY chat))"
    " FROM file WHERE id IN (SELECT value FROM json_each(?))",
)
_LOOSE_FILES = Statement(
    "SELECT id FROM file WHERE loose > 0 AND loose <= ? AND id NOT IN (SELECT value FROM json_each(?)) LIMIT ?"
)
_KNOWN_DIGESTS = Statement("SELECT DISTINCT digest FROM file WHERE digest IN (SELECT value FROM json_each(?))")
_DIGESTS = Statement(
    "SELECT DISTINCT digest, size FROM file", whole="`relay check` looks at every file", sorts="likewise"
)
RELEASED: UnixMs = 1
"""The time that files have from which a message, or the one who showed them, was taken: before every other time."""
_holders = msgspec.json.Decoder(tuple[tuple[ChatKey, MessageId], ...]).decode


async def files(connection: Connection, ids: Sequence[str]) -> list[StoredFile]:
    """Read files by id, with the chats that use them. Unknown ids are left out."""
    rows = await connection.execute(_FILES, (as_json(ids),))
    return [StoredFile._make((*columns, _holders(held))) for *columns, held in rows]


async def loose_files(connection: Connection, now: UnixMs, but: Sequence[str], count: int) -> list[str]:
    """Find files that no message uses and that may be deleted now.

    Args:
        connection: one that reads.
        now: Unix milliseconds; `RELEASED` for those that were in use alone.
        but: ids of files to keep.
        count: the maximum number.
    """
    rows = await connection.execute(_LOOSE_FILES, (now, as_json(but), count))
    return [file for (file,) in rows]


async def known_digests(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Select the digests that a file has."""
    rows = await connection.execute(_KNOWN_DIGESTS, (as_json(digests),))
    return {digest for (digest,) in rows}


async def digests(connection: Connection) -> list[tuple[str, int]]:
    """Read the digests of all files.

    Returns:
        Digest (hexadecimal), and size in bytes.
    """
    return await connection.execute(_DIGESTS)
