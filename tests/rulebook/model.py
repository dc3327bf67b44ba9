"""Who may do what and who sees what, in the fewest lines: written from PROTOCOL.md, not from the code. Plain data."""

from dataclasses import dataclass, field
from itertools import count


class Refused(Exception):
    """Something may not be done, by the code of its error."""


def _refuse(code: str, why: object) -> None:
    if why:
        raise Refused(code)


@dataclass
class Item:
    """One message, edit or deletion of a chat."""

    id: int
    kind: str
    author: str
    text: str | None = None
    target: int = 0
    quoted: int = 0
    file: str = ""
    deleted: bool = False
    order: int = 0


@dataclass
class Member:
    """Somebody in a chat. What they read and got are message ids, up to which they have everything."""

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
    members: dict[str, Member] = field(default_factory=dict)
    items: dict[int, Item] = field(default_factory=dict)
    pruned: int = 0

    @property
    def last(self) -> int:
        return max(self.items, default=self.pruned)

    @property
    def is_group(self) -> bool:
        return isinstance(self.id, str)

    def since(self, user: str) -> int:
        return max(self.members[user].cleared, self.pruned)

    def shown(self, user: str) -> list[Item]:
        """Section 5, who sees what: changes of what was cleared are not shown either."""
        since = self.since(user)
        cleared = self.members[user].cleared
        return [one for one in self.items.values() if one.id > since and (one.kind == "new" or one.target > cleared)]

    def said(self, user: str) -> list[Item]:
        return [one for one in self.shown(user) if one.kind == "new"]

    def missed(self, user: str) -> int:
        member = self.members[user]
        after = max(member.read, member.joined)
        return sum(1 for one in self.said(user) if one.id > after and one.author != user and not one.deleted)

    def runs(self, user: str) -> bool:
        return user == self.owner or self.members[user].admin


