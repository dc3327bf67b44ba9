"""The outside: sockets, the HTTP front door, WebSocket frames, sessions and their outboxes.

May touch protocol and core; never the store.
"""
