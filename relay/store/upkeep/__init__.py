"""Writes of background work: the SQL of each kind.

Each function is one short transaction on the writing connection, so that a commit never waits long. The caller chooses
the amount (`portion`).
"""
