"""SQLite itself: connections, the schema and its migrations, the write-ahead log."""
