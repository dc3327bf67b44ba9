"""Imports users, chats and pictures: finds those that are here already, and creates the others."""

from collections.abc import Mapping, Sequence

from relay.core.admin.importing.shared import find_chat, import_command
from relay.core.clock.clock import RelayClock
from relay.core.model.entities import SHARED_TYPES, Chat, User
from relay.core.model.state import State
from relay.core.rules import commands, import_members
from relay.core.rules.commands import ADMIN
from relay.core.service.ids import new_chat_id
from relay.core.submit import submit
from relay.keys import NO_CHAT, NO_USER, ChatKey, UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.log.log import Log


class PeopleImport:
    """Imports users and their chats."""

    def __init__(self, state: State, log: Log, clock: RelayClock) -> None:
        self._state = state
        self._log = log
        self._clock = clock

    async def import_user(self, record: control.UserImport) -> control.ImportResult:
        """Create a user, unless they are here: known by an origin, or else by the id."""
        state = self._state
        created_at = record.created_at or record.at
        key = next((state.user_origins[one] for one in record.origins if one in state.user_origins), None)
        known = state.user(record.id) if key is None else state.users[key]
        _check_expected(record, known, by_origin=key is not None)
        if known is not None:
            if key is None and not record.same and _are_others(known.origins, record.origins):
                return _taken(record.id, known.name, dry=record.dry)
            # Without the user's id in the other system, the export's date does not identify them.
            dated = record.created_at is not None or not record.origins or key is not None
            imported = dated and known.created_at == created_at
            # A picture that its user removed is empty, not None.
            without_picture = imported and known.photo_url is None and not known.removed
            if not record.dry:
                await self._note_origins(record.origins, state.user_origins, user=known.key)
            return control.ImportResult(
                added=False,
                id=known.id,
                known=key is not None,
                bare=without_picture,
                namesake=None if imported else known.name,
            )
        if record.id in self._state.group_keys:
            raise RelayError.conflict(f"the id {record.id!r} is a chat's here")
        if record.dry:
            return control.ImportResult(added=True, bare=not record.removed)
        request = commands.ImportUser(
            id=record.id,
            name=record.name,
            created_at=created_at,
            bot=record.bot,
            admin=record.admin,
            disabled=record.disabled,
            removed=record.removed,
            origins=_new(record.origins, state.user_origins),
        )
        await submit(self._log, import_command(self._clock, record.at, ADMIN, request))
        return control.ImportResult(added=True, bare=not record.removed)

    async def _note_origins(
        self, origins: Sequence[str], known: Mapping[str, int], user: UserKey = NO_USER, chat: ChatKey = NO_CHAT
    ) -> None:
        """Note the origins of a user or chat that is here already, except origins that belong to another one."""
        new = _new(origins, known)
        if new:
            request = commands.ImportOrigins(user=user, chat=chat, origins=new)
            await submit(self._log, import_command(self._clock, self._state.at, ADMIN, request))

    async def import_chat(self, record: control.ChatImport) -> control.ImportResult:
        """Create a chat. An existing one keeps its members; a deleted one is not created again."""
        state = self._state
        import_members.check_type(record.kind, len(set(record.participants)))
        origin = next((state.chat_origins[one] for one in record.origins if one in state.chat_origins), None)
        if origin is not None and state.chats[origin].gone:
            return control.ImportResult(added=False, gone=True, known=True)
        if origin is None and record.id in state.gone_ids and record.id not in state.group_keys:
            return control.ImportResult(added=False, gone=True)
        known = find_chat(self._state, record.id or "", record.participants) if origin is None else state.chats[origin]
        _check_expected(record, known, by_origin=origin is not None)
        if known is not None:
            if origin is None and not record.same and _are_others(known.origins, record.origins):
                return _taken(record.id or "", known.name, dry=record.dry)
            absent = [one for one in record.participants if not self._is_in(one, known)]
            # Compare only what the source states: a chat without a date may be the same.
            other = known.id is not None and record.created_at not in (None, known.created_at)
            if origin is None and record.origins and record.created_at is None:
                other = True
            if not record.dry:
                await self._note_origins(record.origins, state.chat_origins, chat=known.key)
            return control.ImportResult(
                added=False,
                id=known.id,
                known=origin is not None,
                absent=len(absent),
                namesake=(known.name or known.id) if other else None,
            )
        kept = self._check_chat(record)
        if record.dry:
            return control.ImportResult(added=True, kept=kept)
        generated_id = (record.id or new_chat_id()) if record.kind in SHARED_TYPES else ""
        request = commands.ImportChat(
            type=record.kind,
            name=record.name or "",
            owner=record.owner,
            founder=record.founder,
            admins=record.admins,
            participants=record.participants,
            created_at=record.created_at or record.at,
            keeper=record.keeper,
            photo_url=record.photo_url,
            origins=_new(record.origins, state.chat_origins),
        )
        made = await submit(self._log, import_command(self._clock, record.at, ADMIN, request, generated_id))
        return control.ImportResult(added=True, id=state.chats[made.chat].id, kept=kept)

    def _is_in(self, user_id: str, chat: Chat) -> bool:
        user = self._state.user(user_id)
        return user is None or user.removed or user.key in self._state.members[chat.key]

    def _check_chat(self, record: control.ChatImport) -> bool:
        """Refuse a chat before any of it is imported; return whether the user whom the admin named would own it."""
        state = self._state
        newcomers = {one.id: one for one in record.newcomers}

        def find(user_id: str) -> User | control.Newcomer | None:
            return state.user(user_id) or newcomers.get(user_id)

        people = import_members.find_participants(find, record.participants)
        if record.kind in SHARED_TYPES:
            chat_id = record.id or ""
            import_members.check_new_id(chat_id, taken=chat_id in state.user_keys or chat_id in newcomers)
        members = import_members.choose_members(record.kind, people)
        kept = import_members.find_keeper(find, record.kind, members, record.owner, record.keeper)
        if kept is None:
            import_members.choose_owner(members, record.owner, record.founder, record.admins)
        return kept is not None

    async def import_picture(self, record: control.PictureImport) -> control.Empty:
        """Set a user's picture to a file that is imported already."""
        request = control.ChangeUser(id=record.user, photo_url=record.url)
        await submit(self._log, import_command(self._clock, self._state.at, ADMIN, request))
        return control.Empty()


