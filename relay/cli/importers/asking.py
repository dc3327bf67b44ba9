"""The requests of an import, and its answers to refusals: an object that the relay refuses stays behind alone."""

from collections import Counter

from relay.cli.control_client import Ask, RequestRefused
from relay.cli.importers.files import STOPPING, end_import
from relay.protocol import control
from relay.protocol.control.table import IMPORT_CHAT, IMPORT_MESSAGES
from relay.protocol.request_type import PayloadT, RequestType, ResponseT


class Asking:
    """Asks the relay."""

    def __init__(self, ask_one: Ask, left: Counter[str]) -> None:
        """Begin.

        Args:
            ask_one: asks the relay.
            left: counts objects left behind.
        """
        self._ask = ask_one
        self._left = left
        self.ownerless: list[str] = []
        """Groups that stay behind because nobody in them can sign in, by name."""

    async def or_none(self, kind: RequestType[PayloadT, ResponseT], request: PayloadT) -> ResponseT | None:
        """Ask the relay; None if it refuses."""
        try:
            return await self._ask(kind, request)
        except RequestRefused as refused:
            if refused.code in STOPPING:
                raise
            return None

    async def or_count(
        self, counted: str, kind: RequestType[PayloadT, ResponseT], request: PayloadT
    ) -> ResponseT | None:
        """Ask the relay; None if it refuses, which counts as left behind, with the reason.

        Args:
            counted: the kind of object, as the summary names it.
            kind: the type of the request.
            request: its payload.
        """
        try:
            return await self._ask(kind, request)
        except RequestRefused as refused:
            if refused.code in STOPPING:
                raise
            self._left[f"{counted} ({refused})"] += 1
            return None

    async def for_chat(self, name: str, request: control.ChatImport) -> control.ImportResult | None:
        """Ask the relay about a chat; None if it refuses, which counts as left behind, with the reason."""
        try:
            answer = await self._ask(IMPORT_CHAT, request)
        except RequestRefused as refused:
            if refused.code in STOPPING:
                raise
            self._left[f"chats ({refused})"] += 1
            if refused.code == "forbidden":
                self.ownerless.append(name)
            return None
        return answer

    async def about_messages(
        self, messages: list[control.MessageImport], *, dry: bool
    ) -> list[control.MessageImportResult]:
        """Ask the relay about messages; if it refuses all because of one, ask about each alone."""
        try:
            return await self._ask(IMPORT_MESSAGES, control.MessagesImport(messages=messages, dry=dry))
        except RequestRefused as refused:
            if refused.code in STOPPING:
                end_import(refused)
            if len(messages) == 1:
                return [control.MessageImportResult(error=str(refused))]
        return [answer for one in messages for answer in await self.about_messages([one], dry=dry)]
