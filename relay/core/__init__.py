"""The rules: who may say what to whom, what follows from it, and who is told.

Plain functions and classes, tested without sockets. Knows the protocol's types and the log's entries.
"""
