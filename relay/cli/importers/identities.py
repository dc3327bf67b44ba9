"""Matches the users and groups of a source with those here, before anything is imported.

A user or group that was imported before is recognised by its id in the source's system (`origins`), even if renamed. A
new one gets a readable id if no other has it or would get it, and otherwise one with a hash of the source's id, so that
ids never depend on the order of an export. If only a name suggests that two are the same, the admin decides.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, NoReturn

from relay.cli.importers.base import (
    NotUnderstood,
    Reference,
    SourceChat,
    SourceFile,
    SourceMessage,
    SourceUser,
    fit_id,
    fit_name,
    with_hash,
)
from relay.protocol import control


class Namesake(NamedTuple):
    """A user or group of the source who may or may not be the one here."""

    id: str
    """Their name in `--map`."""
    there: str
    """The name in the source."""
    here: str
    """The name of the user or group here."""
    here_id: str
    unique: bool
    """Whether nobody else, here or in the source, could be meant: only then does `--same` decide."""


class Identity(NamedTuple):
    """The match of a user or group of the source here."""

    key: str
    """Identifies them in the source."""
    id: str
    """Their id here."""
    label: str
    """Their name in `--map`."""
    wish: str
    """The id that they would have if it were free."""
    origins: tuple[str, ...]
    """The origins to note for them here."""
    new: bool = False
    """Whether they are not here yet."""
    known: bool = False
    """Whether they are here under one of their origins."""
    said: bool = False
    """Whether the admin said so."""
    fixed: bool = False
    """Whether their origins never change and are unique in that system."""
    refused: bool = False
    """Whether they have no match here, because the relay refuses to import them or the group was deleted."""
    doubt: Namesake | None = None
    """The question to the admin, unless it is answered."""

    @property
    def expected(self) -> control.Expected:
        """The expectation to send with the import; the relay refuses it if the id was taken meanwhile."""
        if self.known:
            return "known"
        return "new" if self.new or self.refused else "here"


Question = Callable[[str, tuple[str, ...], bool], Awaitable[control.ImportResult | None]]
"""Asks the relay what importing a user or group would do, by id, origins and whether the admin matched them; None if it
refuses."""


class Wanted(NamedTuple):
    """The common fields of users and groups of the source."""

    key: str
    """Identifies them in the source."""
    wish: str
    """The id that they get if it is free."""
    exact: bool
    """Whether the source itself uses this id."""
    name: str
    origins: tuple[str, ...]
    fixed: bool
    numbered: bool
    """Whether older relays numbered people who wanted the same id."""
    ask: Question


def wanted_user(user: SourceUser, ask: Question) -> Wanted:
    """Describe a user."""
    wish = fit_id(user.wish) if user.wish else user.id
    name = fit_name(user.name) or wish
    exact = wish == (user.wish or user.id)
    return Wanted(user.id, wish, exact, name, user.origins, user.fixed, bool(user.origins), ask)


def wanted_group(chat: SourceChat, ask: Question) -> Wanted:
    """Describe a group."""
    name = fit_name(chat.name) or chat.id
    return Wanted(chat.key, chat.id, True, name, chat.origins, False, False, ask)


async def identify(wanted: Sequence[Wanted], chosen: Mapping[str, str]) -> list[Identity]:
    """Match all users or groups, each once.

    Args:
        wanted: users, or groups.
        chosen: the admin's ids here, by the source's own id or by the id that they should get.

    Raises:
        NotUnderstood: an admin's choice contradicts known facts.
    """
    each = list({one.key: one for one in wanted}.values())
    wishes = Counter(one.wish for one in each)
    found = [await _identify(one, chosen, shared=wishes[one.wish] > 1) for one in each]
    return [await _asked_again(one, identity) for one, identity in zip(each, found, strict=True)]


async def _asked_again(one: Wanted, found: Identity) -> Identity:
    """Ask about an id and its origins, if the relay was asked only about others."""
    asked = found.doubt is None if found.said else found.id == found.wish
    if found.known or asked:
        return found
    answer = await one.ask(found.id, found.origins, found.said)
    refused = answer is None or answer.gone or answer.taken
    return found._replace(new=found.new if answer is None else answer.added, refused=refused)


async def _identify(one: Wanted, chosen: Mapping[str, str], *, shared: bool) -> Identity:
    wish = one.wish
    own = with_hash(wish, one.key)
    label = wish if not shared else one.key if one.numbered else own
    names = [one.key, own] if shared else [wish, one.key, own]
    here = next((chosen[name] for name in names if name in chosen), None)
    found = Identity(one.key, own if shared else wish, label, wish, one.origins, fixed=one.fixed)
    if here is not None:
        return await _as_chosen(one, found._replace(id=here))
    answer = await one.ask(wish, one.origins, False)
    if answer is None or answer.gone:
        return found._replace(refused=True)
    if answer.known:
        here = answer.id or wish
        sure = answer.namesake is None or (one.fixed and (answer.namesake == one.name or here in (wish, own)))
        doubt = None if sure else Namesake(label, one.name, answer.namesake or here, here, unique=True)
        return found._replace(id=here, known=True, doubt=doubt)
    if answer.added and not answer.taken:
        return found._replace(new=True)
    numbered = await _numbered(one) if one.numbered else None
    if answer.taken and numbered is None:
        return found._replace(id=own, new=True)
    if answer.namesake is None and not shared:
        return found
    # Nothing else is known of the user with this id. They may have come with an import by an older relay, which
    # numbered people who wanted the same id in the order of the export.
    alike = one.exact or answer.namesake == one.name
    unique = alike and not shared and numbered is None
    here_id, here = (wish, answer.namesake) if numbered is None or not answer.taken else numbered
    doubt = Namesake(label, one.name, here or here_id, here_id, unique)
    return found._replace(id=wish if unique else own, new=not unique, doubt=doubt)


async def _numbered(one: Wanted) -> tuple[str, str | None] | None:
    """Find the first user here whose id is the wanted one plus a number, and who has no known id in this system.

    Returns:
        Their id and name; None if there is none.
    """
    for number in count(2):
        user_id = f"{one.wish}-{number}"
        answer = await one.ask(user_id, one.origins, False)
        if answer is None or (answer.added and not answer.taken):
            break
        if not answer.taken:
            return user_id, answer.namesake
    return None


async def _as_chosen(one: Wanted, found: Identity) -> Identity:
    """Take the admin's choice, unless it contradicts an earlier import: all messages would come twice."""
    answer = await one.ask(found.id, one.origins, True)
    if answer is None or not answer.known or answer.id == found.id:
        new = answer is not None and answer.added
        refused = answer is None or answer.gone
        return found._replace(said=True, new=new, known=answer is not None and answer.known, refused=refused)
    doubt = Namesake(found.label, one.name, answer.namesake or "", answer.id or "", unique=True)
    found = found._replace(said=True, doubt=doubt)
    if answer.namesake is None or (one.fixed and answer.namesake == one.name):
        refuse(found)
    # Two of one system have the same id there, as in two workspaces: only the first one keeps it.
    return found._replace(origins=())


