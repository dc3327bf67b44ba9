"""The network side: sockets, HTTP, WebSocket frames, sessions and their outboxes.

May touch protocol and core; never the store.
"""
