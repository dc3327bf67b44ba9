"""`POST /hooks/TOKEN`: whoever has the address posts into one chat. Takes what others post to Slack, too.

The address is the secret here, since the tools that post know nothing else; it is never logged.
"""

import hashlib
import uuid

import trio

from relay.core.auth.sign_in import token_hash
from relay.core.hooks.rights import may_act
from relay.core.limits.rate_limit import RateLimit
from relay.core.model.entities import Device
from relay.core.relay import Relay
from relay.core.rules import commands
from relay.core.rules.commands import Command
from relay.core.rules.submit import submit
from relay.net.http.connection import HttpError, HttpRequest, HttpResponse
from relay.net.webhooks.body import cut, understand
from relay.protocol.errors import RelayError

PATH = "/hooks/"
BODY_BYTES = 262_144
BODY_SECONDS = 10.0
KEY = 128
"""Characters of a client message id (`protocol.base.ClientId`)."""


class HookPage:
    """What `/hooks/` does."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._limit = RateLimit(relay.settings.limits)
        """By hook: what one that posts for a person takes is not missing for the person."""

    async def post(self, request: HttpRequest) -> HttpResponse:
        """Post a message; answered when it is on disk.

        Raises:
            Refused: nobody knows this address, or there is nothing to post.
            RelayError: the chat does not take it.
        """
        relay = self._relay
        device = self._device(request.path.removeprefix(PATH).rstrip("/"))
        assert device.hook is not None
        wait = self._limit.take(device.key, trio.current_time())
        if wait:
            raise RelayError.rate_limited(wait)
        body = b""
        with relay.hub.rights.while_allowed(lambda: may_act(relay.state, device)):
            body = await _read(request)
        # Nothing is waited for between here and the log.
        self._check(device)
        said = understand(
            body, request.header(b"content-type") or "", encoding=request.header(b"content-encoding") or ""
        )
        relay.service.answering.check(device.user, device.hook.chat, trio.current_time())
        post = commands.PostByHook(device.hook.chat, _key(request.header(b"idempotency-key")), cut(said))
        generated_id = str(uuid.uuid4())
        await submit(relay.log, Command(relay.clock(), device.user, device.key, post, generated_id=generated_id))
        # Some tools take nothing but this for a success.
        return HttpResponse(200, [(b"Content-Type", b"text/plain; charset=utf-8")], b"ok")

    def _device(self, token: str) -> Device:
        state = self._relay.state
        key = state.device_keys.get(token_hash(token))
        device = None if key is None else state.devices[key]
        if device is None or device.hook is None or device.hook.url:
            raise _no_hook()
        self._check(device)
        return device

    def _check(self, device: Device) -> None:
        """Let only a hook post that is in use.

        Raises:
            Refused: it is not.
        """
        state = self._relay.state
        if not state.is_authorized(device.user, device.key):
            raise _no_hook()
        if not may_act(state, device):
            raise HttpError(404, "not_found", "this hook's chat is gone, or its user was taken out of it")


def _no_hook() -> HttpError:
    return HttpError(404, "not_found", "there is no such hook: `relay hook add CHAT` makes one")


def _key(given: str | None) -> str:
    """Take the sender's key; one that is too long by its hash, never by its beginning."""
    if not given:
        return ""
    return given if len(given) <= KEY else hashlib.sha256(given.encode()).hexdigest()


async def _read(request: HttpRequest) -> bytes:
    body = bytearray()
    with trio.move_on_after(BODY_SECONDS) as patience:
        while piece := await request.piece():
            body += piece
            if len(body) > BODY_BYTES:
                raise HttpError(413, "too_large", f"the body is over {BODY_BYTES} bytes")
    if patience.cancelled_caught:
        raise HttpError(408, "bad_request", f"the body did not come within {BODY_SECONDS:.0f} s")
    return bytes(body)