def refuse(one: Identity) -> NoReturn:
    """Refuse the admin's choice for a user who is already matched.

    Raises:
        NotUnderstood: always.
    """
    known = one.doubt.here_id if one.doubt is not None else one.id
    raise NotUnderstood(f"--map: {one.label} is {known} here since an earlier import, and not {one.id}")


def check(identities: Sequence[Identity], chosen: Mapping[str, str]) -> None:
    """Refuse two that would become one here, and choices that match nobody.

    Raises:
        NotUnderstood: there are such.
    """
    by_id: dict[str, Identity] = {}
    for one in identities:
        other = by_id.setdefault(one.id, one)
        if other.key != one.key:
            raise NotUnderstood(f"--map: {other.label} and {one.label} would both be {one.id}")
    names = {name for one in identities for name in (one.key, one.label, with_hash(one.wish, one.key))}
    unknown = set(chosen) - names
    if unknown:
        several = [one.label for one in identities if one.wish == min(unknown)]
        if several:
            raise NotUnderstood(f"--map: several in the export are called {min(unknown)}: {', '.join(several)}")
        raise NotUnderstood(f"--map: nobody in the export has the id {min(unknown)}")


class Mapped:
    """Replaces the ids of a source's users, wherever they occur, and of its groups."""

    def __init__(self, users: Mapping[str, str], groups: Mapping[str, str]) -> None:
        """Prepare the replacement.

        Args:
            users: ids here by ids in the source.
            groups: ids here by keys in the source.
        """
        self._users = users
        self._groups = groups

    def user(self, user: SourceUser) -> SourceUser:
        """Return a user with the id used here."""
        return user._replace(id=self._id(user.id), picture=self._picture(user.picture))

    def chat(self, chat: SourceChat) -> SourceChat:
        """Return a chat with the ids used here."""
        return chat._replace(
            id=self._groups.get(chat.key, chat.id),
            owner=None if chat.owner is None else self._id(chat.owner),
            founder=None if chat.founder is None else self._id(chat.founder),
            admins=[self._id(one) for one in chat.admins],
            participants=[self._id(one) for one in chat.participants],
            picture=self._picture(chat.picture),
        )

    def message(self, message: SourceMessage) -> SourceMessage:
        """Return a message with the ids used here, for its author and the people it refers to."""
        return message._replace(
            sender=self._id(message.sender),
            reply_to=self._reference(message.reply_to),
            original=self._reference(message.original),
            files=tuple(one._replace(sender=self._id(one.sender)) for one in message.files),
        )

    def _id(self, user_id: str) -> str:
        return self._users.get(user_id, user_id)

    def _reference(self, message: Reference | None) -> Reference | None:
        return None if message is None else (self._id(message[0]), message[1])

    def _picture(self, picture: SourceFile | None) -> SourceFile | None:
        return picture._replace(sender=self._id(picture.sender)) if picture is not None and picture.sender else picture
