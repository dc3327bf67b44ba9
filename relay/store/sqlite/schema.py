"""The tables, as numbered migrations. Only SQL text and its order; `migrate` runs it.

A migration never changes once it is released, so kinds are numbers in it: a constant might change.

The log is the truth. The tables `user`, `device`, `invite`, `chat` and `member` are the result of the log up to the
entry `snapshot.seq`, stored so that a start need not read all of it; `relay check` proves that they agree.
"""

APPLICATION_ID = 0x52454C59
"""Marks the file as a relay's (`file` and sqlite3 show it): "RELY"."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE log (
        seq        INTEGER PRIMARY KEY,
        kind       INTEGER NOT NULL,
        chat       INTEGER NOT NULL,
        message_id INTEGER NOT NULL,
        actor      INTEGER NOT NULL,
        device     INTEGER NOT NULL,
        at         INTEGER NOT NULL,
        target     INTEGER NOT NULL,
        client_key INTEGER,
        client_id  TEXT,
        message    TEXT,
        extra      TEXT,
        changed    INTEGER NOT NULL DEFAULT 0,
        changed_at INTEGER NOT NULL DEFAULT 0,
        deleted    INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE UNIQUE INDEX log_message ON log (chat, message_id) WHERE kind <= 3;
    CREATE INDEX log_mark ON log (chat, actor, message_id) WHERE kind IN (4, 5);

    -- The message of each client id, but for the latest: see `client_keys`. `filed` says up to where each slice of
    -- the keys is in here. An entry whose key is in here is refused, so that nobody needs to ask before.
    CREATE TABLE client (key INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
    CREATE TABLE filed (slice INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
    INSERT INTO filed (slice, seq) SELECT value, 0 FROM json_each('[-8,-7,-6,-5,-4,-3,-2,-1,0,1,2,3,4,5,6,7]');
    CREATE TRIGGER log_client_known BEFORE INSERT ON log
        WHEN EXISTS (SELECT 1 FROM client WHERE key = NEW.client_key) BEGIN
        SELECT RAISE(ABORT, 'a client id that is known');
    END;
    CREATE TRIGGER log_client_gone AFTER DELETE ON log WHEN OLD.client_key IS NOT NULL BEGIN
        DELETE FROM client WHERE key = OLD.client_key;
    END;

    CREATE TABLE user (key INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE device (key INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE invite (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE chat (key INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE member (
        chat  INTEGER NOT NULL,
        user  INTEGER NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (chat, user)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshot (
        one    INTEGER PRIMARY KEY CHECK (one = 1),
        seq    INTEGER NOT NULL,
        at     INTEGER NOT NULL,
        pruned INTEGER NOT NULL
    ) STRICT;

    -- What the log amounted to where its history begins: older entries were removed.
    CREATE TABLE base (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL) STRICT;
    CREATE TABLE cursor (device INTEGER PRIMARY KEY, seq INTEGER NOT NULL, seen INTEGER NOT NULL) STRICT;

    -- Full text, by trigrams so that every script is found. It is filled from the log a moment later; `indexed`
    -- says up to where. What is edited or deleted leaves it in the same transaction.
    CREATE VIRTUAL TABLE search USING fts5 (message, content = 'log', content_rowid = 'seq', tokenize = 'trigram');
    CREATE TRIGGER log_removed BEFORE DELETE ON log
        WHEN OLD.message IS NOT NULL AND OLD.seq <= (SELECT seq FROM indexed) BEGIN
        INSERT INTO search (search, rowid, message) VALUES ('delete', OLD.seq, OLD.message);
    END;
    CREATE TABLE indexed (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT;
    INSERT INTO indexed (one, seq) VALUES (1, 0);

    -- Uploaded files: what is known of each, and which messages hold it. `loose` is 0 while a message holds it,
    -- else the time (Unix milliseconds) from which on it may go. Contents lie beside the store, by their digest.
    CREATE TABLE file (
        id       TEXT PRIMARY KEY,
        digest   TEXT NOT NULL,
        user     INTEGER NOT NULL,
        name     TEXT NOT NULL,
        mimetype TEXT NOT NULL,
        size     INTEGER NOT NULL,
        width    INTEGER,
        height   INTEGER,
        loose    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX file_digest ON file (digest);
    CREATE INDEX file_loose ON file (loose) WHERE loose > 0;
    CREATE TABLE holding (
        chat       INTEGER NOT NULL,
        message_id INTEGER NOT NULL,
        file       TEXT NOT NULL,
        PRIMARY KEY (chat, message_id, file)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX holding_file ON holding (file);
    CREATE TRIGGER holding_made AFTER INSERT ON holding BEGIN
        UPDATE file SET loose = 0 WHERE id = NEW.file AND loose > 0;
    END;
    CREATE TRIGGER holding_gone AFTER DELETE ON holding BEGIN
        UPDATE file SET loose = 1
            WHERE id = OLD.file AND NOT EXISTS (SELECT 1 FROM holding WHERE file = OLD.file);
    END;
    CREATE TRIGGER log_files_gone AFTER DELETE ON log WHEN OLD.kind = 1 AND OLD.extra IS NOT NULL BEGIN
        DELETE FROM holding WHERE chat = OLD.chat AND message_id = OLD.message_id;
    END;

    -- One statement, and so one thread hop and one transaction, writes a whole batch: JSON arrays go in here.
    CREATE VIEW batch AS SELECT '' AS entries, '' AS amendments, '' AS cursors, '' AS snapshot, 0 AS indexed,
        '' AS holdings, '' AS files;
    CREATE TRIGGER batch_written INSTEAD OF INSERT ON batch BEGIN
        INSERT INTO log (seq, kind, chat, message_id, actor, device, at, target, client_key, client_id, message, extra)
            SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
                   value->>8, value->>9, value->>10, value->>11
            FROM json_each(NEW.entries);
        INSERT INTO search (search, rowid, message)
            SELECT 'delete', log.seq, log.message
            FROM json_each(NEW.amendments) AS a JOIN log
                ON log.chat = a.value->>0 AND log.message_id = a.value->>1 AND log.kind <= 3
            WHERE log.seq <= (SELECT seq FROM indexed) AND log.message IS NOT NULL;
        UPDATE log SET changed = a.value->>2, changed_at = a.value->>3, message = a.value->>4,
                       extra = a.value->>5, deleted = a.value->>6
            FROM json_each(NEW.amendments) AS a
            WHERE log.chat = a.value->>0 AND log.message_id = a.value->>1 AND log.kind <= 3;
        INSERT INTO search (rowid, message)
            SELECT log.seq, log.message
            FROM json_each(NEW.amendments) AS a JOIN log
                ON log.chat = a.value->>0 AND log.message_id = a.value->>1 AND log.kind <= 3
            WHERE log.seq <= (SELECT seq FROM indexed) AND log.message IS NOT NULL;
        INSERT INTO file (id, digest, user, name, mimetype, size, width, height, loose)
            SELECT value->>'$.id', value->>'$.digest', value->>'$.user', value->>'$.name', value->>'$.mimetype',
                   value->>'$.size', value->>'$.width', value->>'$.height', value->>'$.loose'
            FROM json_each(NEW.files) WHERE value->>'$.change' = 'fileAdded';
        DELETE FROM file WHERE id IN (
            SELECT gone.value->>'$.id' FROM json_each(NEW.files) AS f, json_each(f.value, '$.files') AS gone);
        DELETE FROM holding WHERE (chat, message_id) IN (
            SELECT value->>0, value->>1 FROM json_each(NEW.amendments));
        INSERT INTO holding (chat, message_id, file)
            SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.holdings);
        INSERT OR REPLACE INTO cursor (device, seq, seen)
            SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.cursors);
        INSERT OR REPLACE INTO user (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.users');
        INSERT OR REPLACE INTO device (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.devices');
        DELETE FROM invite WHERE NEW.snapshot->>'$.invites' IS NOT NULL;
        INSERT INTO invite (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.invites') WHERE type = 'array';
        INSERT OR REPLACE INTO chat (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.chats');
        DELETE FROM member WHERE chat IN (SELECT value FROM json_each(NEW.snapshot, '$.whole'));
        INSERT OR REPLACE INTO member (chat, user, value)
            SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.snapshot, '$.members');
        INSERT OR REPLACE INTO snapshot (one, seq, at, pruned)
            SELECT 1, NEW.snapshot->>'$.seq', NEW.snapshot->>'$.at', NEW.snapshot->>'$.pruned'
            WHERE NEW.snapshot->>'$.seq' IS NOT NULL;
        INSERT INTO search (rowid, message)
            SELECT seq, message FROM log
            WHERE seq > (SELECT seq FROM indexed) AND seq <= NEW.indexed AND kind = 1 AND message IS NOT NULL;
        UPDATE indexed SET seq = NEW.indexed WHERE seq < NEW.indexed;
    END;
    """,
    """
    -- What leaves the full-text index leaves a mark of deletion there, beside the text that is put together from its
    -- trigrams still, until both are merged. So many texts left since that was done; an older store may have some.
    CREATE TABLE unmerged (one INTEGER PRIMARY KEY CHECK (one = 1), texts INTEGER NOT NULL) STRICT;
    INSERT INTO unmerged (one, texts) SELECT 1, EXISTS (SELECT 1 FROM log);
    CREATE TRIGGER log_text_changed AFTER UPDATE OF message ON log
        WHEN OLD.message IS NOT NULL AND OLD.seq <= (SELECT seq FROM indexed) BEGIN
        UPDATE unmerged SET texts = texts + 1;
    END;
    CREATE TRIGGER log_text_gone AFTER DELETE ON log
        WHEN OLD.message IS NOT NULL AND OLD.seq <= (SELECT seq FROM indexed) BEGIN
        UPDATE unmerged SET texts = texts + 1;
    END;
    """,
    """
    -- Which relay wrote to this file last, by its version; nothing where that was one that did not say. See `writer`.
    CREATE TABLE writer (one INTEGER PRIMARY KEY CHECK (one = 1), version TEXT NOT NULL) STRICT;
    INSERT INTO writer (one, version) VALUES (1, '');
    """,
    """
    -- The base in parts, so that no commit has to write all of it. `base` says which round's parts it consists of;
    -- where it says none it holds all rows itself, as an older relay wrote it.
    CREATE TABLE base_part (number INTEGER PRIMARY KEY, round INTEGER NOT NULL, value TEXT NOT NULL) STRICT;
    CREATE INDEX base_part_round ON base_part (round);
    -- The relay merges the segments of the full-text index itself, a few pages at a time. Left to itself FTS5 does it
    -- inside the commit that fills a level, however long that takes.
    INSERT INTO search (search, rank) VALUES ('automerge', 0);
    INSERT INTO search (search, rank) VALUES ('crisismerge', 1999);
    """,
    """
    -- What of a chat follows an entry: a replay reads just that, however much was said elsewhere meanwhile.
    CREATE INDEX log_chat ON log (chat) WHERE kind <= 5;
    -- What changed chats, users and devices: little beside what was said.
    CREATE INDEX log_change ON log (seq, kind, actor) WHERE kind >= 6;
    -- Of each kind, since one's marks of one kind cover ever higher messages: the first at or after a message is the
    -- one that covers it, and is found by one look.
    DROP INDEX log_mark;
    CREATE INDEX log_mark ON log (chat, actor, kind, message_id) WHERE kind IN (4, 5);
    """,
    """
    -- Client ids of messages that retention removed, so that a resend is still known: those of a week before the last
    -- entry, in 65,536 places that the latest take in turn. No texts, and not the ids themselves: only their hashes.
    CREATE TABLE removed (
        place      INTEGER PRIMARY KEY,
        seq        INTEGER NOT NULL,
        key        INTEGER NOT NULL,
        chat       INTEGER NOT NULL,
        message_id INTEGER NOT NULL,
        kind       INTEGER NOT NULL,
        actor      INTEGER NOT NULL,
        at         INTEGER NOT NULL,
        target     INTEGER NOT NULL
    ) STRICT;
    CREATE TRIGGER removed_forgotten AFTER DELETE ON removed BEGIN
        DELETE FROM client WHERE key = OLD.key AND seq = OLD.seq;
    END;
    DROP TRIGGER log_client_gone;
    CREATE TRIGGER log_client_gone AFTER DELETE ON log WHEN OLD.client_key IS NOT NULL
        AND OLD.at < (SELECT at FROM log ORDER BY seq DESC LIMIT 1) - 604800000 BEGIN
        DELETE FROM client WHERE key = OLD.client_key;
    END;
    CREATE TRIGGER log_client_kept AFTER DELETE ON log WHEN OLD.client_key IS NOT NULL
        AND OLD.at >= (SELECT at FROM log ORDER BY seq DESC LIMIT 1) - 604800000 BEGIN
        DELETE FROM removed WHERE place = OLD.seq % 65536;
        INSERT INTO removed (place, seq, key, chat, message_id, kind, actor, at, target) VALUES (OLD.seq % 65536,
            OLD.seq, OLD.client_key, OLD.chat, OLD.message_id, OLD.kind, OLD.actor, OLD.at, OLD.target);
        INSERT OR REPLACE INTO client (key, seq) VALUES (OLD.client_key, OLD.seq);
    END;
    """,
    """
    -- The full-text index holds texts folded (`relay.text.fold`), each with two marks at its end so that a trigram
    -- begins at every character. A text of ASCII letters is folded without Python. `folding` names what folded them.
    -- It keeps no places of trigrams in a text any more: what it finds is compared as a whole.
    --
    -- To drop an index of gigabytes would hold up the start. So the table becomes the other one where it stands, and
    -- is empty by its own list of segments (10) and totals (1). Rows that are left over are removed in portions before
    -- it is filled, like those of an index that was lost: see `chores.empty_index`.
    DROP TRIGGER log_removed;
    DROP TRIGGER batch_written;
    UPDATE indexed SET seq = 0;
    UPDATE unmerged SET texts = 0;
    ALTER TABLE indexed ADD COLUMN folding TEXT NOT NULL DEFAULT '';
    UPDATE search_data SET block = x'00000000000000' WHERE id = 10;
    UPDATE search_data SET block = x'' WHERE id = 1;
    PRAGMA writable_schema = ON;
    UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE search USING fts5 (message, content = '''', detail = none,'
        || ' tokenize = ''trigram case_sensitive 1'')' WHERE type = 'table' AND name = 'search';
    PRAGMA writable_schema = RESET;
    CREATE TRIGGER log_removed BEFORE DELETE ON log
        WHEN OLD.message IS NOT NULL AND OLD.seq <= (SELECT seq FROM indexed) BEGIN
        INSERT INTO search (search, rowid, message) VALUES ('delete', OLD.seq,
            CASE WHEN length(OLD.message) = length(CAST(OLD.message AS BLOB))
            THEN lower(OLD.message) ELSE fold(OLD.message) END || char(2, 2));
    END;
    CREATE TRIGGER batch_written INSTEAD OF INSERT ON batch BEGIN
        INSERT INTO log (seq, kind, chat, message_id, actor, device, at, target, client_key, client_id, message, extra)
            SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
                   value->>8, value->>9, value->>10, value->>11
            FROM json_each(NEW.entries);
        INSERT INTO search (search, rowid, message)
            SELECT 'delete', log.seq, CASE WHEN length(log.message) = length(CAST(log.message AS BLOB))
                   THEN lower(log.message) ELSE fold(log.message) END || char(2, 2)
            FROM json_each(NEW.amendments) AS a JOIN log
                ON log.chat = a.value->>0 AND log.message_id = a.value->>1 AND log.kind <= 3
            WHERE log.seq <= (SELECT seq FROM indexed) AND log.message IS NOT NULL;
        UPDATE log SET changed = a.value->>2, changed_at = a.value->>3, message = a.value->>4,
                       extra = a.value->>5, deleted = a.value->>6
            FROM json_each(NEW.amendments) AS a
            WHERE log.chat = a.value->>0 AND log.message_id = a.value->>1 AND log.kind <= 3;
        INSERT INTO search (rowid, message)
            SELECT log.seq, CASE WHEN length(log.message) = length(CAST(log.message AS BLOB))
                   THEN lower(log.message) ELSE fold(log.message) END || char(2, 2)
            FROM json_each(NEW.amendments) AS a JOIN log
                ON log.chat = a.value->>0 AND log.message_id = a.value->>1 AND log.kind <= 3
            WHERE log.seq <= (SELECT seq FROM indexed) AND log.message IS NOT NULL;
        INSERT INTO file (id, digest, user, name, mimetype, size, width, height, loose)
            SELECT value->>'$.id', value->>'$.digest', value->>'$.user', value->>'$.name', value->>'$.mimetype',
                   value->>'$.size', value->>'$.width', value->>'$.height', value->>'$.loose'
            FROM json_each(NEW.files) WHERE value->>'$.change' = 'fileAdded';
        DELETE FROM file WHERE id IN (
            SELECT gone.value->>'$.id' FROM json_each(NEW.files) AS f, json_each(f.value, '$.files') AS gone);
        DELETE FROM holding WHERE (chat, message_id) IN (
            SELECT value->>0, value->>1 FROM json_each(NEW.amendments));
        INSERT INTO holding (chat, message_id, file)
            SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.holdings);
        INSERT OR REPLACE INTO cursor (device, seq, seen)
            SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.cursors);
        INSERT OR REPLACE INTO user (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.users');
        INSERT OR REPLACE INTO device (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.devices');
        DELETE FROM invite WHERE NEW.snapshot->>'$.invites' IS NOT NULL;
        INSERT INTO invite (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.invites') WHERE type = 'array';
        INSERT OR REPLACE INTO chat (key, value)
            SELECT value->>0, value->>1 FROM json_each(NEW.snapshot, '$.chats');
        DELETE FROM member WHERE chat IN (SELECT value FROM json_each(NEW.snapshot, '$.whole'));
        INSERT OR REPLACE INTO member (chat, user, value)
            SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.snapshot, '$.members');
        INSERT OR REPLACE INTO snapshot (one, seq, at, pruned)
            SELECT 1, NEW.snapshot->>'$.seq', NEW.snapshot->>'$.at', NEW.snapshot->>'$.pruned'
            WHERE NEW.snapshot->>'$.seq' IS NOT NULL;
        INSERT INTO search (rowid, message)
            SELECT seq, CASE WHEN length(message) = length(CAST(message AS BLOB))
                   THEN lower(message) ELSE fold(message) END || char(2, 2)
            FROM log
            WHERE seq > (SELECT seq FROM indexed) AND seq <= NEW.indexed AND kind = 1 AND message IS NOT NULL;
        UPDATE indexed SET seq = NEW.indexed WHERE seq < NEW.indexed;
    END;
    """,
    """
    -- Pages of the full-text index that fit into one of the file's with their row's head: to look for a rare word reads
    -- one of each segment, not five.
    INSERT INTO search (search, rank) VALUES ('pgsz', 980);
    """,
    """
    -- A trigger for each row costs a fifth of writing it. The two statements that write to the log look themselves
    -- whether a client id is known: the plain one (see `writing`) row by row, and that into `batch` by this trigger.
    DROP TRIGGER log_client_known;
    CREATE TRIGGER batch_known INSTEAD OF INSERT ON batch
        WHEN EXISTS (SELECT 1 FROM json_each(NEW.entries) AS e JOIN client ON client.key = e.value->>8) BEGIN
        SELECT RAISE(ABORT, 'a client id that is known');
    END;
    """,
    """
    -- Folding makes one space of each run of white space, so that lower case is all of it only for printable ASCII
    -- without two spaces in a row. The index is filled again, since its folding has another name now.
    PRAGMA writable_schema = ON;
    UPDATE sqlite_master SET sql = replace(replace(replace(sql,
        'length(OLD.message) = length(CAST(OLD.message AS BLOB))',
        'OLD.message NOT GLOB ''*[^ -~]*'' AND NOT instr(OLD.message, char(32, 32))'),
        'length(log.message) = length(CAST(log.message AS BLOB))',
        'log.message NOT GLOB ''*[^ -~]*'' AND NOT instr(log.message, char(32, 32))'),
        'length(message) = length(CAST(message AS BLOB))',
        'message NOT GLOB ''*[^ -~]*'' AND NOT instr(message, char(32, 32))')
        WHERE type = 'trigger' AND name IN ('log_removed', 'batch_written');
    PRAGMA writable_schema = RESET;
    """,
    """
    -- A text that a failing disk changed may not be UTF-8, and sqlite3 then does not call a function of Python with it:
    -- its bytes are folded, so that the message can be indexed, edited and deleted all the same.
    PRAGMA writable_schema = ON;
    UPDATE sqlite_master SET sql = replace(replace(replace(sql,
        'fold(OLD.message)', 'fold(CAST(OLD.message AS BLOB))'),
        'fold(log.message)', 'fold(CAST(log.message AS BLOB))'),
        'fold(message)', 'fold(CAST(message AS BLOB))')
        WHERE type = 'trigger' AND name IN ('log_removed', 'batch_written');
    PRAGMA writable_schema = RESET;
    """,
    """
    -- The name of an uploaded file is in `file` alone, and leaves the disk with it: the log's entry stays.
    UPDATE log SET extra = json_remove(extra, '$.name') WHERE kind >= 6 AND kind = 11
        AND CASE WHEN json_valid(extra) THEN extra ->> '$.change' = 'fileAdded' ELSE FALSE END;
    """,
    """
    -- A file that was chosen as a picture has had its use: it may go as soon as nobody shows it any more.
    CREATE TRIGGER log_picture AFTER INSERT ON log
        WHEN NEW.kind IN (6, 7) AND CASE WHEN json_valid(NEW.extra) THEN NEW.extra ->> '$.photoUrl' <> '' END BEGIN
        UPDATE file SET loose = 1 WHERE loose > 1 AND id = substr(NEW.extra ->> '$.photoUrl', length('/files/') + 1);
    END;
    UPDATE file SET loose = 1 WHERE loose > 1 AND id IN (
        SELECT substr(extra ->> '$.photoUrl', length('/files/') + 1) FROM log
            WHERE kind >= 6 AND kind IN (6, 7) AND json_valid(extra)
        UNION SELECT substr(value ->> '$.photoUrl', length('/files/') + 1) FROM user
        UNION SELECT substr(value ->> '$.photoUrl', length('/files/') + 1) FROM chat);
    """,
)
