"""Finds the user or chat that an admin names: a user by id; a chat by id, by name, or by its two users."""

from collections.abc import Iterable

from relay.core.model.entities import Chat, User
from relay.core.model.state import State
from relay.protocol.errors import RelayError
from relay.text import fold


class Lookup:
    """Looks users and chats up in the state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def user(self, user_id: str) -> User:
        """Find a user.

        Raises:
            RelayError: there is none.
        """
        user = self._state.user(user_id)
        if user is None or user.removed:
            raise RelayError.no_user(user_id)
        return user

    def enabled_user(self, user_id: str) -> User:
        """Find a user who is not disabled.

        Raises:
            RelayError: there is none, or they are disabled.
        """
        user = self.user(user_id)
        if user.disabled:
            raise RelayError.forbidden(f"{user.id!r} is disabled: `relay user enable {user.id}` first")
        return user

    def past_user(self, user_id: str) -> User:
        """Find a user who may have been removed: history still names them.

        Raises:
            RelayError: no user ever had this id.
        """
        user = self._state.user(user_id)
        if user is None:
            raise RelayError.no_user(user_id)
        return user

    def chat(self, called: str) -> Chat:
        """Find a group or channel by its id, else by its name.

        Raises:
            RelayError: there is none, or there are several.
        """
        state = self._state
        chat_id = called
        if called not in state.group_keys:
            chat_id = _only(_named((chat for chat in state.chats.values() if not chat.gone), called), called) or called
        key = state.group_keys.get(chat_id)
        if key is None or state.chats[key].gone:
            raise RelayError("not_found", f"there is no group or channel {chat_id!r}: `relay chat list` shows all")
        return state.chats[key]

    def chat_id(self, called: str) -> str:
        """Find the id of a group or channel; see `chat`."""
        return self.chat(called).id or ""

    def any_chat(self, called: str) -> int:
        """Find the key of a chat by a group's id or name, or by the two users of a dialog (`anna~ben`).

        Raises:
            RelayError: there is none, or there are several.
        """
        pair = self._pair(called)
        if pair is None:
            return self.chat(called).key
        one, other = pair
        key = self._state.chat_key(one.key, other.id)
        if key is None:
            raise RelayError("not_found", f"{one.id} and {other.id} have not written to each other")
        return key

    def _pair(self, called: str) -> tuple[User, User] | None:
        """Find the two people of a dialog that is called `anna~ben`; None if the name has another form."""
        first, _, second = called.partition("~")
        one, other = self._state.user(first), self._state.user(second)
        return None if one is None or other is None else (one, other)

    def chat_of(self, user: User, called: str) -> str:
        """Find the id of the chat that a user means: by an id, the name of one of their groups, or `anna~ben`.

        Raises:
            RelayError: there is none, the user is not in it, or several of their groups have this name.
        """
        state = self._state
        pair = self._pair(called)
        if pair is not None:
            if user not in pair:
                raise RelayError("not_found", f"{user.id!r} is not in the dialog of {pair[0].id!r} and {pair[1].id!r}")
            return next((one.id for one in pair if one is not user), user.id)
        if state.chat_key(user.key, called) is not None or state.user(called) is not None:
            return called
        mine = _only(_named((chat for chat, _ in state.listed(user.key)), called), called)
        if mine is None:
            others = self.chat(called)
            raise RelayError(
                "not_found", f"{user.id!r} is not in {others.name!r}: `relay chat add {others.id} {user.id}` first"
            )
        return mine


def _named(chats: Iterable[Chat], called: str) -> list[Chat]:
    """Find the groups and channels with a name, ignoring case and accents; exact matches come first."""
    folded = fold(called)
    alike = [chat for chat in chats if chat.id and folded and fold(chat.name) == folded]
    return [chat for chat in alike if chat.name.casefold() == called.casefold()] or alike


def _only(named: list[Chat], called: str) -> str | None:
    if len(named) > 1:
        ids = ", ".join(sorted(chat.id or "" for chat in named))
        raise RelayError.conflict(f"several chats are called {called!r}: say which by its id ({ids})")
    return named[0].id if named else None
