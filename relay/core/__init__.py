"""The core: permissions, the effects of each command, and delivery.

Plain functions and classes, tested without sockets. They know the protocol's types and the log's entries.
"""
