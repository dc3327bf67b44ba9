"""The state derived from the log: users, devices, chats, members and their counts.

Only `State.apply` changes it, and its only argument is an entry: the same entries give the same state, on every
machine and after every start. No I/O, no clock.

The module has over 400 lines, so that everything that an entry changes is in one place.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import singledispatchmethod

from relay.core.model import changes
from relay.core.model.entities import Chat, Device, Invite, Member, User, quota_bytes
from relay.core.model.name_index import NameIndex
from relay.core.model.tail import ALL_TAIL_BYTES, CHAT_TAIL_MESSAGES, Tail
from relay.keys import NO_CHAT, NO_USER, ChatKey, DeviceKey, UnixMs, UserKey
from relay.store import kinds
from relay.store.entry import Entry
from relay.unicode.lookalikes import looks


def typed_id(user_id: str) -> str:
    """Fold an id so that case and keyboard make no difference."""
    return unicodedata.normalize("NFKC", user_id).casefold()


class State:
    """Everything in the log except the texts. Read its collections; change them through `apply` only."""

    def __init__(self) -> None:
        self.seq = 0
        self.at = 0
        self.pruned = 0
        """History was removed up to this `seq`."""
        self.users: dict[UserKey, User] = {}
        """By user key, like all collections of users."""
        self.user_keys: dict[str, UserKey] = {}
        """By user id."""
        self.inactive: set[UserKey] = set()
        """Users who are disabled or removed."""
        self._names = NameIndex()
        """Users who were not removed, by name."""
        self.devices: dict[DeviceKey, Device] = {}
        self.device_keys: dict[str, DeviceKey] = {}
        """By the hash of the token, without devices that are signed out."""
        self.invites: dict[str, Invite] = {}
        """By the hash of the code; expired ones are removed when the next is made."""
        self.chats: dict[ChatKey, Chat] = {}
        self.group_keys: dict[str, ChatKey] = {}
        """Groups and channels by id."""
        self.user_origins: dict[str, UserKey] = {}
        """Imported users by their ids in other systems."""
        self.chat_origins: dict[str, ChatKey] = {}
        """Imported groups and channels, including deleted ones, by their ids in other systems."""
        self.gone_ids: set[str] = set()
        """Ids of deleted groups and channels: an import does not bring them back."""
        self.dialog_keys: dict[tuple[UserKey, UserKey], ChatKey] = {}
        """Dialogs by their two users, the smaller key first; notes by the same user twice."""
        self.members: dict[ChatKey, dict[UserKey, Member]] = {}
        """By chat, then by user."""
        self.chats_of: dict[UserKey, set[ChatKey]] = {}
        """The chats that each user is in, including those not in their list."""
        self.cleared: set[ChatKey] = set()
        """Dialogs that at least one of their users has cleared and no longer has in the list."""
        self.tails: dict[ChatKey, Tail] = {}
        """By chat, the least recently shortened first."""
        self.tail_bytes = 0
        """Bytes that the tails hold together."""
        self.chat_tail_messages = CHAT_TAIL_MESSAGES
        """How many messages one tail may hold."""
        self.all_tail_bytes = ALL_TAIL_BYTES
        """How many bytes all tails may hold together."""

    # Queries.

    def user(self, user_id: str) -> User | None:
        """Find a user by id."""
        key = self.user_keys.get(user_id)
        return None if key is None else self.users[key]

    def user_typed(self, user_id: str) -> User | None:
        """Find a user by an id that was typed by hand.

        Case and Unicode form (composed or not, full width) make no difference if only one user matches.
        """
        found = self.user(user_id)
        if found is not None:
            return found
        fit = [
            self.users[key] for key in self.users_named(user_id) if typed_id(self.users[key].id) == typed_id(user_id)
        ]
        return fit[0] if len(fit) == 1 else None

    def users_named(self, name: str) -> set[UserKey]:
        """Find the users whose id or name people could mistake for this name."""
        return self._names.find(looks(name))

    def users_looking_like(self, seen: AbstractSet[str]) -> set[UserKey]:
        """Find the users whose id or name has one of these looks (`relay.unicode.lookalikes.looks`)."""
        return self._names.find(seen)

    def is_authorized(self, user: UserKey, device: DeviceKey) -> bool:
        """Return whether a user may use the relay from a device; for `NO_DEVICE` only the user counts."""
        used = self.devices.get(device)
        return user not in self.inactive and (used is None or not used.revoked_at)

    def share_chat(self, user: UserKey, other: UserKey) -> bool:
        """Return whether two users are in a chat together."""
        return not self.chats_of.get(user, set()).isdisjoint(self.chats_of.get(other, ()))

    def chat_key(self, user: UserKey, chat_id: str) -> ChatKey | None:
        """Find the chat that a user calls `chat_id` (PROTOCOL.md, section 3), if they are in it."""
        peer = self.user_keys.get(chat_id)
        if peer is not None:
            return self.dialog_keys.get((user, peer) if user < peer else (peer, user))
        key = self.group_keys.get(chat_id)
        return key if key is not None and user in self.members[key] else None

    def chat_id(self, chat: Chat, user: UserKey) -> str:
        """Return the id by which a member knows a chat."""
        return chat.id if chat.id is not None else self.users[self.peer(chat, user)].id

    def peer(self, chat: Chat, user: UserKey) -> UserKey:
        """Return the other user of a dialog; the user of their own notes."""
        for member in self.members[chat.key]:
            if member != user:
                return member
        return user

    def users_in(self, chat: Chat) -> Collection[UserKey]:
        """Return the users of a chat, in no order."""
        return self.members[chat.key]

    def missed(self, chat: Chat, user: UserKey) -> int:
        """Return how many messages of a chat a member has unread."""
        return chat.count - self.members[chat.key][user].seen

    def contacts(self, user: UserKey, others: Iterable[UserKey], but: ChatKey = NO_CHAT) -> list[UserKey]:
        """Select from some users those who share a chat with a user.

        The cost grows with `others` and the chats, not with their members.

        Args:
            user: the user's key.
            others: the users to choose from.
            but: a chat to ignore; `NO_CHAT` for none.
        """
        chats = self.chats_of.get(user, set()) - {but}
        return [one for one in others if one != user and not chats.isdisjoint(self.chats_of.get(one, ()))]

    def listed(self, user: UserKey) -> Iterator[tuple[Chat, Member]]:
        """Yield the chats in a user's chat list.

        Yields:
            Each chat with the user's membership in it.
        """
        for key in self.chats_of.get(user, ()):
            member = self.members[key][user]
            if not member.hidden:
                yield self.chats[key], member

    def next_user(self) -> UserKey:
        """Return the key of the next user: keys count up and are never reused."""
        return UserKey(len(self.users) + 1)

    def next_device(self) -> DeviceKey:
        """Return the key of the next device."""
        return DeviceKey(len(self.devices) + 1)

    def next_chat(self) -> ChatKey:
        """Return the key of the next chat."""
        return ChatKey(len(self.chats) + 1)

    # Effects of entries.

    def apply(self, entry: Entry) -> None:
        """Apply one entry. Entries come in the order of the log, each once."""
        self.seq = entry.seq
        self.at = entry.at
        kind = entry.kind
        if kind == kinds.NEW:
            self._new(entry)
        elif kind in (kinds.DLVRD, kinds.READ):
            self._mark(entry)
        elif kind == kinds.EDIT:
            chat = self.chats[entry.chat]
            chat.last_message_id = entry.message_id
            chat.last_seq = entry.seq
        elif kind == kinds.DELETE:
            self._delete(entry)
        else:
            self._change(changes.change_of(entry), entry)

    def _new(self, entry: Entry) -> None:
        chat = self.chats[entry.chat]
        chat.last_message_id = chat.newest = entry.message_id
        chat.newest_at = entry.at
        chat.newest_by = entry.actor
        chat.newest_deleted = False
        chat.last_seq = entry.seq
        chat.count += 1
        member = self.members[entry.chat].get(entry.actor)
        if member is not None:
            # The author of an imported message need not be a member any more.
            member.seen += 1
        tail = self.tails.get(entry.chat)
        if tail is None:
            tail = self.tails[entry.chat] = Tail(entry.message_id)
            self.tail_bytes += tail.held
        assert entry.client_id is not None
        before = tail.held
        tail.add(entry.message_id, entry.actor, entry.client_id, self.chat_tail_messages)
        self.tail_bytes += tail.held - before
        while self.tail_bytes > self.all_tail_bytes:
            self._shorten_oldest_tail()

    def _shorten_oldest_tail(self) -> None:
        """Make room: receipts cover the latest messages, so half a tail is enough even for a busy chat."""
        chat = next(iter(self.tails))
        tail = self.tails[chat]
        self._forget_tail(chat)
        tail.shorten()
        if tail.messages:
            self.tails[chat] = tail
            self.tail_bytes += tail.held

    def _forget_tail(self, chat: ChatKey) -> None:
        tail = self.tails.pop(chat, None)
        if tail is not None:
            self.tail_bytes -= tail.held

    def _mark(self, entry: Entry) -> None:
        chat = self.chats[entry.chat]
        chat.last_seq = entry.seq
        member = self.members[entry.chat].get(entry.actor)
        if member is None:
            return
        member.dlvrd = max(member.dlvrd, entry.message_id)
        if entry.kind == kinds.READ:
            member.read = max(member.read, entry.message_id)
            # The entry says how many stay unread, so nothing is counted here.
            member.seen = chat.count - entry.unread_after

    def _delete(self, entry: Entry) -> None:
        chat = self.chats[entry.chat]
        chat.last_message_id = entry.message_id
        chat.last_seq = entry.seq
        message_id, author = entry.subject_id, entry.deleted_author
        if chat.newest == message_id:
            chat.newest_deleted = True
        chat.count -= 1
        for user, member in self.members[entry.chat].items():
            # A message is never unread for its author.
            if user == author or max(member.read_upto, member.joined) >= message_id:
                member.seen -= 1
        tail = self.tails.get(entry.chat)
        if tail is not None:
            before = tail.held
            tail.remove(message_id)
            self.tail_bytes += tail.held - before

    @singledispatchmethod
    def _change(self, change: changes.AnyChange, entry: Entry) -> None:
        raise NotImplementedError(type(change))

    @_change.register
    def _chat_made(self, change: changes.ChatMade, entry: Entry) -> None:
        self.add_chat(
            Chat(
                key=entry.chat,
                id=change.id,
                type=change.type,
                name=change.name,
                photo_url=change.photo_url,
                owner=change.owner,
                created_at=change.created_at or entry.at,
                last_seq=entry.seq,
                origins=change.origins,
            ),
            {user: Member(joined_seq=entry.seq) for user in change.members},
        )

    @_change.register
    def _chat_updated(self, change: changes.ChatUpdated, entry: Entry) -> None:
        chat = self.chats[entry.chat]
        if change.name is not None:
            chat.name = change.name
        if change.photo_url is not None:
            chat.photo_url = change.photo_url or None
        if change.admins is not None:
            for user, member in self.members[entry.chat].items():
                member.admin = user in change.admins

    @_change.register
    def _members_added(self, change: changes.MembersAdded, entry: Entry) -> None:
        chat = self.chats[entry.chat]
        last = chat.last_message_id
        for user in change.users:
            self.members[entry.chat][user] = Member(
                joined=last, joined_seq=entry.seq, dlvrd=last, read=last, seen=chat.count
            )
            self.chats_of.setdefault(user, set()).add(entry.chat)

    @_change.register
    def _members_removed(self, change: changes.MembersRemoved, entry: Entry) -> None:
        for user in change.users:
            # An entry may name a user twice: earlier versions took the list as the request had it.
            self.members[entry.chat].pop(user, None)
            self.chats_of[user].discard(entry.chat)
        if change.owner is not None:
            self.chats[entry.chat].owner = change.owner

    @_change.register
    def _chat_deleted(self, _change: changes.ChatDeleted, entry: Entry) -> None:
        chat = self.chats[entry.chat]
        chat.gone = True
        self.group_keys.pop(chat.id or "", None)
        self.gone_ids.add(chat.id or "")
        # Its messages are erased with it, so nothing may remain that only their entries explain.
        chat.last_message_id = chat.newest = chat.newest_at = chat.count = chat.pruned = 0
        chat.newest_by, chat.newest_deleted = NO_USER, False
        chat.last_seq = entry.seq
        for user in self.members[entry.chat]:
            self.chats_of[user].discard(entry.chat)
        self.members[entry.chat] = {}
        self._forget_tail(entry.chat)

    @_change.register
    def _chat_hidden(self, change: changes.ChatHidden, entry: Entry) -> None:
        member = self.members[entry.chat][change.user]
        member.hidden = True
        self.cleared.add(entry.chat)
        member.cleared = change.upto
        if not change.marks_kept:
            member.read = member.dlvrd = change.upto
        member.seen = self.chats[entry.chat].count

    @_change.register
    def _chat_shown(self, change: changes.ChatShown, entry: Entry) -> None:
        for user in change.users:
            self.members[entry.chat][user].hidden = False
        self.cleared.discard(entry.chat)

    @_change.register
    def _user_added(self, change: changes.UserAdded, entry: Entry) -> None:
        self.add_user(
            User(
                key=change.key,
                id=change.id,
                name=change.name,
                bot=change.bot,
                admin=change.admin,
                created_at=change.created_at or entry.at,
                origins=change.origins,
            )
        )

    @_change.register
    def _origins_added(self, change: changes.OriginsAdded, entry: Entry) -> None:
        # Add each once: an entry may be applied again to a snapshot's row that includes it.
        if entry.chat:
            chat = self.chats[entry.chat]
            chat.origins = tuple(dict.fromkeys((*chat.origins, *change.origins)))
            self.chat_origins.update(dict.fromkeys(change.origins, chat.key))
        else:
            user = self.users[change.key]
            user.origins = tuple(dict.fromkeys((*user.origins, *change.origins)))
            self.user_origins.update(dict.fromkeys(change.origins, user.key))

    @_change.register
    def _user_changed(self, change: changes.UserChanged, _entry: Entry) -> None:
        user = self.users[change.key]
        self._names.discard(user)
        for field in ("name", "photo_url", "admin", "disabled", "removed"):
            value = getattr(change, field)
            if value is not None:
                setattr(user, field, value)
        self._add_name(user)
        self._set_inactive(user)
        for chat, last in change.counts_from:
            member = self.members[chat].get(user.key)
            if member is not None:
                member.counts_from = last

    @_change.register
    def _device_added(self, change: changes.DeviceAdded, entry: Entry) -> None:
        self.add_device(
            Device(
                key=change.key,
                user=change.user,
                label=change.label,
                token_hash=change.token_hash,
                created_at=entry.at,
                hook=change.hook,
            )
        )

    @_change.register
    def _device_revoked(self, change: changes.DeviceRevoked, entry: Entry) -> None:
        device = self.devices[change.key]
        device.revoked_at = entry.at
        self.device_keys.pop(device.token_hash, None)

    @_change.register
    def _history_pruned(self, change: changes.HistoryPruned, _entry: Entry) -> None:
        self.pruned = change.seq
        for pruned in change.chats:
            chat = self.chats[pruned.chat]
            members = self.members[pruned.chat]
            chat.pruned = pruned.upto
            for user, unread in pruned.unread:
                member = members[user]
                member.read = max(member.read, pruned.upto)
                member.dlvrd = max(member.dlvrd, pruned.upto)
                member.seen = chat.count - unread

    @_change.register
    def _backup_restored(self, _change: changes.BackupRestored, _entry: Entry) -> None:
        """Advance the `seq`. Nothing else changes."""

    @_change.register
    def _clock_trusted(self, change: changes.ClockTrusted, entry: Entry) -> None:
        self.step_back(change.before, entry.at, self.chats.values(), invites=True)

    def step_back(self, before: UnixMs, at: UnixMs, chats: Iterable[Chat], *, invites: bool) -> None:
        """Move dates that lie ahead of the right time back to it. Invites keep their remaining time.

        Args:
            before: the log's last time until now.
            at: the right time.
            chats: the chats to correct.
            invites: whether to correct invites.
        """
        back = before - at
        if back <= 0:
            return
        for chat in chats:
            chat.newest_at = min(chat.newest_at, at)
            chat.created_at = min(chat.created_at, at)
        for invite in self.invites.values() if invites else ():
            invite.expires_at -= back

    @_change.register
    def _clock_stepped(self, change: changes.ClockStepped, _entry: Entry) -> None:
        """Let invites that were made by a clock that was behind keep their remaining time."""
        for invite in self.invites.values():
            if change.since < invite.made_at <= change.before:
                invite.made_at += change.by
                invite.expires_at += change.by

    @_change.register
    def _invite_made(self, change: changes.InviteMade, entry: Entry) -> None:
        self.invites = {key: known for key, known in self.invites.items() if known.expires_at > entry.at}
        self.invites[change.code_hash] = Invite(
            code_hash=change.code_hash,
            expires_at=change.expires_at,
            user=change.user,
            name=change.name,
            chat=change.chat,
            by=change.by,
            made_at=change.made_at,
        )

    @_change.register
    def _invite_used(self, change: changes.InviteUsed, _entry: Entry) -> None:
        invite = self.invites.get(change.code_hash)
        if invite is not None:
            invite.used = True

    @_change.register
    def _file_added(self, change: changes.FileAdded, _entry: Entry) -> None:
        self.users[change.user].stored += quota_bytes(change.size)

    @_change.register
    def _files_forgotten(self, change: changes.FilesForgotten, _entry: Entry) -> None:
        for file in change.files:
            self.users[file.user].stored -= quota_bytes(file.size)

    @_change.register
    def _password_set(self, change: changes.PasswordSet, _entry: Entry) -> None:
        self.users[change.user].password = change.hash

    # Indexes, kept up to date by entries and by loading a snapshot.

    def add_user(self, user: User) -> None:
        """Add a user."""
        self.users[user.key] = user
        self.user_keys[user.id] = user.key
        self.user_origins.update(dict.fromkeys(user.origins, user.key))
        self.chats_of.setdefault(user.key, set())
        self._add_name(user)
        self._set_inactive(user)

    def _set_inactive(self, user: User) -> None:
        if user.disabled or user.removed:
            self.inactive.add(user.key)
        else:
            self.inactive.discard(user.key)

    def _add_name(self, user: User) -> None:
        if not user.removed:
            self._names.add(user)

    def add_device(self, device: Device) -> None:
        """Add a device; a revoked one cannot sign in."""
        self.devices[device.key] = device
        if not device.revoked_at:
            self.device_keys[device.token_hash] = device.key

    def add_chat(self, chat: Chat, members: dict[UserKey, Member]) -> None:
        """Add a chat and its members."""
        self.chats[chat.key] = chat
        self.members[chat.key] = members
        self.chat_origins.update(dict.fromkeys(chat.origins, chat.key))
        for user, member in members.items():
            self.chats_of.setdefault(user, set()).add(chat.key)
            if member.hidden:
                self.cleared.add(chat.key)
        if chat.gone:
            self.gone_ids.add(chat.id or "")
            return
        if chat.id is not None:
            self.group_keys[chat.id] = chat.key
        else:
            first, last = min(members), max(members)
            self.dialog_keys[first, last] = chat.key
