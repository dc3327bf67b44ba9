"""The admin requests about groups and channels."""

from relay.core.admin.lookup import Lookup
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.service.ids import new_chat_id
from relay.core.submit import AdminCommands
from relay.outcomes import ChangedChat, Decidable
from relay.protocol import control, requests


class ChatAdmin:
    """Creates, changes, lists and deletes groups and channels."""

    def __init__(self, state: State, submit: AdminCommands) -> None:
        self._state = state
        self._find = Lookup(state)
        self._submit = submit

    async def make(self, request: control.MakeChat) -> control.ChatInfo:
        """Create a group or channel."""
        self._find.enabled_user(request.owner)
        return await self._changed(request, new_chat_id())

    async def add(self, request: control.ChatUsers) -> control.ChatInfo:
        """Add users to a group or channel."""
        return await self._changed(commands.AddParticipants(self._find.chat_id(request.id), request.participants))

    async def remove(self, request: control.ChatUsers) -> control.ChatInfo:
        """Remove users from a group or channel."""
        return await self._changed(commands.RemoveParticipants(self._find.chat_id(request.id), request.participants))

    async def update(self, request: control.UpdateGroup) -> control.ChatInfo:
        """Rename a group or channel, or change its admins."""
        chat_id = self._find.chat_id(request.id)
        return await self._changed(requests.UpdateChat(chat_id=chat_id, name=request.name, admins=request.admins))

    async def delete(self, request: control.OneChat) -> control.Empty:
        """Delete a group or channel for all its members."""
        await self._submit(commands.DeleteChat(self._find.chat_id(request.id)))
        return control.Empty()

    async def _changed(self, request: Decidable[ChangedChat], generated_id: str = "") -> control.ChatInfo:
        changed = await self._submit(request, generated_id)
        return self._info(self._state.chats[changed.chat])

    async def list_all(self, _request: control.Empty) -> list[control.ChatInfo]:
        """List all groups and channels, by name."""
        chats = [chat for chat in self._state.chats.values() if chat.id is not None and not chat.gone]
        return [self._info(chat) for chat in sorted(chats, key=lambda chat: (chat.name, chat.key))]

    async def show(self, request: control.OneChat) -> control.ChatInfo:
        """Show one group or channel."""
        return self._info(self._find.chat(request.id))

    def _info(self, chat: Chat) -> control.ChatInfo:
        users = self._state.users
        members = self._state.members[chat.key]
        return control.ChatInfo(
            id=chat.id or "",
            type=chat.type,
            name=chat.name,
            owner=users[chat.owner].id,
            admins=[users[key].id for key, member in members.items() if member.admin],
            participants=[users[key].id for key in members],
            messages=chat.count,
            created_at=chat.created_at,
            last_message_time=chat.newest_at or None,
        )
