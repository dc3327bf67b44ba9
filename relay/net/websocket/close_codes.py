"""The codes with which the relay closes a WebSocket (RFC 6455, section 7.4.1, and PROTOCOL.md, section 1)."""

from relay.protocol.errors import ErrorCode

NORMAL = 1000
NO_CODE = 1005
"""The code that `frames.parse_close` returns for a CLOSE without one; it is never sent."""
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
SILENT = 4408
"""Nothing came for `keepalive.SILENCE_SECONDS`."""
STUCK_READER = 4409
"""The client read nothing for `outbox.STUCK_SECONDS`."""
UNREAD: dict[ErrorCode, int] = {"unavailable": TRY_AGAIN_LATER, "internal": INTERNAL_ERROR}
"""The code for each answer to a read that failed (`store/refusals.py`)."""
