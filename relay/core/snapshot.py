"""The state as rows and back: what `State` looks like in the store's snapshot tables, and which rows are stale.

Plain data in and out; the store reads and writes it.
"""

from typing import Any

import msgspec

from relay.core.state import Chat, Device, Invite, Member, State, User
from relay.store import kinds
from relay.store.entry import Entry
from relay.store.queries import Snapshot

_user = msgspec.json.Decoder(User).decode
_device = msgspec.json.Decoder(Device).decode
_invite = msgspec.json.Decoder(Invite).decode
_chat = msgspec.json.Decoder(Chat).decode
_member = msgspec.json.Decoder(Member).decode


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def load(snapshot: Snapshot) -> State:
    """Build the state that a snapshot holds. Entries after `snapshot.seq` are to be applied to it."""
    state = State()
    state.seq, state.at, state.pruned = snapshot.seq, snapshot.at, snapshot.pruned
    for _, value in snapshot.users:
        state.add_user(_user(value))
    for _, value in snapshot.devices:
        state.add_device(_device(value))
    for _, value in snapshot.invites:
        invite = _invite(value)
        state.invites[invite.code_hash] = invite
    members: dict[int, dict[int, Member]] = {}
    for chat, user, value in snapshot.members:
        members.setdefault(chat, {})[user] = _member(value)
    for key, value in snapshot.chats:
        state.add_chat(_chat(value), members.get(key, {}))
    return state


def whole(state: State) -> dict[str, Any]:
    """All rows of a state, as the store's `snapshot` parameter."""
    stale = Stale()
    stale.everything = True
    return stale.rows(state)


class Stale:
    """Which rows of the last snapshot are no longer true."""

    def __init__(self) -> None:
        self.everything = False
        self.people = False
        """Users and devices: they are few and change seldom, so all of them are written again."""
        self.chats: set[int] = set()
        self.members: set[tuple[int, int]] = set()
        self.whole_chats: set[int] = set()
        """Chats all of whose members are to be written again."""

    def note(self, entry: Entry) -> None:
        """Take in what an entry makes stale."""
        kind = entry.kind
        if kind in (kinds.USER, kinds.DEVICE, kinds.SIGN_IN, kinds.FILE):
            self.people = True
        elif kind == kinds.NOTE:
            self.everything = True
        else:
            self.chats.add(entry.chat)
            if kind in (kinds.NEW, kinds.DLVRD, kinds.READ):
                self.members.add((entry.chat, entry.actor))
            elif kind != kinds.EDIT:
                self.whole_chats.add(entry.chat)

    def update(self, other: "Stale") -> None:
        """Take in all that another one holds."""
        self.everything |= other.everything
        self.people |= other.people
        self.chats |= other.chats
        self.members |= other.members
        self.whole_chats |= other.whole_chats

    def rows(self, state: State) -> dict[str, Any]:
        """The rows to write, as the store's `snapshot` parameter."""
        people = self.people or self.everything
        chats = set(state.chats) if self.everything else self.chats
        whole_chats = set(state.chats) if self.everything else self.whole_chats
        members = self.members | {(chat, user) for chat in whole_chats for user in state.members.get(chat, ())}
        return {
            "seq": state.seq,
            "at": state.at,
            "pruned": state.pruned,
            "users": [(key, _json(user)) for key, user in state.users.items()] if people else [],
            "devices": [(key, _json(device)) for key, device in state.devices.items()] if people else [],
            "invites": [(key, _json(invite)) for key, invite in state.invites.items()] if people else None,
            "chats": [(key, _json(state.chats[key])) for key in sorted(chats)],
            "whole": sorted(whole_chats),
            "members": [
                (chat, user, _json(state.members[chat][user]))
                for chat, user in sorted(members)
                if user in state.members[chat]
            ],
        }
