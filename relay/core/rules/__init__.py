"""The rules: whether a command is allowed, and its effects: `decide(state, commands, facts) -> Draft`.

The list of modules is the structure: the rules of one subject each, and shared ones (commands, draft, permissions,
visibility, attachments).

They read no clock, no random source, no connection and no setting. A rule that needs something from the log, or needs
to know which devices are connected, names a fact. The fact is looked up, and the batch is decided again with it. Rules
do not change the state: their entries do, once they are on disk. A rule refuses a command by raising `RelayError`.

A permission may end while a command waits, so the rules check everything again: the user and the device of every
command, a checked password (`CheckedPassword`), rights and invites.
"""

from collections.abc import Sequence

from relay.core.model.state import State
from relay.core.rules import chats, commands, hooks, imports, messages, receipts, retention, sign_in, users
from relay.core.rules.draft import COUNTED_MESSAGES, Decision, Draft, DraftBuilder, Rule
from relay.protocol import control, requests
from relay.store.command import Command
from relay.store.entry import Facts

__all__ = ["Decision", "Draft", "decide", "needs_own_batch"]


def needs_own_batch(state: State, command: Command) -> bool:
    """Return whether a command needs a batch of its own, because it changes the state that decides the others."""
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
    # The message that it quotes has to be in the log, and may still be in this batch.
    return request.reply_to is not None and request.reply_to > state.chats[key].last_message_id


def decide(state: State, batch: Sequence[Command], facts: Facts, counted_messages: int = COUNTED_MESSAGES) -> Draft:
    """Decide a batch; later commands see the entries of earlier ones.

    Args:
        state: the state, which is not changed.
        batch: the commands, in order.
        facts: the facts that were looked up so far.
        counted_messages: how many are counted for one receipt at most.

    Returns:
        A decision for each command; if it names `unknown` facts, look them up and decide again.
    """
    draft = DraftBuilder(state, facts, counted_messages)
    for command in batch:
        draft.decide(command, _RULES[type(command.request)])
    return Draft(draft.decisions, draft.amendments, draft.unknown)


_TOGETHER = frozenset({commands.MarkDelivered, commands.MarkRead, commands.ReserveSeq, commands.ImportChange})


_RULES: dict[type, Rule] = dict(
    (
        requests.New.decided_by(messages.new),
        commands.PostByHook.decided_by(hooks.post_by_hook),
        requests.Edit.decided_by(messages.edit),
        requests.Delete.decided_by(messages.delete),
        commands.MarkDelivered.decided_by(receipts.mark_delivered),
        commands.MarkRead.decided_by(receipts.mark_read),
        commands.ReserveSeq.decided_by(receipts.reserve_seq),
        requests.CreateChat.decided_by(chats.create_chat),
        control.MakeChat.decided_by(chats.make_chat),
        requests.UpdateChat.decided_by(chats.update_chat),
        commands.AddParticipants.decided_by(chats.add_participants),
        commands.RemoveParticipants.decided_by(chats.remove_participants),
        commands.LeaveChat.decided_by(chats.leave_chat),
        commands.DeleteChat.decided_by(chats.delete_chat),
        requests.ProfileRequest.decided_by(users.change_profile),
        control.AddUser.decided_by(users.add_user),
        control.ChangeUser.decided_by(users.change_user),
        commands.AddDevice.decided_by(sign_in.add_device),
        commands.MakeHook.decided_by(hooks.make_hook),
        control.RevokeDevice.decided_by(sign_in.revoke_device),
        commands.PruneChats.decided_by(retention.prune_chats),
        commands.RevokeDevices.decided_by(sign_in.revoke_devices),
        commands.PruneHistory.decided_by(retention.prune_history),
        commands.NoteRestore.decided_by(retention.note_restore),
        commands.TrustClock.decided_by(retention.trust_clock),
        commands.StepClock.decided_by(retention.step_clock),
        commands.MakeInvite.decided_by(sign_in.make_invite),
        commands.SignInByPassword.decided_by(sign_in.sign_in_by_password),
        commands.UseInvite.decided_by(sign_in.use_invite),
        commands.RevokeInvites.decided_by(sign_in.revoke_invites),
        commands.SignUp.decided_by(sign_in.sign_up),
        commands.ChangePassword.decided_by(sign_in.change_password),
        commands.SetPassword.decided_by(sign_in.set_password),
        commands.AddFile.decided_by(retention.add_file),
        commands.ForgetFiles.decided_by(retention.forget_files),
        commands.ImportUser.decided_by(imports.import_user),
        commands.ImportChat.decided_by(imports.import_chat),
        commands.ImportOrigins.decided_by(imports.import_origins),
        commands.ImportMessage.decided_by(imports.import_message),
        commands.ImportChange.decided_by(imports.import_change),
        commands.ImportClearing.decided_by(imports.import_clearing),
    )
)
"""The rule of each type of request."""
