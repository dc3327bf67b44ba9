"""The rules of what the relay keeps: uploaded files, history that ends, backups put back."""

from bisect import bisect_right

from relay.core.model import changes
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import attachments as files_of
from relay.core.rules import commands
from relay.core.rules.commands import Command
from relay.core.rules.draft import DraftBuilder
from relay.core.rules.users import end_invites
from relay.keys import NO_CHAT, MessageId, UserKey
from relay.protocol import requests
from relay.store import kinds
from relay.store.entry import FilesNamed, Prunable, StoredFile


def prune_chats(draft: DraftBuilder, command: Command, request: commands.PruneChats) -> object:
    """Retention takes messages out of chats; unread counts follow. Costs what goes, not what is left."""
    state = draft.state
    wanted = tuple(
        (state.chats[key].key, state.chats[key].pruned, upto)
        for key, upto in request.chats
        if upto > state.chats[key].pruned and not state.chats[key].gone
    )
    if not wanted:
        return requests.Nothing()
    gone = draft.fact(Prunable(wanted))
    chats = [_pruned(state, state.chats[key], upto, gone[key]) for key, _, upto in wanted]
    draft.change(kinds.NOTE, NO_CHAT, command, changes.HistoryPruned(state.pruned, chats))
    return requests.Nothing()


def prune_history(draft: DraftBuilder, command: Command, request: commands.PruneHistory) -> object:
    """Retention is about to remove what was said up to an entry."""
    if request.seq > draft.state.pruned:
        draft.change(kinds.NOTE, NO_CHAT, command, changes.HistoryPruned(request.seq, []))
    return requests.Nothing()


def _pruned(state: State, chat: Chat, upto: MessageId, gone: dict[int, list[int]]) -> changes.PrunedChat:
    """Say what a chat loses, and how many messages are left unread of each member who had not read all of it."""
    members = state.members[chat.key]
    unread = [
        (user, state.missed(chat, user) - _unread(gone, user, members[user].read_upto))
        for user in state.users_in(chat)
        if members[user].read_upto < upto
    ]
    return changes.PrunedChat(chat.key, upto, unread)


def _unread(messages: dict[int, list[int]], user: UserKey, read: MessageId) -> int:
    """How many of these messages of each author, ascending, a member has not read who has read up to that one."""
    return sum(len(ids) - bisect_right(ids, read) for author, ids in messages.items() if author != user)


def note_restore(draft: DraftBuilder, command: Command, request: commands.NoteRestore) -> object:
    """A backup was put in place: event ids go on above all that devices have seen."""
    draft.seq = max(draft.seq, request.last)
    draft.change(kinds.NOTE, NO_CHAT, command, changes.BackupRestored(request.last))
    if request.end_invites:
        end_invites(draft, command)
    return requests.Nothing()


def trust_clock(draft: DraftBuilder, command: Command, _request: commands.TrustClock) -> object:
    """Let the log's time step to the machine's, forwards or back: the only entry that may be earlier than the last."""
    before, draft.at = draft.state.at, command.at
    draft.change(kinds.NOTE, NO_CHAT, command, changes.ClockTrusted(before))
    return requests.Nothing()


def add_file(draft: DraftBuilder, command: Command, request: commands.AddFile) -> object:
    """Take in a file that was uploaded."""
    draft.change(
        kinds.FILE,
        NO_CHAT,
        command,
        changes.FileAdded(
            id=request.id,
            digest=request.digest,
            user=command.user,
            name=request.name,
            mimetype=request.mimetype,
            size=request.size,
            width=request.width,
            height=request.height,
            loose=request.loose,
        ),
    )
    return files_of.attachment(
        StoredFile(
            request.id,
            request.digest,
            command.user,
            request.name,
            request.mimetype,
            request.size,
            request.width,
            request.height,
            request.loose,
            (),
        )
    )


def forget_files(draft: DraftBuilder, command: Command, request: commands.ForgetFiles) -> object:
    """Forget files that no message holds."""
    shown = set(files_of.photos(draft.state))
    gone = [
        changes.ForgottenFile(file.id, file.digest, file.user, file.size)
        for file in draft.fact(FilesNamed(request.ids)).values()
        if not file.holders and 0 < file.loose <= draft.at and file.id not in shown
    ]
    if gone:
        draft.change(kinds.FILE, NO_CHAT, command, changes.FilesForgotten(gone))
    return [file.digest for file in gone]
