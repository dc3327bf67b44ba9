"""`POST /hooks/TOKEN`: whoever has the address posts into one chat. Takes what others post to Slack, too.

The address is the secret here, since the tools that post know nothing else; it is never logged.
"""

import uuid
from typing import Any
from urllib.parse import parse_qs

import msgspec
import trio

from relay.core.asking import decided
from relay.core.commands import Command
from relay.core.relay import Relay
from relay.core.sign_in import token_hash
from relay.core.state import Device
from relay.net.http import Answer, Refused, Request
from relay.protocol import requests
from relay.protocol.errors import RelayError

PATH = "/hooks/"
BODY_BYTES = 262_144
BODY_SECONDS = 10.0
TEXT = 65_536
"""Characters of a message (`protocol.base.Text`)."""


class Attached(msgspec.Struct):
    """What Slack calls an attachment; of it only what can be said in words."""

    fallback: str | None = None
    pretext: str | None = None
    title: str | None = None
    text: str | None = None

    def words(self) -> str:
        """What it says."""
        said = [part for part in (self.pretext, self.title, self.text) if part]
        return "\n".join(said) or self.fallback or ""


class Posted(msgspec.Struct):
    """What is posted; the rest of what Slack knows is left aside."""

    text: str | None = None
    attachments: list[Attached] = msgspec.field(default_factory=list)

    def words(self) -> str:
        """What it says."""
        return "\n".join(part for part in (self.text, *(one.words() for one in self.attachments)) if part)


class HookPage:
    """What `/hooks/` does."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def post(self, request: Request) -> Answer:
        """Post a message; answered when it is on disk.

        Raises:
            Refused: nobody knows this address, or there is nothing to post.
            RelayError: the chat does not take it.
        """
        relay = self._relay
        device = self._device(request.path.removeprefix(PATH))
        wait = relay.service.limit.take(device.user, trio.current_time())
        if wait:
            raise RelayError.rate_limited(wait)
        said = understand(await _read(request), request.header(b"content-type") or "")
        # A machine that pads its texts with NUL is to be read all the same.
        text = said.replace("\0", "").strip()
        if not text:
            raise Refused(400, "bad_request", 'body: send {"text": "..."} or plain text')
        assert device.hook is not None
        message = requests.New(
            chat_id=device.hook.chat,
            client_message_id=(request.header(b"idempotency-key") or str(uuid.uuid4()))[:128],
            message=text[:TEXT],
        )
        await decided(relay.log, Command(relay.clock(), device.user, device.key, message))
        # Some tools take nothing but this for a success.
        return Answer(200, [(b"Content-Type", b"text/plain; charset=utf-8")], b"ok")

    def _device(self, token: str) -> Device:
        state = self._relay.state
        key = state.device_keys.get(token_hash(token))
        device = None if key is None else state.devices[key]
        if device is None or device.hook is None or device.hook.url or state.users[device.user].disabled:
            raise Refused(404, "not_found", "there is no such hook: `relay hook add CHAT` makes one")
        return device


async def _read(request: Request) -> bytes:
    body = bytearray()
    with trio.move_on_after(BODY_SECONDS) as patience:
        while piece := await request.piece():
            body += piece
            if len(body) > BODY_BYTES:
                raise Refused(413, "too_large", f"the body is over {BODY_BYTES} bytes")
    if patience.cancelled_caught:
        raise Refused(408, "bad_request", f"the body did not come within {BODY_SECONDS:.0f} s")
    return bytes(body)


def understand(body: bytes, content_type: str) -> str:
    """Find what a body says: JSON, a form with JSON in it, or plain text.

    Raises:
        Refused: it says it is JSON and is not.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        form: dict[str, Any] = parse_qs(body.decode("utf-8", "replace"))
        if "payload" not in form:
            # What `curl -d` sends says it is a form, whatever it is.
            return _json_or_text(body)
        body, kind = form["payload"][0].encode(), "application/json"
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return msgspec.json.decode(body, type=Posted).words()
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refused(400, "bad_request", f"body: {error}") from None
    return _json_or_text(body)


def _json_or_text(body: bytes) -> str:
    if body.lstrip()[:1] == b"{":
        try:
            return msgspec.json.decode(body, type=Posted).words()
        except (msgspec.DecodeError, RecursionError):
            pass
    return body.decode("utf-8", "replace")
