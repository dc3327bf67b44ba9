"""Everything said, in one SQLite file: the log and its one writer, queries, checks and backups.

All SQL but that of the checks and of an import's temporary file. It knows wire objects and how an entry is stored, but
none of the rules by which entries come about: those are handed in (`log/decision_engine.py`).
"""
