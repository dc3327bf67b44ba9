"""The protocol's errors, all in one place: a code for programs and a sentence for people (section 2)."""

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
    """With `storage_full`: the bytes that this user may store in all. It is their own room that is used up; without
    it the relay's disk is full."""


class RelayError(Exception):
    """What a request may be answered with in place of its payload."""

    def __init__(
        self, code: ErrorCode, message: str, *, retry_after: int | None = None, quota: int | None = None
    ) -> None:
        super().__init__(message)
        self.error = Error(code=code, message=message, retry_after=retry_after, quota=quota)

    @classmethod
    def bad_field(cls, field: str, what: str) -> Self:
        """A field that is not what it must be, named by its path (`payload.chatId`)."""
        return cls("bad_request", f"{field}: {what}")

    @classmethod
    def no_chat(cls, chat_id: str) -> Self:
        """No such chat, or one that the asker is not in: the two look the same (section 5)."""
        return cls("not_found", f"chatId: there is no chat {chat_id!r} for you here")

    @classmethod
    def no_message(cls, message_id: int) -> Self:
        """The chat has no such message, or nothing of it is left."""
        return cls("not_found", f"there is no message {message_id} in this chat")

    @classmethod
    def no_user(cls, user_id: str) -> Self:
        """Nobody has that id."""
        return cls("not_found", f"there is no user {user_id!r} here")

    @classmethod
    def forbidden(cls, who_may: str) -> Self:
        """The asker may see it but not do it."""
        return cls("forbidden", who_may)

    @classmethod
    def conflict(cls, what: str) -> Self:
        """It contradicts what is already there."""
        return cls("conflict", what)

    @classmethod
    def rate_limited(cls, retry_after: int) -> Self:
        """Too many requests; `retry_after` in milliseconds."""
        return cls("rate_limited", f"too many requests: try again in {retry_after} ms", retry_after=retry_after)

    @classmethod
    def too_many_groups(cls, most: int, retry_after: int) -> Self:
        """Somebody made as many groups as one may in a day."""
        return cls("rate_limited", f"you may make {most} groups a day: try again later", retry_after=retry_after)

    @classmethod
    def storage_full(cls) -> Self:
        """The disk has no room left. Nothing was changed."""
        return cls("storage_full", "the relay's disk is full: nothing was saved, try again later")

    @classmethod
    def over_quota(cls, quota: int, what: str) -> Self:
        """The user's own room is used up, in bytes; the disk may have plenty."""
        return cls("storage_full", what, quota=quota)

    @classmethod
    def unavailable(cls) -> Self:
        """The store cannot be written just now. Nothing was changed."""
        return cls("unavailable", "the relay cannot save anything just now: try again later")

    @classmethod
    def internal(cls) -> Self:
        """A fault of the relay's own; its log says more."""
        return cls("internal", "the relay failed at this request; its log says why")