class Model:
    """Everybody and everything that was said."""

    def __init__(self, people: list[str], bots: list[str]) -> None:
        self.people, self.bots = people, bots
        self.off: set[str] = set()
        self.chats: dict[str | frozenset[str], Chat] = {}
        self.files: dict[str, str] = {}
        self._order = count(1)

    # What is true.

    def find(self, user: str, chat_id: str) -> Chat | None:
        chat = self.chats.get(chat_id) or self.chats.get(frozenset((user, chat_id)))
        return chat if chat is not None and user in chat.members else None

    def called(self, chat: Chat, user: str) -> str:
        if isinstance(chat.id, str):
            return chat.id
        return next(iter(chat.id - {user}), user)

    def of(self, user: str) -> list[Chat]:
        return [chat for chat in self.chats.values() if user in chat.members]

    def listed(self, user: str) -> dict[str, Chat]:
        return {self.called(chat, user): chat for chat in self.of(user) if not chat.members[user].hidden}

    def cannot(self, user: str) -> bool:
        return user in self.off or user in self.bots

    def waits_for(self, chat: Chat, user: str, item: Item) -> bool:
        if user == item.author:
            return False
        member = chat.members[user]
        return max(member.joined, member.counts_from) < item.id and not (chat.is_group and self.cannot(user))

    def status(self, chat: Chat, user: str, item: Item) -> str:
        if item.deleted:
            return "deleted"
        if user != item.author:
            return "read" if chat.members[user].read >= item.id else "unread"
        waited = [member for other, member in chat.members.items() if self.waits_for(chat, other, item)]
        if any(member.got < item.id for member in waited):
            return "undelivered"
        return "unread" if any(member.read < item.id for member in waited) else "read"

    def has_file(self, user: str, file: str) -> bool:
        held = [one for chat in self.of(user) for one in chat.said(user) if one.file == file and not one.deleted]
        return self.files[file] == user or bool(held)

    def found(self, user: str, word: str) -> list[Item]:
        said = [one for chat in self.of(user) for one in chat.said(user)]
        return sorted((one for one in said if one.text and word in one.text), key=lambda one: -one.order)

    # What may be done. What may not raises the code of its refusal.

    def _in(self, user: str, chat_id: str) -> Chat:
        chat = self.find(user, chat_id)
        if chat is None:
            raise Refused("not_found")
        return chat

    def _group(self, user: str, chat_id: str, *, by_owner: bool = False) -> Chat:
        chat = self._in(user, chat_id)
        _refuse("bad_request", not chat.is_group)
        _refuse("forbidden", not chat.runs(user) or (by_owner and user != chat.owner))
        return chat

    def _check_says(self, user: str, chat: Chat) -> None:
        _refuse("forbidden", not chat.is_group and (chat.members.keys() - {user}) & self.off)
        _refuse("forbidden", chat.kind == "channel" and not chat.runs(user))

    def send(self, user: str, chat_id: str, text: str, quoted: int = 0, file: str = "", *, past: bool = False) -> None:
        chat = self.find(user, chat_id)
        if chat is None:
            _refuse("not_found", chat_id not in self.people or chat_id in self.off)
        elif not past:
            self._check_says(user, chat)
        _refuse("bad_request", quoted and (chat is None or quoted not in [one.id for one in chat.said(user)]))
        _refuse("not_found", file and not self.has_file(user, file))
        if chat is None:
            sides = frozenset((user, chat_id))
            kind = "favorites" if len(sides) == 1 else "dialog"
            chat = self.chats[sides] = Chat(sides, kind, user, members={one: Member() for one in sides})
        for member in chat.members.values():
            member.hidden = False
        self._add(chat, Item(chat.last + 1, "new", user, text, quoted=quoted, file=file))

    def _add(self, chat: Chat, item: Item) -> None:
        item.order = next(self._order)
        chat.items[item.id] = item

    def change(self, user: str, chat_id: str, target: int, text: str | None) -> None:
        """Edit a message, or delete it where there is no text."""
        chat = self._in(user, chat_id)
        if text is not None:
            self._check_says(user, chat)
        (item,) = [one for one in chat.shown(user) if one.id == target] or [Item(0, "none", user)]
        _refuse("not_found", item.kind == "none")
        _refuse("bad_request", item.kind != "new")
        helps = text is None and chat.is_group and chat.runs(user)
        _refuse("forbidden", item.author != user and not helps)
        _refuse("not_found", item.deleted and text is not None)
        if not item.deleted:
            item.text, item.deleted = text, text is None
            self._add(chat, Item(chat.last + 1, "delete" if text is None else "edit", user, target=target))

    def mark(self, chat: Chat, user: str, upto: int, *, read: bool) -> None:
        """A mark covers what others wrote: it stands at the last of these."""
        member = chat.members[user]
        floor = max(member.cleared, member.read if read else member.got)
        news = [one.id for one in chat.items.values() if one.kind == "new" and one.author != user and not one.deleted]
        top = max((one for one in news if floor < one <= upto), default=0)
        member.got = max(member.got, top)
        member.read = max(member.read, top) if read else member.read

    def make(self, user: str, chat_id: str, kind: str, others: list[str]) -> None:
        _refuse("forbidden", set(others) & self.off)
        members = {one: Member(place=at) for at, one in enumerate(dict.fromkeys([user, *others]))}
        self.chats[chat_id] = Chat(chat_id, kind, user, members=members)

    def add(self, user: str, chat_id: str, other: str) -> None:
        chat = self._group(user, chat_id)
        _refuse("forbidden", other in self.off)
        if other not in chat.members:
            last = chat.last
            chat.members[other] = Member(joined=last, read=last, got=last, place=next(self._order) + 100)

    def remove(self, user: str, chat_id: str, other: str) -> None:
        chat = self._group(user, chat_id)
        if other in chat.members:
            _refuse("forbidden", other == chat.owner or (chat.members[other].admin and user != chat.owner))
            del chat.members[other]

    def leave(self, user: str, chat_id: str) -> None:
        chat = self._in(user, chat_id)
        _refuse("bad_request", not chat.is_group)
        if user == chat.owner:
            others = [one for one in chat.members if one != user and one not in self.bots]
            able = [one for one in others if one not in self.off] or others
            if not able:
                del self.chats[chat.id]
                return
            chat.owner = min(able, key=lambda one: (not chat.members[one].admin, chat.members[one].place))
        del chat.members[user]

    def clear(self, user: str, chat_id: str) -> None:
        chat = self._in(user, chat_id)
        if chat.is_group:
            _refuse("forbidden", user != chat.owner)
            del self.chats[chat.id]
        else:
            chat.members[user].cleared, chat.members[user].hidden = chat.last, True

    def update(self, user: str, chat_id: str, admins: list[str] | None = None) -> None:
        chat = self._group(user, chat_id, by_owner=admins is not None)
        _refuse("bad_request", admins is not None and set(admins) - chat.members.keys())
        for one, member in chat.members.items():
            member.admin = one in admins if admins is not None else member.admin

    def switch(self, user: str, *, off: bool) -> None:
        if off:
            self.off.add(user)
        elif user in self.off:
            self.off.discard(user)
            for chat in self.of(user):
                chat.members[user].counts_from = chat.last if chat.is_group else 0

    def prune(self, order: int) -> None:
        """Retention removes what came up to some item."""
        for chat in self.chats.values():
            gone = [one.id for one in chat.items.values() if one.order <= order]
            chat.pruned = max([chat.pruned, *gone])
            chat.items = {one.id: one for one in chat.items.values() if one.order > order}
            for member in chat.members.values():
                if max(member.read, member.cleared) < chat.pruned:
                    member.read, member.got = max(member.read, chat.pruned), max(member.got, chat.pruned)
