"""May this happen, and what follows from it: `decide(state, commands, facts) -> Draft`.

Reads no clock, no random source, no connection and no setting. What it cannot know from the state it names
as a fact to be looked up, and is asked again with it. Nothing here changes the state: that is what the
entries are for, once they are on disk.
"""

from collections.abc import Sequence

from relay.core import commands
from relay.core.commands import Command
from relay.core.decide import chats, importing, keeping, marks, messages, people
from relay.core.decide.drafting import (
    ChatChanged,
    Decision,
    DeviceChanged,
    DevicesRevoked,
    Draft,
    Drafting,
    Rule,
    SignedIn,
    UserChanged,
)
from relay.core.state import State
from relay.protocol import control, requests
from relay.store.entry import Facts

__all__ = [
    "ChatChanged",
    "Decision",
    "DeviceChanged",
    "DevicesRevoked",
    "Draft",
    "SignedIn",
    "UserChanged",
    "decide",
    "stands_alone",
]


def stands_alone(state: State, command: Command) -> bool:
    """Whether a command changes what others in its batch would be decided by, and so gets a batch of its own."""
    request = command.request
    if type(request) is commands.ImportMessage:
        return request.chat in state.cleared
    if type(request) is not requests.New:
        return type(request) not in _TOGETHER
    key = state.chat_key(command.user, request.chat_id)
    if key is None or key in state.cleared:
        return True
    # What it replies to has to be in the log: it may be in this very batch.
    return request.reply_to is not None and request.reply_to > state.chats[key].last_message_id


def decide(state: State, batch: Sequence[Command], facts: Facts) -> Draft:
    """Decide a batch: later commands see what earlier ones lead to."""
    draft = Drafting(state, facts)
    for command in batch:
        draft.decide(command, _RULES[type(command.request)])
    return Draft(draft.decisions, draft.amendments, draft.unknown)


_TOGETHER = frozenset({commands.MarkDelivered, commands.MarkRead, commands.SayNothing, commands.ImportChange})


_RULES: dict[type, Rule] = {
    requests.New: messages.new,
    requests.Edit: messages.edit,
    requests.Delete: messages.delete,
    commands.MarkDelivered: marks.mark_delivered,
    commands.MarkRead: marks.mark_read,
    commands.SayNothing: marks.say_nothing,
    requests.CreateChat: chats.create_chat,
    control.MakeChat: chats.make_chat,
    requests.UpdateChat: chats.update_chat,
    commands.AddParticipants: chats.add_participants,
    commands.RemoveParticipants: chats.remove_participants,
    commands.LeaveChat: chats.leave_chat,
    commands.DeleteChat: chats.delete_chat,
    requests.ProfileRequest: people.change_profile,
    control.AddUser: people.add_user,
    control.ChangeUser: people.change_user,
    commands.AddDevice: people.add_device,
    control.RevokeDevice: people.revoke_device,
    commands.PruneChats: keeping.prune_chats,
    commands.RevokeDevices: people.revoke_devices,
    commands.PruneHistory: keeping.prune_history,
    commands.NoteRestore: keeping.note_restore,
    commands.TrustClock: keeping.trust_clock,
    commands.MakeInvite: people.make_invite,
    commands.UseInvite: people.use_invite,
    commands.SignUp: people.sign_up,
    commands.SetPassword: people.set_password,
    commands.AddFile: keeping.add_file,
    commands.ForgetFiles: keeping.forget_files,
    commands.ImportUser: importing.import_user,
    commands.ImportChat: importing.import_chat,
    commands.ImportMessage: importing.import_message,
    commands.ImportChange: importing.import_change,
    commands.ImportClearing: importing.import_clearing,
}
"""Who decides what: the type of a command's request to its rule."""
