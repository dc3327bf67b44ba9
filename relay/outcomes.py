"""The outcomes of requests: every request that the rules decide names its outcome type, and `submit` returns it.

Plain types that depend on keys alone, so that the payloads of the wire and the commands of the log can use them.
"""

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from relay.keys import ChatKey, DeviceKey, MessageId, Seq, UserKey

Outcome = TypeVar("Outcome")
"""The outcome of a request."""

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import typing_extensions

    Outcome_co = typing_extensions.TypeVar("Outcome_co", covariant=True, default=object)
else:
    # Type checkers read a bare `Command` as one with any outcome; at run time Python does so from 3.13 on.
    Outcome_co = TypeVar("Outcome_co", covariant=True)

DraftT = TypeVar("DraftT")
CommandT = TypeVar("CommandT")


class Decidable(Generic[Outcome_co]):
    """A request that the rules decide, with an outcome of this type unless they refuse it."""

    __slots__ = ()

    @classmethod
    def decided_by(
        cls, rule: "Callable[[DraftT, CommandT, Self], Outcome_co]"
    ) -> "tuple[type[Self], Callable[[DraftT, CommandT, Any], object]]":
        """Pair this kind of request with its rule; type checkers see that the rule takes it and returns its outcome.

        Any: a table holds the rules of all kinds, each of which takes its own.
        """
        return cls, rule


class ChangedChat(NamedTuple):
    """The answer to a change of a chat: the chat as it is afterwards."""

    chat: ChatKey


class ChangedUser(NamedTuple):
    """The answer to a change of a user: the user as they are afterwards."""

    user: UserKey


class ChangedDevice(NamedTuple):
    """The answer to a change of a device: the device as it is afterwards."""

    device: DeviceKey


class HookAdded(NamedTuple):
    """The answer to a hook that was added: its device, and the `seq` of the entry after which it acts."""

    device: DeviceKey
    seq: Seq


class InvitesRevoked(NamedTuple):
    """The answer to a revocation of invites: the ended ones, by their codes' hashes."""

    code_hashes: tuple[str, ...]


class DevicesRevoked(NamedTuple):
    """The answer to signing devices out: their number."""

    number: int


class SignedIn(NamedTuple):
    """The answer to a sign-in: the user, the device, and the chat to show, if any."""

    user: UserKey
    device: DeviceKey
    chat_id: str | None


class ChatImported(NamedTuple):
    """The answer to an imported chat: its key."""

    chat: ChatKey


class Imported(msgspec.Struct, frozen=True, gc=False):
    """The answer to an imported message, edit or deletion: its message id, and whether it is new."""

    message_id: MessageId
    added: bool
    reply_lost: bool = False
    """Whether it replies to a message that is not here."""
    counted: bool = True
    """Whether it can be unread: it was neither deleted nor removed by retention."""
