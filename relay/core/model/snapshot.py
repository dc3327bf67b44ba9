"""Converts the state to rows of the store's snapshot tables and back, and tracks dirty rows.

A round writes the dirty rows a few at a time while entries go on being applied, so a row may be ahead of the
snapshot's `seq`. Each chat, user and invite records the entry as of which it was written (`kept`), and `StateRecovery`
applies only later entries to it. Plain data in and out; the store reads and writes it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from relay.core.model import changes
from relay.core.model.entities import Chat, Device, Invite, Member, User
from relay.core.model.state import State
from relay.keys import ChatKey, DeviceKey, Seq, UnixMs, UserKey
from relay.store import kinds
from relay.store.entry import Entry
from relay.store.queries.snapshots import Snapshot, SnapshotRows


class _KeptChat(Chat, rename="camel", omit_defaults=True, kw_only=True):
    kept: Seq = 0
    """The `seq` as of which the chat and all its members were written."""


class _KeptUser(User, rename="camel", omit_defaults=True, kw_only=True):
    kept: Seq = 0


class _KeptInvite(Invite, rename="camel", omit_defaults=True, kw_only=True):
    kept: Seq = 0


_user = msgspec.json.Decoder(User).decode
_device = msgspec.json.Decoder(Device).decode
_invite = msgspec.json.Decoder(Invite).decode
_chat = msgspec.json.Decoder(Chat).decode
_member = msgspec.json.Decoder(Member).decode


class _KeptSnapshot(msgspec.Struct):
    kept: Seq = 0


_kept = msgspec.json.Decoder(_KeptSnapshot).decode
_CHAT = Chat.__struct_fields__
_USER = User.__struct_fields__
_INVITE = Invite.__struct_fields__


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _chat_json(chat: Chat, kept: Seq) -> str:
    return _json(_KeptChat(kept=kept, **{field: getattr(chat, field) for field in _CHAT}))


def _user_json(user: User, kept: Seq) -> str:
    return _json(_KeptUser(kept=kept, **{field: getattr(user, field) for field in _USER}))


def _invite_json(invite: Invite, kept: Seq) -> str:
    return _json(_KeptInvite(kept=kept, **{field: getattr(invite, field) for field in _INVITE}))


def load(snapshot: Snapshot) -> State:
    """Build the state that a snapshot holds; `StateRecovery` applies the entries after `snapshot.seq`."""
    state = State()
    state.seq, state.at, state.pruned = snapshot.seq, snapshot.at, snapshot.pruned
    for _, value in snapshot.users:
        state.add_user(_user(value))
    for _, value in snapshot.devices:
        state.add_device(_device(value))
    for _, value in snapshot.invites:
        invite = _invite(value)
        state.invites[invite.code_hash] = invite
    members: dict[ChatKey, dict[UserKey, Member]] = {}
    for chat, user, value in snapshot.members:
        members.setdefault(chat, {})[user] = _member(value)
    for key, value in snapshot.chats:
        state.add_chat(_chat(value), members.get(key, {}))
    return state


class StateRecovery:
    """Applies the log's later entries to a loaded state, except to rows that include them already."""

    def __init__(self, state: State, snapshot: Snapshot) -> None:
        self._state = state
        self._chats = _ahead(snapshot.chats, snapshot.seq)
        self._users = _ahead(snapshot.users, snapshot.seq)
        self._invites = max(_ahead(snapshot.invites, snapshot.seq).values(), default=0)
        """All invites are written together, as of this entry."""
        self._last = max([*self._chats.values(), *self._users.values(), self._invites], default=0)

    def apply(self, entry: Entry) -> None:
        """Apply an entry to the rows that do not include it yet."""
        left = entry if entry.seq > self._last else self._left(entry)
        self._state.seq, self._state.at = entry.seq, entry.at
        if left is not None:
            self._state.apply(left)

    def _left(self, entry: Entry) -> Entry | None:
        """Return the part of an entry that has yet to be applied; None for nothing."""
        seq = entry.seq
        if entry.chat:
            return entry if self._chats.get(entry.chat, 0) < seq else None
        change = changes.change_of(entry)
        match change:
            case changes.HistoryPruned():
                chats = [one for one in change.chats if self._chats.get(one.chat, 0) < seq]
                return _with(entry, changes.HistoryPruned(change.seq, chats))
            case changes.FilesForgotten():
                files = [one for one in change.files if self._users.get(one.user, 0) < seq]
                return _with(entry, changes.FilesForgotten(files))
            case changes.UserAdded() | changes.OriginsAdded():
                return entry if self._users.get(change.key, 0) < seq else None
            case changes.UserChanged():
                counts_from = [one for one in change.counts_from if self._chats.get(one[0], 0) < seq]
                if self._users.get(change.key, 0) < seq:
                    return _with(entry, msgspec.structs.replace(change, counts_from=counts_from))
                return _with(entry, changes.UserChanged(key=change.key, counts_from=counts_from))
            case changes.PasswordSet() | changes.FileAdded():
                return entry if self._users.get(change.user, 0) < seq else None
            case changes.InviteMade() | changes.InviteUsed() | changes.ClockStepped():
                return entry if self._invites < seq else None
            case changes.ClockTrusted():
                late = (chat for key, chat in self._state.chats.items() if self._chats.get(key, 0) < seq)
                self._state.step_back(change.before, entry.at, late, invites=self._invites < seq)
                return None
        # Devices: each entry sets what it names, so applying it again changes nothing.
        return entry


