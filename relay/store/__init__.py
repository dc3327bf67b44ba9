"""One SQLite file with all messages: the log and its one writer, queries, checks and backups.

All SQL is here, except for some checks and an import's temporary file. The store knows wire objects and how an entry is
stored, but not the rules that produce entries: it calls those through `decision_engine.py`.
"""
