"""The weight of a request against its user's limits: by its kind, its bytes, and the connections that it is sent to."""

FRAMES_PER_REQUEST = 4
"""Frames of any kind (acknowledgements, pings) that a client may send per request that it may make."""
WEIGHTS = {
    "messages": 4.0,
    "search": 16.0,
    "chat": 4.0,
    "chats": 8.0,
    "users": 4.0,
    "devices": 2.0,
    "edit": 16.0,
    "delete": 16.0,
    "createChat": 16.0,
    "updateChat": 16.0,
    "addParticipants": 16.0,
    "removeParticipants": 16.0,
    "leaveChat": 16.0,
    "deleteChat": 16.0,
    "profile": 16.0,
    "revokeDevice": 16.0,
    "invite": 16.0,
}
"""The number of requests that one counts as before its size is known, by its cost; the others count as one."""
IN_TURN = frozenset(
    {
        "edit",
        "delete",
        "createChat",
        "updateChat",
        "addParticipants",
        "removeParticipants",
        "leaveChat",
        "deleteChat",
        "profile",
        "revokeDevice",
    }
)
"""Requests with a commit of their own, for which everybody waits: one user has one of them under way at a time."""
ANSWER_BYTES = 2_048
"""Bytes of an answer that count as one request more."""
REQUEST_BYTES = 2_048
"""Bytes of a request that count as one more, in whole steps, so a small request counts as exactly one."""
CONNECTIONS_PER_REQUEST = 8
"""Recipients' connections that count as one request more."""
