"""What a request weighs against its user's limits: by its kind, its bytes, and the connections that it is sent to."""

FRAMES_PER_REQUEST = 4
"""Frames of any kind, as acknowledgements and pings, that a client may send for each request that it may make."""
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
"""Requests that one counts as, by its cost before its size is known; those not named count as one."""
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
"""Requests that are a commit of their own, for which everybody waits: one user has one of them under way at a time."""
ANSWER_BYTES = 2_048
"""Bytes of an answer that count as one request more."""
REQUEST_BYTES = 2_048
"""Bytes of a request that count as one more, in whole steps: smaller ones count as one, so `burst` means it."""
CONNECTIONS_PER_REQUEST = 8
"""Connections that a message is sent to which count as one request more."""
