"""The rules: whether a command is allowed and what follows from it: `decide(state, commands, facts) -> Draft`.

They read no clock, no random source, no connection and no setting. A rule that needs to know something from the log
names a fact; it is looked up, and the batch is decided again with it. Rules do not change the state: their entries do,
once they are on disk. Every rule raises `RelayError` for what it refuses.
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
    """Tell whether a command needs a batch of its own, as it changes the state that others are decided by."""
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
    # The message that it answers has to be in the log, and may still be in this batch.
    return request.reply_to is not None and request.reply_to > state.chats[key].last_message_id


def decide(state: State, batch: Sequence[Command], facts: Facts) -> Draft:
    """Decide a batch; later commands see the entries of earlier ones.

    Args:
        state: the state, which stays as it is.
        batch: the commands, in order.
        facts: the facts that were looked up so far.

    Returns:
        A decision for each command; where `unknown` facts are named, look them up and decide again.
    """
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
    commands.ImportOrigins: imports.import_origins,
    commands.ImportMessage: imports.import_message,
    commands.ImportChange: imports.import_change,
    commands.ImportClearing: imports.import_clearing,
}
"""The rule of each type of request."""
