"""Every user's view, compared with the model: events, lists, history, search, files, export."""

from typing import Any

from relay.core.relay import Relay
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.rulebook.devices import Device, Listener
from tests.rulebook.model import GROUPS, Chat, Item, Model

WORDS = ["apple", "pear", "plum"]


class Hook(Listener):
    """A hook: a program that posts into a chat, or gets its events."""

    def __init__(self, user: str, chat_id: str, made: control.HookInfo, since: int) -> None:
        super().__init__(user)
        self.chat_id, self.since = chat_id, since
        self.device_id, self.secret, self.url = made.device_id, made.secret, made.url or ""


class Windows:
    """Everything that users see, and its comparison with the model."""

    relay: Relay
    model: Model
    devices: dict[str, Device]
    hooks: list[Hook]
    by_hook: set[str]
    """The client ids of posts through hooks."""
    said: int

    async def ask(self, device: Device, what: str, **payload: Any) -> Any:
        """Make a request like a client; return the payload, or the error's code."""
        answer = await self.response(device, what, **payload)
        return answer["payload"] if "payload" in answer else answer["error"]["code"]

    async def response(self, device: Device, what: str, **payload: Any) -> dict[str, Any]:
        """Make a request; return the whole response."""
        raise NotImplementedError

    async def pages(self, device: Device, what: str, cursor: str, **payload: Any) -> list[Any]:
        """Request all pages of a list."""
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            page = await self.response(device, what, **payload, **more)
            found += page["payload"]
            if not page.get("more"):
                return found
            more = {cursor: page["next"]}

    async def compare(self) -> None:
        """Compare everything that each user sees."""
        there = [device for device in self.devices.values() if device.subscriber is not None]
        for device in there:
            self._compare_view(device, {one.user for one in there})
        for user in {device.user for device in there}:
            mine = [device for device in there if device.user == user]
            await self._compare_windows(mine[self.said % len(mine)])
        for hook in self.hooks:
            self._compare_hook(hook)

    # Events.

    def _compare_view(self, device: Device, there: set[str]) -> None:
        model, user = self.model, device.user
        listed = model.listed(user)
        assert device.views.keys() == listed.keys(), f"{user}'s list"
        assert device.titles == {chat_id: self._title(user, chat) for chat_id, chat in listed.items()}
        for chat_id, why in device.lost.items():
            assert why == model.lost[user, chat_id], f"how {user} lost {chat_id}"
        known = {other for chat in model.of(user) for other in chat.members} - {user}
        assert device.online == known & there, f"who is online to {user}: {device.online}, and not {known & there}"
        for chat_id, chat in listed.items():
            since = max(chat.since(user), chat.members[user].joined)
            self._compare_told(device, chat_id, chat, since, {one.id: one.text for one in chat.said(user)})
            for (where, marker, kind), told in device.receipts.items():
                if where == chat_id and marker in chat.members:
                    marks = chat.members[marker]
                    assert told <= (marks.read if kind == "read" else marks.got), f"{kind} by {marker} to {user}"

    def _compare_hook(self, hook: Hook) -> None:
        chat = self.model.find(hook.user, hook.chat_id)
        if hook.secret and chat is not None and hook.user not in self.model.off:
            since = max(chat.since(hook.user), chat.members[hook.user].joined, hook.since)
            own = [one.id for one in chat.said(hook.user) if one.author == hook.user and one.key in self.by_hook]
            true = {one.id: one.text for one in chat.said(hook.user) if one.id not in own}
            self._compare_told(hook, hook.chat_id, chat, since, true)
            assert hook.views.keys() <= {hook.chat_id}, "a hook is told of its chat only"

    @staticmethod
    def _compare_told(one: Listener, chat_id: str, chat: Chat, since: int, said: dict[int, str | None]) -> None:
        true = {i: text for i, text in said.items() if i > since}
        seen = {i: text for i, text in one.views.get(chat_id, {}).items() if i > since}
        assert seen == true, f"{one.user} in {chat_id}, {type(one).__name__} with {sorted(chat.members)}"

    def _title(self, user: str, chat: Chat) -> str:
        return chat.name if chat.kind in GROUPS else self.model.names[self.model.called(chat, user)]

    # Requests.

    async def chat_list(self, device: Device) -> list[Any]:
        """Request a device's whole chat list, in pages if its version has them."""
        if device.version == 2:
            return await self.pages(device, "chats", "after")
        listed: list[Any] = await self.ask(device, "chats")
        return listed

    async def _compare_windows(self, device: Device) -> None:
        model, user = self.model, device.user
        items = {item["id"]: item for item in await self.chat_list(device)}
        listed = model.listed(user)
        assert items.keys() == listed.keys()
        for chat_id, chat in listed.items():
            self._compare_line(user, items[chat_id], chat)
        for chat in model.of(user):
            await self._compare_history(device, chat)
            if chat.kind in GROUPS:
                await self._compare_chat(device, chat)
        for word in WORDS:
            found = await self.pages(device, "search", "before", query=word, count=1 + self.said % 3)
            assert [(one["chatId"], one["messageId"]) for one in found] == model.found(user, word), f"{user}: {word}"
        people = await self.pages(device, "users", "after", count=1 + self.said % 4)
        assert [(one["id"], one["name"]) for one in people] == sorted(
            (one, name) for one, name in model.names.items() if one not in model.off
        )
        mine = {one["deviceId"] for one in await self.ask(device, "devices")} - {hook.device_id for hook in self.hooks}
        assert mine == {one.key for one in self.devices.values() if one.user == user and one.token}
        for file in model.files:
            assert await self._has(user, file) == model.has_file(user, file), f"{user} has {file}"

    def _compare_line(self, user: str, item: dict[str, Any], chat: Chat) -> None:
        news = [one for one in chat.items.values() if one.kind == "new"]
        newest = news[-1] if news and news[-1].id > chat.since(user) else None
        missed = chat.missed(user)
        shown = (item.get("missed", 0), item.get("firstMissed"), item["lastMessageId"], item["lastMessageText"])
        first = missed[0].key if missed else None
        true = (len(missed), first, newest.id if newest else 0, (newest and newest.text) or "")
        assert shown == true, f"{user}'s line of {item['id']}"

    async def _has(self, user: str, file: str) -> bool:
        try:
            await self.relay.files.find(self.relay.state.user_keys[user], file)
        except RelayError:
            return False
        return True

    async def _compare_chat(self, device: Device, chat: Chat) -> None:
        shown = await self.ask(device, "chat", chatId=chat.id)
        meta = shown["meta"]
        assert (shown["name"], meta["owner"], set(meta.get("admins", ()))) == (
            chat.name,
            chat.owner,
            {one for one, member in chat.members.items() if member.admin},
        )
        people = {one["id"]: one["name"] for one in meta["participants"]}
        assert people == {one: self.model.names[one] for one in chat.members}

    async def _compare_history(self, device: Device, chat: Chat) -> None:
        model, user = self.model, device.user
        chat_id, count = model.called(chat, user), 1 + self.said % 7
        page: list[Any] = await self.ask(device, "messages", chatId=chat_id, count=count)
        history = page
        while page:
            page = await self.ask(device, "messages", chatId=chat_id, count=count, endId=page[0]["messageId"])
            history = [*page, *history]
        got = [self._plain(one) for one in history]
        true = [self._item(chat, user, one) for one in chat.shown(user)]
        assert got == true, f"{user} in {chat_id}: {[*set(got) - set(true)]} and not {[*set(true) - set(got)]}"

    @staticmethod
    def _plain(one: Any) -> tuple[Any, ...]:
        quote = one.get("replyTo")
        return (
            one["messageId"],
            one["type"],
            one["sender"],
            one.get("message"),
            one["status"] if one["type"] == "new" else None,
            None if quote is None else (quote["messageId"], quote.get("message")),
            tuple(sorted(row["userId"] for row in one.get("delivering", ()))),
        )

    def _item(self, chat: Chat, user: str, one: Item) -> tuple[Any, ...]:
        is_new = one.kind == "new"
        quoted = chat.items.get(one.quoted)
        quote = None
        if quoted is not None and one.text is not None:
            quote = (quoted.id, quoted.text if quoted.id > chat.since(user) else None)
        waited = [other for other in chat.members if self.model.waits_for(chat, other, one)]
        return (
            one.id,
            one.kind,
            one.author,
            one.text if is_new else None,
            self.model.status(chat, user, one) if is_new else None,
            quote,
            tuple(sorted(waited)) if is_new and chat.kind in GROUPS else (),
        )

    # The admin's export.

    async def compare_export(self) -> None:
        """Compare an export with the whole model."""
        records: list[control.Record] = []

        async def take(record: object) -> None:
            assert isinstance(record, control.Record)
            records.append(record)

        await self.relay.admin.handle("export", control.Export(), take)
        model = self.model
        users = {(one.id, one.name, one.bot, one.disabled, one.removed) for one in records if one.type == "user"}
        assert users == {
            (one, name, one in model.bots, one in model.off, one in model.removed) for one, name in model.names.items()
        }
        chats = [
            (one.kind, one.name, one.owner, sorted(one.admins or ()), sorted(one.participants or ()))
            for one in records
            if one.type == "chat"
        ]
        assert sorted(chats, key=str) == sorted(map(_chat_record, model.chats.values()), key=str)
        said = [
            (one.type, one.sender, one.text, one.deleted, _place(one), one.reply_to, one.original)
            for one in records
            if one.type in ("message", "edit", "delete")
        ]
        items = sorted(((one, chat) for chat in model.chats.values() for one in chat.items.values()), key=_order)
        erased = {id(chat): _erased(chat, model.removed) for chat in model.chats.values()}
        items = [(one, chat) for one, chat in items if (one.target if one.kind != "new" else one.id) > erased[id(chat)]]
        assert said == [
            _record(one, chat, erased[id(chat)]) for one, chat in items if one.kind == "new" or one.target in chat.items
        ], "the export"


def _order(one: tuple[Item, Chat]) -> int:
    return one[0].order


def _chat_record(chat: Chat) -> tuple[Any, ...]:
    admins = sorted(one for one, member in chat.members.items() if member.admin)
    return (chat.kind, chat.name or None, chat.owner, admins, sorted(chat.members))


def _erased(chat: Chat, removed: set[str]) -> int:
    """Section 5, who sees what: the message id up to which everybody in a dialog or in notes has cleared."""
    if chat.kind in GROUPS:
        return 0
    return min((one.cleared for user, one in chat.members.items() if user not in removed), default=chat.last())


def _place(record: control.Record) -> str:
    return record.chat or "~".join(record.participants or ())


def _record(item: Item, chat: Chat, erased: int) -> tuple[Any, ...]:
    place = chat.id if isinstance(chat.id, str) else "~".join(sorted(chat.id))
    if item.kind != "new":
        return (item.kind, item.author, None, False, place, None, chat.items[item.target].key)
    quoted = chat.items.get(item.quoted) if item.quoted > erased else None
    return ("message", item.author, item.text, item.text is None, place, quoted.key if quoted else None, None)
