"""Who may do what and who sees what, in the fewest lines: written from PROTOCOL.md, not from the code. Plain data."""

from dataclasses import dataclass, field
from itertools import count

OK = "ok"


@dataclass
class Item:
    """One message, edit or deletion of a chat."""

    id: int
    kind: str
    author: str
    text: str | None = None
    target: int = 0
    quoted: int = 0
    file: str | None = None
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
    name: str = ""
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
        """Section 5, who sees what: changes of what is not shown are not shown either."""
        since = self.since(user)
        return [one for one in self.items.values() if one.id > since and (one.kind == "new" or one.target > since)]

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

    def waits_for(self, chat: Chat, user: str, item: Item) -> bool:
        if user == item.author:
            return False
        member = chat.members[user]
        can_act = user not in self.off and user not in self.bots
        return max(member.joined, member.counts_from) < item.id and (can_act or not chat.is_group)

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
        hits = [
            one
            for chat in self.of(user)
            for one in chat.said(user)
            if not one.deleted and one.text and word in one.text
        ]
        return sorted(hits, key=lambda one: -one.order)

    # What may be done: OK, or the code of the refusal.

    def may_say(self, user: str, chat: Chat) -> str:
        if chat.is_group:
            return OK if chat.kind == "group" or chat.runs(user) else "forbidden"
        return "forbidden" if (frozenset(chat.members) - {user}) & self.off else OK

    def send(self, user: str, chat_id: str, text: str, quoted: int, file: str | None, *, imported: bool = False) -> str:
        chat = self.find(user, chat_id)
        if chat is None and (chat_id not in self.people or chat_id in self.off):
            return "not_found"
        refused = OK if chat is None or imported else self.may_say(user, chat)
        if refused != OK:
            return refused
        if quoted and (chat is None or quoted not in [one.id for one in chat.said(user)]):
            return "bad_request"
        if file is not None and not self.has_file(user, file):
            return "not_found"
        if chat is None:
            sides = frozenset((user, chat_id))
            kind = "favorites" if len(sides) == 1 else "dialog"
            chat = self.chats[sides] = Chat(sides, kind, user, members={one: Member() for one in sides})
        for member in chat.members.values():
            member.hidden = False
        self._add(chat, Item(chat.last + 1, "new", user, text, quoted=quoted, file=file))
        return OK

    def _add(self, chat: Chat, item: Item) -> None:
        item.order = next(self._order)
        chat.items[item.id] = item

    def change(self, user: str, chat_id: str, target: int, text: str | None) -> str:
        """Edit a message, or delete it where there is no text."""
        chat = self.find(user, chat_id)
        if chat is None:
            return "not_found"
        if text is not None and self.may_say(user, chat) != OK:
            return self.may_say(user, chat)
        item = next((one for one in chat.shown(user) if one.id == target), None)
        if item is None:
            return "not_found"
        if item.kind != "new":
            return "bad_request"
        if item.author != user and (text is not None or not chat.is_group or not chat.runs(user)):
            return "forbidden"
        if item.deleted:
            return OK if text is None else "not_found"
        item.text = text
        item.deleted = text is None
        self._add(chat, Item(chat.last + 1, "edit" if text is not None else "delete", user, target=target))
        return OK

    def mark(self, chat: Chat, user: str, upto: int, *, read: bool) -> None:
        """A mark covers what others wrote: it stands at the last of these."""
        member = chat.members[user]
        floor = max(member.cleared, member.read if read else member.got)
        covered = [one.id for one in chat.items.values() if floor < one.id <= upto and self._is_news(one, user)]
        if covered:
            member.got = max(member.got, *covered)
            member.read = max(member.read, *covered) if read else member.read

    @staticmethod
    def _is_news(item: Item, user: str) -> bool:
        return item.kind == "new" and item.author != user and not item.deleted

    def make(self, user: str, chat_id: str, kind: str, others: list[str]) -> str:
        if set(others) & self.off:
            return "forbidden"
        members = {one: Member(place=at) for at, one in enumerate(dict.fromkeys([user, *others]))}
        self.chats[chat_id] = Chat(chat_id, kind, user, members=members)
        return OK

    def _group(self, user: str, chat_id: str) -> tuple[Chat | None, str]:
        chat = self.find(user, chat_id)
        if chat is None:
            return None, "not_found"
        if not chat.is_group:
            return None, "bad_request"
        return chat, OK if chat.runs(user) else "forbidden"

    def add(self, user: str, chat_id: str, other: str) -> str:
        chat, code = self._group(user, chat_id)
        if chat is None or code != OK:
            return code
        if other in self.off:
            return "forbidden"
        if other not in chat.members:
            last = chat.last
            chat.members[other] = Member(joined=last, read=last, got=last, place=next(self._order) + 100)
        return OK

    def remove(self, user: str, chat_id: str, other: str) -> str:
        chat, code = self._group(user, chat_id)
        if chat is None or code != OK or other not in chat.members:
            return code
        if other == chat.owner or (chat.members[other].admin and user != chat.owner):
            return "forbidden"
        del chat.members[other]
        return OK

    def leave(self, user: str, chat_id: str) -> str:
        chat = self.find(user, chat_id)
        if chat is None or not chat.is_group:
            return "not_found" if chat is None else "bad_request"
        if user == chat.owner:
            others = [one for one in chat.members if one != user and one not in self.bots]
            able = [one for one in others if one not in self.off] or others
            if not able:
                del self.chats[chat.id]
                return OK
            chat.owner = min(able, key=lambda one: (not chat.members[one].admin, chat.members[one].place))
        del chat.members[user]
        return OK

    def clear(self, user: str, chat_id: str) -> str:
        chat = self.find(user, chat_id)
        if chat is None:
            return "not_found"
        if not chat.is_group:
            member = chat.members[user]
            member.cleared, member.hidden = chat.last, True
            return OK
        if user != chat.owner:
            return "forbidden"
        del self.chats[chat.id]
        return OK

    def update(self, user: str, chat_id: str, name: str | None, admins: list[str] | None) -> str:
        chat, code = self._group(user, chat_id)
        if chat is None:
            return code
        if admins is not None and user != chat.owner:
            return "forbidden"
        if code != OK or (admins is not None and set(admins) - chat.members.keys()):
            return code if code != OK else "bad_request"
        chat.name = name or chat.name
        for one, member in chat.members.items():
            member.admin = one in admins if admins is not None else member.admin
        return OK

    def switch(self, user: str, *, off: bool) -> None:
        if off:
            self.off.add(user)
        elif user in self.off:
            self.off.discard(user)
            for chat in self.of(user):
                chat.members[user].counts_from = chat.last

    def prune(self, order: int) -> None:
        """Retention removes what came up to some item."""
        for chat in self.chats.values():
            gone = [one.id for one in chat.items.values() if one.order <= order]
            chat.pruned = max([chat.pruned, *gone])
            chat.items = {one.id: one for one in chat.items.values() if one.order > order}
            for member in chat.members.values():
                if max(member.read, member.cleared) < chat.pruned:
                    member.read, member.got = max(member.read, chat.pruned), max(member.got, chat.pruned)
