"""One SQLite file with all that was said: the log and its one writer, queries, checks and backups.

All SQL but that of the checks and of an import's temporary file. It knows wire objects and how an entry is stored, but
none of the rules by which entries come about: those are handed in (`decision_engine.py`).
"""