def _with(entry: Entry, change: changes.Change) -> Entry:
    return msgspec.structs.replace(entry, extra=changes.encode(change))


Key = TypeVar("Key")


def _ahead(rows: Iterable[tuple[Key, str]], seq: Seq) -> dict[Key, Seq]:
    return {key: kept for key, value in rows if '"kept"' in value and (kept := _kept(value).kept) > seq}


class DirtyRows:
    """The rows of the last snapshot that are out of date."""

    def __init__(self) -> None:
        self.users: set[UserKey] = set()
        self.devices: set[DeviceKey] = set()
        self.invites = False
        self.chats: dict[ChatKey, set[UserKey] | None] = {}
        """Chats whose row is dirty, with their dirty members; None for all members, including those who left."""

    @classmethod
    def everything(cls, state: State) -> "DirtyRows":
        """Mark all rows of a state."""
        dirty = cls()
        dirty.users, dirty.devices, dirty.invites = set(state.users), set(state.devices), True
        dirty.chats = dict.fromkeys(state.chats)
        return dirty

    def __bool__(self) -> bool:
        return bool(self.users or self.devices or self.invites or self.chats)

    def note(self, entry: Entry, state: State) -> None:
        """Mark the rows that an entry has changed.

        Args:
            entry: the entry.
            state: the state with the entry applied.
        """
        kind = entry.kind
        if kind in (kinds.NEW, kinds.DLVRD, kinds.READ):
            members = self.chats.get(entry.chat, self)
            if members is self:
                self.chats[entry.chat] = {entry.actor}
            elif members is not None:
                members.add(entry.actor)  # type: ignore[union-attr]
        elif kind == kinds.EDIT:
            self.chats.setdefault(entry.chat, set())
        elif kind == kinds.DELETE:
            self.chats[entry.chat] = None
        else:
            change = changes.change_of(entry)
            if entry.chat:
                self._note_chat(change, entry.chat)
            else:
                self._note_change(change)
                if isinstance(change, changes.ClockTrusted):
                    # It may change all their dates.
                    for chat in state.chats:
                        self._add(chat, set())

    def _note_chat(self, change: changes.Change, chat: ChatKey) -> None:
        match change:
            case changes.MembersAdded() | changes.ChatShown():
                self._add(chat, set(change.users))
            case changes.ChatHidden():
                self._add(chat, {change.user})
            case changes.OriginsAdded():
                self._add(chat, set())
            case _:
                self.chats[chat] = None

    def _note_change(self, change: changes.Change) -> None:
        match change:
            case changes.UserAdded() | changes.OriginsAdded():
                self.users.add(change.key)
            case changes.UserChanged():
                self.users.add(change.key)
                for chat, _ in change.counts_from:
                    self._add(chat, {change.key})
            case changes.PasswordSet() | changes.FileAdded():
                self.users.add(change.user)
            case changes.FilesForgotten():
                self.users.update(one.user for one in change.files)
            case changes.DeviceAdded() | changes.DeviceRevoked():
                self.devices.add(change.key)
            case changes.InviteMade() | changes.InviteUsed() | changes.ClockTrusted() | changes.ClockStepped():
                self.invites = True
            case changes.HistoryPruned():
                for one in change.chats:
                    self._add(one.chat, {user for user, _ in one.unread})

    def _add(self, chat: ChatKey, users: set[UserKey]) -> None:
        members = self.chats.setdefault(chat, set())
        if members is not None:
            members |= users

    def update(self, other: "DirtyRows") -> None:
        """Add all rows of another one."""
        self.users |= other.users
        self.devices |= other.devices
        self.invites |= other.invites
        for chat, users in other.chats.items():
            if users is None:
                self.chats[chat] = None
            else:
                self._add(chat, users)

    def take_chat(self, chat: ChatKey) -> set[UserKey] | None:
        """Remove a chat, and return its dirty members; see `chats`."""
        return self.chats.pop(chat, set())


