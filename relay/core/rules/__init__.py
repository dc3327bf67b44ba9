"""May this happen, and what follows from it: `decide(state, commands, facts) -> Draft`.

Reads no clock, no random source, no connection and no setting. What it cannot know from the state it names
as a fact to be looked up, and is asked again with it. Nothing here changes the state: that is what the
entries are for, once they are on disk.
"""

from collections.abc import Sequence

from relay.core.model.state import State
from relay.core.rules import chats, commands, hook_posts, imports, messages, receipts, retention, users
from relay.core.rules.commands import Command
from relay.core.rules.draft import (
    ChangedChat,
    ChangedDevice,
    ChangedUser,
    Decision,
    DevicesRevoked,
    Draft,
    DraftBuilder,
    Rule,
    SignedIn,
)
from relay.protocol import control, requests
from relay.store.entry import Facts

__all__ = [
    "ChangedChat",
    "ChangedDevice",
    "ChangedUser",
    "Decision",
    "DevicesRevoked",
    "Draft",
    "SignedIn",
    "decide",
    "stands_alone",
]


def stands_alone(state: State, command: Command) -> bool:
    """Whether a command changes what others in its batch would be decided by, and so gets a batch of its own."""
    request = command.request
    if type(request) is commands.ImportMessage:
        return request.chat in state.cleared
    if type(request) is commands.PostByHook:
        key = state.chat_key(command.user, request.chat_id)
        return key is None or key in state.cleared
    if type(request) is not requests.New:
        return type(request) not in _TOGETHER
    key = state.chat_key(command.user, request.chat_id)
    if key is None or key in state.cleared:
        return True
    # What it replies to has to be in the log: it may be in this very batch.
    return request.reply_to is not None and request.reply_to > state.chats[key].last_message_id


def decide(state: State, batch: Sequence[Command], facts: Facts) -> Draft:
    """Decide a batch: later commands see what earlier ones lead to."""
    draft = DraftBuilder(state, facts)
    for command in batch:
        draft.decide(command, _RULES[type(command.request)])
    return Draft(draft.decisions, draft.amendments, draft.unknown)


_TOGETHER = frozenset({commands.MarkDelivered, commands.MarkRead, commands.ReserveSeq, commands.ImportChange})


_RULES: dict[type, Rule] = {
    requests.New: messages.new,
    commands.PostByHook: hook_posts.post_by_hook,
    requests.Edit: messages.edit,
    requests.Delete: messages.delete,
    commands.MarkDelivered: receipts.mark_delivered,
    commands.MarkRead: receipts.mark_read,
    commands.ReserveSeq: receipts.reserve_seq,
    requests.CreateChat: chats.create_chat,
    control.MakeChat: chats.make_chat,
    requests.UpdateChat: chats.update_chat,
    commands.AddParticipants: chats.add_participants,
    commands.RemoveParticipants: chats.remove_participants,
    commands.LeaveChat: chats.leave_chat,
    commands.DeleteChat: chats.delete_chat,
    requests.ProfileRequest: users.change_profile,
    control.AddUser: users.add_user,
    control.ChangeUser: users.change_user,
    commands.AddDevice: users.add_device,
    control.RevokeDevice: users.revoke_device,
    commands.PruneChats: retention.prune_chats,
    commands.RevokeDevices: users.revoke_devices,
    commands.PruneHistory: retention.prune_history,
    commands.NoteRestore: retention.note_restore,
    commands.TrustClock: retention.trust_clock,
    commands.MakeInvite: users.make_invite,
    commands.UseInvite: users.use_invite,
    commands.RevokeInvites: users.revoke_invites,
    commands.SignUp: users.sign_up,
    commands.SetPassword: users.set_password,
    commands.AddFile: retention.add_file,
    commands.ForgetFiles: retention.forget_files,
    commands.ImportUser: imports.import_user,
    commands.ImportChat: imports.import_chat,
    commands.ImportMessage: imports.import_message,
    commands.ImportChange: imports.import_change,
    commands.ImportClearing: imports.import_clearing,
}
"""Who decides what: the type of a command's request to its rule."""
