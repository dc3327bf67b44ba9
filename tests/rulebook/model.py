"""Permissions and visibility in as few lines as possible: written from PROTOCOL.md, not from the code. Plain data."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

MACHINE = "(admin)"
"""The relay admin, on the machine itself."""
GROUPS = ("group", "channel")


class Refused(Exception):
    """An action was refused; the argument is the error's code."""


def _refuse(code: str, why: object) -> None:
    if why:
        raise Refused(code)


def _look(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


@dataclass
class Item:
    """One message, edit or deletion of a chat; `text` is None if it was deleted, `key` is the client id."""

    id: int
    kind: str
    author: str
    text: str | None = None
    target: int = 0
    quoted: int = 0
    file: str = ""
    order: int = 0
    key: str = ""


@dataclass
class Member:
    """A member of a chat. `read` and `got` are the message ids up to which they have read and received everything."""

    joined: int = 0
    admin: bool = False
    cleared: int = 0
    hidden: bool = False
    read: int = 0
    got: int = 0
    counts_from: int = 0
    place: int = 0


@dataclass
class Chat:
    """One chat; `id` is a group's, or the two sides of a dialog."""

    id: str | frozenset[str]
    kind: str
    owner: str
    name: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    items: dict[int, Item] = field(default_factory=dict)
    pruned: int = 0

    def last(self) -> int:
        return max(self.items, default=self.pruned)

    def since(self, user: str) -> int:
        return max(self.members[user].cleared, self.pruned)

    def shown(self, user: str) -> list[Item]:
        """Section 5, who sees what: changes of cleared messages are not shown either."""
        since, cleared = self.since(user), self.members[user].cleared
        return [one for one in self.items.values() if one.id > since and (one.kind == "new" or one.target > cleared)]

    def said(self, user: str) -> list[Item]:
        return [one for one in self.shown(user) if one.kind == "new"]

    def missed(self, user: str) -> list[Item]:
        after = max(self.members[user].read, self.members[user].joined)
        return [one for one in self.said(user) if one.id > after and one.author != user and one.text]

    def owns(self, user: str) -> bool:
        return user in (MACHINE, self.owner)

    def runs(self, user: str) -> bool:
        return self.owns(user) or self.members[user].admin


class Model:
    """All users, chats and messages."""

    def __init__(self, people: list[str], bots: list[str]) -> None:
        self.bots, self.names = bots, {one: one for one in [*people, *bots]}
        self.off, self.removed = set[str](), set[str]()
        self.chats: dict[str | frozenset[str], Chat] = {}
        self.files: dict[str, str] = {}
        self.lost: dict[tuple[str, str], tuple[str | None, ...]] = {}
        """How users lost chats that are not in their lists: reason, actor, the name then; by user and chat id."""
        self._order = count(1)

    # Queries.

    def find(self, user: str, chat_id: str) -> Chat | None:
        chat = self.chats.get(chat_id) or self.chats.get(frozenset((user, chat_id)))
        return chat if chat is not None and user in (MACHINE, *chat.members) else None

    def called(self, chat: Chat, user: str) -> str:
        return chat.id if isinstance(chat.id, str) else next(iter(chat.id - {user}), user)

    def of(self, user: str) -> list[Chat]:
        return [chat for chat in self.chats.values() if user in chat.members]

    def listed(self, user: str) -> dict[str, Chat]:
        return {self.called(chat, user): chat for chat in self.of(user) if not chat.members[user].hidden}

    def waits_for(self, chat: Chat, user: str, item: Item) -> bool:
        member = chat.members[user]
        counts = chat.kind not in GROUPS or (user not in self.off and user not in self.bots)
        return user != item.author and max(member.joined, member.counts_from) < item.id and counts

    def status(self, chat: Chat, user: str, item: Item) -> str:
        if item.text is None:
            return "deleted"
        if user != item.author:
            return "read" if chat.members[user].read >= item.id else "unread"
        waited = [member for other, member in chat.members.items() if self.waits_for(chat, other, item)]
        if any(member.got < item.id for member in waited):
            return "undelivered"
        return "unread" if any(member.read < item.id for member in waited) else "read"

    def has_file(self, user: str, file: str) -> bool:
        held = (one.file for chat in self.of(user) for one in chat.said(user) if one.text)
        return file in held or self.files[file] == user

    def found(self, user: str, word: str) -> list[tuple[str, int]]:
        hits = [(one, chat) for chat in self.of(user) for one in chat.said(user) if one.text and word in one.text]
        return [(self.called(chat, user), one.id) for one, chat in sorted(hits, key=lambda hit: -hit[0].order)]

    # Actions. A forbidden one raises the code of its refusal.

    def _in(self, user: str, chat_id: str) -> Chat:
        _refuse("not_found", (chat := self.find(user, chat_id)) is None)
        return chat  # type: ignore[return-value]

    def _group(self, user: str, chat_id: str, *, by_owner: bool = False) -> Chat:
        chat = self._in(user, chat_id)
        _refuse("bad_request", chat.kind not in GROUPS)
        _refuse("forbidden", not chat.runs(user) or (by_owner and not chat.owns(user)))
        return chat

    def _check_says(self, user: str, chat: Chat) -> None:
        _refuse("forbidden", chat.kind not in GROUPS and (chat.members.keys() - {user}) & self.off)
        _refuse("forbidden", chat.kind == "channel" and not chat.runs(user))

    def _check_joins(self, user: str, others: list[str], owner: str = "") -> None:
        """Only the machine's admin adds disabled users, and not as owners; removed users do not exist."""
        for some, may_be_off in (([owner], False), (others, user == MACHINE)):
            _refuse("not_found", self.removed.intersection(some))
            _refuse("forbidden", not may_be_off and self.off.intersection(some))

    def send(self, user: str, chat_id: str, text: str, quoted: int = 0, file: str = "", *, past: bool = False) -> Item:
        if (chat := self.find(user, chat_id)) is None:
            _refuse("not_found", chat_id not in self.names or chat_id in self.off)
        elif not past:
            self._check_says(user, chat)
        ids = [*range(chat.pruned + 1), *(one.id for one in chat.said(user))] if chat else [0]
        _refuse("bad_request", quoted not in ids)
        _refuse("not_found", file and not self.has_file(user, file))
        if chat is None:
            sides, kind = frozenset((user, chat_id)), "favorites" if user == chat_id else "dialog"
            chat = self.chats[sides] = Chat(sides, kind, user, members={one: Member() for one in sides})
        for member in chat.members.values():
            member.hidden = False
        return self._add(chat, Item(chat.last() + 1, "new", user, text, quoted=quoted, file=file, key=text))

    def _add(self, chat: Chat, item: Item) -> Item:
        item.order = next(self._order)
        chat.items[item.id] = item
        return item

    def change(self, user: str, chat_id: str, target: int, text: str | None) -> None:
        """Edit a message, or delete it if there is no text."""
        chat = self._in(user, chat_id)
        if text is not None:
            self._check_says(user, chat)
        (item,) = [one for one in chat.shown(user) if one.id == target] or [Item(0, "none", user)]
        _refuse("not_found", item.kind == "none")
        _refuse("bad_request", item.kind != "new")
        _refuse("forbidden", item.author != user and not (text is None and chat.kind in GROUPS and chat.runs(user)))
        _refuse("not_found", item.text is None and text)
        if item.text:
            item.text = text
            self._add(chat, Item(chat.last() + 1, "delete" if text is None else "edit", user, target=target))

    def mark(self, chat: Chat, user: str, upto: int, *, read: bool) -> None:
        """Mark messages: a receipt covers messages of others, up to the last of these."""
        member = chat.members[user]
        floor = max(member.cleared, member.read if read else member.got)
        news = [one for one in chat.items.values() if one.kind == "new" and one.author != user and one.text]
        top = max((one.id for one in news if floor < one.id <= upto), default=0)
        member.got, member.read = max(member.got, top), max(member.read, top if read else 0)

    def make(self, user: str, chat_id: str, kind: str, name: str, others: list[str], by: str = "") -> None:
        self._check_joins(by or user, others, user)
        self.chats[chat_id] = Chat(chat_id, kind, user, name, {one: Member() for one in dict.fromkeys([user, *others])})

    def add(self, user: str, chat_id: str, other: str) -> None:
        chat = self._group(user, chat_id)
        self._check_joins(user, [other])
        last, place = chat.last(), next(self._order) + 100
        chat.members.setdefault(other, Member(joined=last, read=last, got=last, place=place))

    def remove(self, user: str, chat_id: str, other: str) -> None:
        chat = self._group(user, chat_id)
        if other in chat.members:
            _refuse("forbidden", other == chat.owner or (chat.members[other].admin and not chat.owns(user)))
            self._lose(chat, [other], "removed", user)
            del chat.members[other]

    def _lose(self, chat: Chat, users: Iterable[str], reason: str, by: str) -> None:
        for one in users:
            why = "left" if (reason, one) == ("removed", by) else reason
            self.lost[one, self.called(chat, one)] = (why, None if by == MACHINE else by, chat.name or None)

    def leave(self, user: str, chat_id: str, by: str = "") -> None:
        chat = self._in(user, chat_id)
        _refuse("bad_request", chat.kind not in GROUPS)
        if user == chat.owner:
            members = {one: member for one, member in chat.members.items() if one not in (user, *self.bots)}
            able = [one for one in members if one not in self.off] or members
            chat.owner = min(((not members[one].admin, members[one].place, one) for one in able), default=("",))[-1]
        self._lose(chat, [user] if chat.owner else chat.members, "removed" if chat.owner else "deleted", by or user)
        del chat.members[user]
        if not chat.owner:
            del self.chats[chat.id]

    def clear(self, user: str, chat_id: str) -> None:
        chat = self._in(user, chat_id)
        if chat.kind in GROUPS:
            _refuse("forbidden", not chat.owns(user))
            self._lose(chat, chat.members, "deleted", user)
            del self.chats[chat.id]
        else:
            self._lose(chat, [user], "deleted", user)
            chat.members[user].cleared, chat.members[user].hidden = chat.last(), True

    def update(self, user: str, chat_id: str, admins: list[str] | None = None, name: str = "") -> None:
        chat = self._group(user, chat_id, by_owner=admins is not None)
        _refuse("not_found", admins and self.removed.intersection(admins))
        _refuse("bad_request", admins is not None and set(admins) - chat.members.keys())
        chat.name = name or chat.name
        for one, member in chat.members.items():
            member.admin = one in admins if admins is not None else member.admin

    def rename(self, user: str, name: str, *, by_machine: bool = False) -> None:
        """A name may not look like another user's id or name, unless the user has it already."""
        taken = {_look(it) for one in self.names.keys() - {user} - self.removed for it in (one, self.names[one])}
        _refuse("conflict", not by_machine and _look(name) in taken - {_look(self.names[user])})
        self.names[user] = name

    def switch(self, user: str, *, off: bool) -> None:
        _refuse("not_found", user in self.removed)
        for chat in self.of(user) if user in self.off and not off else ():
            chat.members[user].counts_from = chat.last() if chat.kind in GROUPS else 0
        (self.off.add if off else self.off.discard)(user)

    def depart(self, user: str) -> None:
        """Remove a user from every group; their dialogs stay for the others."""
        _refuse("not_found", user in self.removed)
        for chat in [one for one in self.of(user) if isinstance(one.id, str)]:
            self.leave(user, str(chat.id), MACHINE)
        self.off, self.removed = self.off | {user}, self.removed | {user}

    def prune(self, order: int) -> None:
        """Let retention remove everything up to an item."""
        for chat in self.chats.values():
            chat.pruned = max([chat.pruned, *(one.id for one in chat.items.values() if one.order <= order)])
            chat.items = {one.id: one for one in chat.items.values() if one.order > order}
            for member in [one for one in chat.members.values() if max(one.read, one.cleared) < chat.pruned]:
                member.read, member.got = chat.pruned, max(member.got, chat.pruned)
