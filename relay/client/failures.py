"""Why a client has no connection, and whether another attempt can help."""

import json
import ssl

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError

CONNECTION_ERRORS = (
    OSError,
    HandshakeError,
    ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)
"""The errors that end a connection; the client then reconnects."""
RETRYABLE_STATUSES = frozenset({408, 425, 429})
"""HTTP statuses below 500 after which the same request may succeed a moment later."""
CERTIFICATE_NOT_YET_VALID = 9
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID: this machine's clock is probably not set yet."""


class SignedOut(Exception):
    """The relay does not accept this token, or no longer accepts it."""


class CannotConnect(Exception):
    """There is no relay at the address, or its certificate is not trusted; another attempt does not help."""


class Unanswered(Exception):
    """The connection was lost before the answer: the relay may or may not have done what was asked."""


def permanent_failure(error: BaseException) -> str:
    """Explain why no attempt to connect can succeed; empty if another one may.

    Args:
        error: the error that ended the attempt.
    """
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "verify_code", 0) == CERTIFICATE_NOT_YET_VALID:
            return ""
        if isinstance(cause, ssl.SSLError):
            # Without a verify_message the certificate is not the cause: the peer does not speak TLS, or speaks another
            # version.
            return f"TLS fails: {getattr(cause, 'verify_message', '') or cause.reason or cause}"
        cause = cause.__cause__
    if not isinstance(error, ConnectionRejected) or error.status_code >= 500 or error.status_code in RETRYABLE_STATUSES:
        return ""
    return f"no WebSocket of a relay's is here: HTTP {error.status_code}{_message(error.body or b'')}"


def _message(body: bytes) -> str:
    """Read the message of a relay's error response; empty for the response of another server."""
    try:
        return f", {json.loads(body)['error']['message']}"
    except (ValueError, TypeError, LookupError):
        return ""
