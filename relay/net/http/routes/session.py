"""`/session`: signing in and out over HTTP, and the current session."""

from typing import Annotated

import msgspec

from relay import __version__
from relay.core.auth.sign_in import Entered
from relay.core.auth.tokens import token_hash
from relay.core.relay import Relay
from relay.keys import NO_DEVICE
from relay.net.http.caller import Caller
from relay.net.http.cookies import (
    clear_session_cookie,
    device_cookie,
    session_cookie,
    set_device_cookie,
    set_session_cookie,
)
from relay.net.http.request import HttpRequest
from relay.net.http.response import Headers, HttpError, HttpResponse, json_response
from relay.protocol.base import Id, JsonValue, Name, Wire
from relay.protocol.objects import MAX_ATTACHMENTS
from relay.protocol.requests import MAX_MESSAGE_CHARACTERS, MAX_PAGE_ITEMS
from relay.protocol.schema import VERSIONS

CLEAR = (b"Clear-Site-Data", b'"storage"')
"""The data that a browser deletes at a sign-out. Not the cookies: those of other programs on the same host would go,
too. Not the cache, which takes Chromium seconds: its files are revalidated at each use, and refused."""


class Credentials(Wire, frozen=True, kw_only=True):
    """The body of a sign-in: an invite, a user id and a password, or a name if the relay is open."""

    invite: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    user_id: Id | None = None
    password: Annotated[str, msgspec.Meta(max_length=1_024)] | None = None
    name: Name | None = None
    label: Annotated[str, msgspec.Meta(max_length=128)] = ""


class SessionPage:
    """The handlers of `/session`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._sign_in = relay.service.signing_in

    async def show(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        """Return the signed-in user and the limits; renew a browser's cookie."""
        if caller.signed_in is None:
            disabled = self._is_disabled(session_cookie(request, secure=caller.by_tls) or "")
            raise caller.unauthorized(signIn=self._sign_in.ways(), **({"disabled": True} if disabled else {}))
        user = self._relay.state.users[caller.user]
        who: dict[str, object] = {
            "userId": user.id,
            "name": user.name,
            "admin": user.admin,
            "version": __version__,
            "protocol": {"versions": [int(one) for one in VERSIONS], "limits": self._limits()},
        }
        if not caller.by_cookie:
            return json_response(who)
        token = session_cookie(request, secure=caller.by_tls) or ""
        return json_response(who, headers=self._cookies(token, caller))

    def _is_disabled(self, token: str) -> bool:
        """Whether a token is of a user who is disabled, and nothing else keeps its device out."""
        state = self._relay.state
        device = state.device_keys.get(token_hash(token))
        return device is not None and state.users[state.devices[device].user].disabled

    def _limits(self) -> dict[str, JsonValue]:
        """Return the limits for a client, in bytes, characters and counts."""
        limits, files = self._relay.settings.limits, self._relay.settings.files
        return {
            "frameBytes": limits.frame_bytes,
            "messageCharacters": MAX_MESSAGE_CHARACTERS,
            "attachments": MAX_ATTACHMENTS,
            "count": MAX_PAGE_ITEMS,
            "connectionsPerUser": limits.connections_per_user,
            "requestsPerSecond": limits.requests_per_second,
            "requestsAtOnce": limits.burst,
            "groupsPerDay": limits.groups_per_day,
            "fileBytes": files.file_bytes,
            "chatsPageBytes": self._relay.tuning.delivery.list_page_bytes,
        }

    async def sign_in(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        """Sign a person in, and return the new device's token."""
        credentials = await request.json(Credentials)
        proof = device_cookie(request, secure=caller.by_tls) or ""
        entered = await self._enter(credentials, caller.address, proof)
        answer = {"token": entered.token, "userId": entered.user_id}
        if entered.chat_id is not None:
            answer["chatId"] = entered.chat_id
        return json_response(answer, headers=self._cookies(entered.token, caller))

    def _cookies(self, token: str, caller: Caller) -> Headers:
        cookies = set_session_cookie(token, secure=caller.by_tls)
        proof = self._sign_in.proof(token)
        if proof:
            cookies = [*cookies, *set_device_cookie(proof, secure=caller.by_tls)]
        return cookies

    async def _enter(self, credentials: Credentials, address: str, proof: str) -> Entered:
        label = credentials.label
        if credentials.invite is not None:
            return await self._sign_in.by_invite(credentials.invite, label, address)
        if credentials.user_id is not None and credentials.password is not None:
            return await self._sign_in.by_password(
                credentials.user_id, credentials.password, label, address, proof=proof
            )
        if credentials.name is not None:
            return await self._sign_in.by_name(credentials.name, label, address)
        raise HttpError(400, "bad_request", "body: send an invite, or userId and password")

    async def sign_out(self, _request: HttpRequest, caller: Caller) -> HttpResponse:
        """Revoke this device's token."""
        user, device = caller.user, caller.device
        if device != NO_DEVICE:
            await self._sign_in.sign_out(user, device)
        return HttpResponse(204, [*clear_session_cookie(secure=caller.by_tls), CLEAR, (b"Cache-Control", b"no-store")])
