"""`POST /hooks/TOKEN`: a program posts into one chat; Slack's format is understood, too.

The address is the only secret, because the posting tools know no other way to sign in. It is never logged.
"""

import hashlib
import uuid

import trio

from relay.core.auth.tokens import token_hash
from relay.core.hooks.hook_rights import may_act
from relay.core.limits.rate_limit import RateLimit
from relay.core.model.entities import Device
from relay.core.relay import Relay
from relay.core.rules import commands
from relay.core.submit import submit
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError, HttpResponse
from relay.net.webhooks.body import extract_text, truncate
from relay.protocol.errors import RelayError
from relay.store.command import Command

PATH = "/hooks/"
HOOK_BODY_BYTES = 262_144
HOOK_BODY_SECONDS = 10.0
KEY_CHARACTERS = 128
"""The most characters of a client message id (`protocol.base.ClientMessageId`)."""


class HookPage:
    """The handler of `/hooks/`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._limit = RateLimit(relay.settings.limits)
        """Per hook: a hook that posts for a person does not use up the person's limit."""

    async def post(self, request: HttpRequest) -> HttpResponse:
        """Post a message; respond once it is on disk.

        Raises:
            HttpError: there is no such hook, it may not post now, or the body has no text.
            RelayError: the chat does not accept the message, or the hook posts too much.
        """
        relay = self._relay
        device = self._device(request.path.removeprefix(PATH).rstrip("/"))
        assert device.hook is not None
        wait = self._limit.take(device.key, trio.current_time())
        if wait:
            raise RelayError.rate_limited(wait)
        body = b""
        with relay.hub.rights.while_allowed(lambda: may_act(relay.state, device)):
            body = await request.body(HOOK_BODY_BYTES, HOOK_BODY_SECONDS)
        # No await between this check and the log.
        self._check(device)
        said = extract_text(
            body, request.header(b"content-type") or "", encoding=request.header(b"content-encoding") or ""
        )
        relay.service.answering.check(device.user, device.hook.chat, trio.current_time())
        post = commands.PostByHook(device.hook.chat, _key(request.header(b"idempotency-key")), truncate(said))
        generated_id = str(uuid.uuid4())
        await submit(relay.log, Command(relay.clock(), device.user, device.key, post, generated_id=generated_id))
        # Some tools accept nothing else as a success.
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
        """Check that a hook may post now.

        Raises:
            HttpError: it may not.
        """
        state = self._relay.state
        if device.revoked_at or state.users[device.user].removed:
            raise _no_hook()
        if not state.is_authorized(device.user, device.key):
            # Senders retry after a 503: nothing is lost when the user is enabled again.
            raise HttpError(
                503,
                "unavailable",
                "this hook is paused while its user is disabled: try again later",
                (b"Retry-After", b"60"),
            )
        if not may_act(state, device):
            raise HttpError(404, "not_found", "this hook's chat was deleted, or its user is no longer in it")


def _no_hook() -> HttpError:
    return HttpError(404, "not_found", "there is no such hook: `relay hook add CHAT` makes one")


def _key(given: str | None) -> str:
    """Return the sender's idempotency key, its hash if it is too long, or nothing."""
    if not given:
        return ""
    return given if len(given) <= KEY_CHARACTERS else hashlib.sha256(given.encode()).hexdigest()
