"""The body that a step posts to a hook."""


class Posted:
    """A request to post through a hook, as far as the page reads it."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self._key, self._body = text, text.encode()

    def header(self, name: bytes) -> str | None:
        """See `Request`: the text is its own idempotency key."""
        return self._key if name == b"idempotency-key" else None

    async def body(self, _most: int, _seconds: float) -> bytes:
        """See `HttpRequest.body`."""
        return self._body
