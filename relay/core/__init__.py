"""The core: who may do what, what follows from it, and who receives it.

Plain functions and classes, tested without sockets. They know the protocol's types and the log's entries.
"""
