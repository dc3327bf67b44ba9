"""Reads of the log: for the rules, for replays, histories and searches."""