def _are_others(here: Sequence[str], there: Sequence[str]) -> bool:
    """Return whether both have an id from the same system, which proves that they are two people or chats."""
    return not _systems(here).isdisjoint(_systems(there))


def _systems(origins: Sequence[str]) -> set[str]:
    return {one.partition(":")[0] for one in origins}


def _new(origins: Sequence[str], known: Mapping[str, int]) -> tuple[str, ...]:
    """Select the origins that nobody here has."""
    return tuple(dict.fromkeys(one for one in origins if one not in known))


def _check_expected(
    record: control.UserImport | control.ChatImport, found: User | Chat | None, *, by_origin: bool
) -> None:
    """Refuse a user or chat that has changed since the client was told: the id was taken meanwhile.

    Raises:
        RelayError: `conflict`.
    """
    here = found is not None and found.id == record.id
    is_true = {"": True, "new": found is None, "here": here, "known": here and by_origin}
    if is_true[record.expected]:
        return
    if here:
        raise RelayError.conflict(f"the id {record.id!r} was taken during the import: import again")
    raise RelayError.conflict(f"{record.id!r} has changed since the import began: import again")


def _taken(id_: str, name: str, *, dry: bool) -> control.ImportResult:
    if not dry:
        raise RelayError.conflict(f"the id {id_!r} belongs to somebody else here")
    return control.ImportResult(added=True, taken=True, namesake=name)
