"""WebSocket: the handshake, frames, one session with its outbox and replay, and keepalive."""