class Start(NamedTuple):
    """The entry that a round starts at; a row may or may not include later ones."""

    seq: Seq
    at: UnixMs
    pruned: Seq

    @classmethod
    def of(cls, state: State) -> "Start":
        """Start at the state's last entry."""
        return cls(state.seq, state.at, state.pruned)


class Round:
    """One round of writing a state's dirty rows, a few at a time. Entries may be applied between two takes."""

    def __init__(self, state: State, dirty: DirtyRows, since: DirtyRows | None = None) -> None:
        """Begin.

        Args:
            state: the state; a row is written as of the moment it is taken.
            dirty: the rows to take.
            since: the rows that become dirty meanwhile; taking a row removes it from there.
        """
        self.start = Start.of(state)
        self._state = state
        self._dirty = dirty
        self._since = DirtyRows() if since is None else since
        self._taken = DirtyRows()
        """The rows taken last, which may not be on disk yet."""

    @property
    def over(self) -> bool:
        """Return whether all rows were taken."""
        return not self._dirty

    def take(self, count: int) -> SnapshotRows:
        """Take about `count` rows, as the store's `snapshot` parameter without its `seq`; a chat is taken whole."""
        rows: SnapshotRows = {"users": [], "devices": [], "invites": None, "chats": [], "whole": [], "members": []}
        state, dirty, kept = self._state, self._dirty, self._state.seq
        self._taken = DirtyRows()
        if dirty.invites:
            dirty.invites = self._since.invites = False
            self._taken.invites = True
            invites = rows["invites"] = [(key, _invite_json(invite, kept)) for key, invite in state.invites.items()]
            count -= len(invites)
        while dirty.users and count > 0:
            user = dirty.users.pop()
            self._since.users.discard(user)
            self._taken.users.add(user)
            rows["users"].append((user, _user_json(state.users[user], kept)))
            count -= 1
        while dirty.devices and count > 0:
            device = dirty.devices.pop()
            self._taken.devices.add(device)
            rows["devices"].append((device, _json(state.devices[device])))
            count -= 1
        while dirty.chats and count > 0:
            count -= 1 + self._take_chat(next(iter(dirty.chats)), kept, rows)
        return rows

    def _take_chat(self, chat: ChatKey, kept: int, rows: SnapshotRows) -> int:
        members = self._state.members[chat]
        users, more = self._dirty.take_chat(chat), self._since.take_chat(chat)
        both = None if users is None or more is None else users | more
        self._taken.chats[chat] = both
        rows["chats"].append((chat, _chat_json(self._state.chats[chat], kept)))
        if both is None:
            rows["whole"].append(chat)
        taken = [
            (chat, user, _json(members[user])) for user in sorted(members if both is None else both & set(members))
        ]
        rows["members"] += taken
        return len(taken)

    def left(self) -> DirtyRows:
        """Return the rows that stay dirty if the round is given up: those not taken, and those taken last."""
        left = DirtyRows()
        left.update(self._dirty)
        left.update(self._taken)
        return left


def whole(state: State) -> SnapshotRows:
    """Return all rows of a state at once, as the store's `snapshot` parameter."""
    round_ = Round(state, DirtyRows.everything(state))
    rows = round_.take(1 << 30)
    rows["seq"], rows["at"], rows["pruned"] = round_.start
    return rows


def slices(round_: Round, count: int) -> Iterator[SnapshotRows]:
    """Take all rows of a round, `count` at a time."""
    while not round_.over:
        yield round_.take(count)


def plain_data(state: State) -> dict[str, object]:
    """Return a state as plain data for comparison: equal for equal states, whatever their history."""
    return {
        "seq": state.seq,
        "at": state.at,
        "pruned": state.pruned,
        "users": {key: _json(user) for key, user in state.users.items()},
        "devices": {key: _json(device) for key, device in state.devices.items()},
        "invites": {key: _json(invite) for key, invite in state.invites.items()},
        "chats": {key: _json(chat) for key, chat in state.chats.items()},
        "members": {
            (chat, user): _json(member) for chat, members in state.members.items() for user, member in members.items()
        },
    }
