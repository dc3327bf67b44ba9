"""`/session`: signing in and out over HTTP, and who one is. The token goes into a cookie that no script reads."""

from typing import Annotated

import msgspec

from relay import __version__
from relay.core.auth.sign_in import Entered
from relay.core.relay import Relay
from relay.core.service.dispatch import CHATS_PAGE_BYTES, NO_DEVICE
from relay.net.http.connection import HttpError, HttpRequest, HttpResponse, json_answer
from relay.net.http.visitor import Caller
from relay.protocol.base import Id, Name, Wire
from relay.protocol.objects import MAX_ATTACHMENTS
from relay.protocol.requests import MAX_MESSAGE_CHARACTERS, MAX_PAGE_ITEMS
from relay.protocol.schema import VERSIONS

COOKIE = "relay_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Under TLS: a browser takes a cookie of such a name from nobody but this host over TLS (RFC 6265bis, 4.1.3.2)."""
COOKIE_SECONDS = 400 * 86_400
"""How long a browser keeps it, counted from the last time it asked who it is; browsers allow no more."""


CLEAR = (b"Clear-Site-Data", b'"storage"')
"""What a browser forgets at a sign-out. Not the cookies: other services of the same host have theirs among them.
Not the cache either, over which Chromium takes seconds: what is in it has to be asked for again, and is refused."""


class Credentials(Wire, frozen=True, kw_only=True):
    """What somebody signs in by: an invite, a user id and a password, or a name where the relay is open."""

    invite: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    user_id: Id | None = None
    password: Annotated[str, msgspec.Meta(max_length=1_024)] | None = None
    name: Name | None = None
    label: Annotated[str, msgspec.Meta(max_length=128)] = ""


class SessionPage:
    """What `/session` does."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._sign_in = relay.service.signing_in

    async def show(self, request: HttpRequest, visitor: Caller) -> HttpResponse:
        """Say who one is; a browser that asks keeps its cookie for longer."""
        if visitor.who is None:
            raise visitor.stranger(signIn=self._sign_in.ways())
        user = self._relay.state.users[visitor.user]
        who: dict[str, object] = {
            "userId": user.id,
            "name": user.name,
            "admin": user.admin,
            "version": __version__,
            "protocol": {"versions": [int(one) for one in VERSIONS], "limits": self._limits()},
        }
        if not visitor.by_cookie:
            return json_answer(who)
        token = self.cookie(request, secure=visitor.by_tls) or ""
        return json_answer(who, headers=self._cookies(token, COOKIE_SECONDS, visitor))

    @staticmethod
    def cookie(request: HttpRequest, *, secure: bool) -> str | None:
        """Find the cookie that a browser keeps for us.

        Under TLS the name that nobody else can set goes first, so that no page of this host without TLS can put
        another session in its place. A cookie from before TLS counts where there is no such one, until `GET /session`
        has exchanged it.
        """
        found: dict[str, str] = {}
        for pair in (request.header(b"cookie") or "").split(";"):
            name, _, value = pair.strip().partition("=")
            if value and name in (COOKIE, SECURE_COOKIE):
                found.setdefault(name, value)
        names = (SECURE_COOKIE, COOKIE) if secure else (COOKIE,)
        return next((found[name] for name in names if name in found), None)

    def _limits(self) -> dict[str, object]:
        """What a client may send and ask for, in bytes, characters and counts."""
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
            "chatsPageBytes": CHATS_PAGE_BYTES,
        }

    async def sign_in(self, request: HttpRequest, visitor: Caller) -> HttpResponse:
        """Let somebody in, by what they bring."""
        credentials = await request.json(Credentials)
        entered = await self._enter(credentials, visitor.address)
        answer = {"token": entered.token, "userId": entered.user_id}
        if entered.chat_id is not None:
            answer["chatId"] = entered.chat_id
        return json_answer(answer, headers=self._cookies(entered.token, COOKIE_SECONDS, visitor))

    async def _enter(self, credentials: Credentials, address: str) -> Entered:
        label = credentials.label
        if credentials.invite is not None:
            return await self._sign_in.by_invite(credentials.invite, label, address)
        if credentials.user_id is not None and credentials.password is not None:
            return await self._sign_in.by_password(credentials.user_id, credentials.password, label, address)
        if credentials.name is not None:
            return await self._sign_in.by_name(credentials.name, label, address)
        raise HttpError(400, "bad_request", "body: send an invite, or userId and password")

    async def sign_out(self, _request: HttpRequest, visitor: Caller) -> HttpResponse:
        """Let this device in no more."""
        user, device = visitor.user, visitor.device
        if device != NO_DEVICE:
            await self._sign_in.sign_out(user, device)
        return HttpResponse(204, [*self._cookies("", 0, visitor), CLEAR, (b"Cache-Control", b"no-store")])

    @staticmethod
    def _cookies(token: str, seconds: int, visitor: Caller) -> list[tuple[bytes, bytes]]:
        secure = visitor.by_tls
        attributes = "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        name = SECURE_COOKIE if secure else COOKIE
        cookies = [f"{name}={token}; Max-Age={seconds}; {attributes}"]
        if secure:
            cookies.append(f"{COOKIE}=; Max-Age=0; {attributes}")
        return [(b"Set-Cookie", cookie.encode()) for cookie in cookies]
