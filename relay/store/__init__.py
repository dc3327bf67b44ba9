"""Everything said, in one SQLite file: the log and its one writer, queries, checks and backups.

The only place with SQL. It knows wire objects and how an entry is kept, but none of the rules by which
entries come about: those are handed in (`log.Rules`).
"""
