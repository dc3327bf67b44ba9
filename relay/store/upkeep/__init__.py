"""What background work writes to the store: the SQL of each kind of it.

Each function is one short transaction on the writing connection, so that a commit never waits long. The caller says how
much (`portion`).
"""
