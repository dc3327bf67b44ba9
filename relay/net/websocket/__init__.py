"""WebSocket: frames, one session, what is on its way to it, and signs of life."""
