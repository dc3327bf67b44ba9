"""The rules of uploaded files, retention of history, restored backups and the log's time."""

from bisect import bisect_right

from relay.core.model import changes
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import attachments as files_of
from relay.core.rules import commands
from relay.core.rules.draft import DraftBuilder
from relay.core.rules.sign_in import end_invites
from relay.keys import NO_CHAT, MessageId, UserKey
from relay.protocol import requests
from relay.protocol.objects import Attachment
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import FilesNamed, Prunable, StoredFile


def prune_chats(draft: DraftBuilder, command: Command, request: commands.PruneChats) -> requests.Nothing:
    """Correct unread counts before messages are removed. The cost grows with the removed messages only."""
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


def prune_history(draft: DraftBuilder, command: Command, request: commands.PruneHistory) -> requests.Nothing:
    """Record that messages and receipts up to an entry are about to be removed."""
    if request.seq > draft.state.pruned:
        draft.change(kinds.NOTE, NO_CHAT, command, changes.HistoryPruned(request.seq, []))
    return requests.Nothing()


def _pruned(state: State, chat: Chat, upto: MessageId, gone: dict[UserKey, list[MessageId]]) -> changes.PrunedChat:
    """Record what a chat loses, and for each member who had not read all of it, how many messages stay unread."""
    members = state.members[chat.key]
    unread = [
        (user, state.missed(chat, user) - _unread(gone, user, members[user].read_upto))
        for user in state.users_in(chat)
        if members[user].read_upto < upto
    ]
    return changes.PrunedChat(chat.key, upto, unread)


def _unread(messages: dict[UserKey, list[MessageId]], user: UserKey, read: MessageId) -> int:
    """Count the messages that a member has not read.

    Args:
        messages: message ids by author, ascending.
        user: the member; their own messages do not count.
        read: the message id up to which they have read.
    """
    return sum(len(ids) - bisect_right(ids, read) for author, ids in messages.items() if author != user)


def note_restore(draft: DraftBuilder, command: Command, request: commands.NoteRestore) -> requests.Nothing:
    """Record that a backup was restored: event ids go on above all that devices have seen."""
    draft.seq = max(draft.seq, request.last)
    draft.change(kinds.NOTE, NO_CHAT, command, changes.BackupRestored(request.last))
    if request.end_invites:
        end_invites(draft, command)
    return requests.Nothing()


def trust_clock(draft: DraftBuilder, command: Command, _request: commands.TrustClock) -> requests.Nothing:
    """Set the log's time to the machine's, even backwards: only this entry may be earlier than the one before it."""
    before, draft.at = draft.state.at, command.at
    draft.change(kinds.NOTE, NO_CHAT, command, changes.ClockTrusted(before))
    return requests.Nothing()


def step_clock(draft: DraftBuilder, command: Command, request: commands.StepClock) -> requests.Nothing:
    """Record that the stamps of a certain period are too early."""
    draft.change(kinds.CLOCK, NO_CHAT, command, changes.ClockStepped(request.since, request.before, request.by))
    return requests.Nothing()


def add_file(draft: DraftBuilder, command: Command, request: commands.AddFile) -> Attachment:
    """Add a file that was uploaded."""
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


def forget_files(draft: DraftBuilder, command: Command, request: commands.ForgetFiles) -> list[str]:
    """Delete the files that no message uses; return their digests."""
    shown = set(files_of.photos(draft.state))
    ids = tuple(dict.fromkeys((*request.ids, *request.replaced)))
    gone = [
        changes.ForgottenFile(file.id, file.digest, file.user, file.size)
        for file in draft.fact(FilesNamed(ids)).values()
        if not file.holders
        and file.id not in shown
        and file.loose > 0
        and (file.loose <= draft.at or file.id in request.replaced)
    ]
    if gone:
        draft.change(kinds.FILE, NO_CHAT, command, changes.FilesForgotten(gone))
    return [file.digest for file in gone]
