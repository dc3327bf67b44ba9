"""The errors of the protocol, each with a code for programs and a message for people (PROTOCOL.md, section 2)."""

from typing import Literal, Self

from relay.protocol.base import Wire

ErrorCode = Literal[
    "bad_request",
    "unknown_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "conflict",
    "too_large",
    "rate_limited",
    "storage_full",
    "unavailable",
    "internal",
]


class Error(Wire, frozen=True, kw_only=True):
    """An error on the wire. `retry_after` is in milliseconds."""

    code: ErrorCode
    message: str
    retry_after: int | None = None
    quota: int | None = None
    """With `storage_full`: the bytes that this user may store in total; their quota is used up. Without this field
    the relay's disk is full."""


class RelayError(Exception):
    """A request is answered with an error."""

    def __init__(
        self, code: ErrorCode, message: str, *, retry_after: int | None = None, quota: int | None = None
    ) -> None:
        super().__init__(message)
        self.error = Error(code=code, message=message, retry_after=retry_after, quota=quota)

    @classmethod
    def bad_field(cls, field: str, problem: str) -> Self:
        """A field is invalid; `field` is its path (`payload.chatId`)."""
        return cls("bad_request", f"{field}: {problem}")

    @classmethod
    def no_chat(cls, chat_id: str) -> Self:
        """There is no such chat, or the user is not in it: the two look the same (PROTOCOL.md, section 5)."""
        return cls("not_found", f"chatId: there is no chat {chat_id!r} for you here")

    @classmethod
    def no_message(cls, message_id: int) -> Self:
        """The chat has no such message, or it was removed."""
        return cls("not_found", f"there is no message {message_id} in this chat")

    @classmethod
    def no_user(cls, user_id: str) -> Self:
        """No user has this id."""
        return cls("not_found", f"there is no user {user_id!r} here")

    @classmethod
    def forbidden(cls, reason: str) -> Self:
        """The user may see it, but not do this."""
        return cls("forbidden", reason)

    @classmethod
    def conflict(cls, message: str) -> Self:
        """The request contradicts the present state."""
        return cls("conflict", message)

    @classmethod
    def rate_limited(cls, retry_after: int) -> Self:
        """Too many requests; try again after `retry_after` milliseconds."""
        return cls("rate_limited", f"too many requests: try again in {retry_after} ms", retry_after=retry_after)

    @classmethod
    def too_many_groups(cls, most: int, retry_after: int) -> Self:
        """The user has created as many groups as allowed per day."""
        return cls("rate_limited", f"you may make {most} groups a day: try again later", retry_after=retry_after)

    @classmethod
    def storage_full(cls) -> Self:
        """The disk is full. Nothing was changed."""
        return cls("storage_full", "the relay's disk is full: nothing was saved, try again later")

    @classmethod
    def over_quota(cls, quota: int, message: str) -> Self:
        """The user's quota is used up; the disk may have space."""
        return cls("storage_full", message, quota=quota)

    @classmethod
    def unavailable(cls) -> Self:
        """The store cannot be written at the moment. Nothing was changed."""
        return cls("unavailable", "the relay cannot save anything just now: try again later")

    @classmethod
    def unreadable(cls) -> Self:
        """The store cannot be read at the moment."""
        return cls("unavailable", "the relay cannot read its store just now: try again later")

    @classmethod
    def internal(cls) -> Self:
        """An error in the relay itself; its log has the details."""
        return cls("internal", "the relay failed at this request; its log says why")
