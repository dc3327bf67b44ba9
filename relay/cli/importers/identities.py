"""Finds out who the users and groups of a source are here, before anything is imported.

A user or group that was imported before is recognised by its id in the source's system (`origins`), even if renamed. A
new one gets a readable id if no other has it or would get it, and otherwise one with a hash of the source's id: never
one that depends on the order of an export. Where only a name suggests that two are the same, the admin decides.
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
    """A user or group of the source who may be one here, or another one."""

    id: str
    """What `--map` calls them."""
    there: str
    """The name in the source."""
    here: str
    """The name of the user or group here."""
    here_id: str
    unique: bool
    """Whether no other, here or in the source, could be meant as well: `--same` decides only then."""


class Identity(NamedTuple):
    """Who a user or group of the source is here."""

    key: str
    """Identifies them in the source."""
    id: str
    """Their id here."""
    label: str
    """What `--map` calls them."""
    wish: str
    """The id that they would have if it were free."""
    origins: tuple[str, ...]
    """What is noted of them here."""
    new: bool = False
    """Whether they are not here yet."""
    known: bool = False
    """Whether they are here under one of their origins."""
    said: bool = False
    """Whether the admin said so."""
    fixed: bool = False
    """Whether their origins never change and are unique in that system."""
    refused: bool = False
    """Whether the relay refuses to import them, or the group was deleted here: they have no match here."""
    doubt: Namesake | None = None
    """What the admin is asked, unless they said it."""

    @property
    def expected(self) -> control.Expected:
        """What the import itself expects of the relay, which refuses it if the id was taken meanwhile."""
        if self.known:
            return "known"
        return "new" if self.new or self.refused else "here"


Question = Callable[[str, tuple[str, ...], bool], Awaitable[control.ImportResult | None]]
"""Asks the relay what importing a user or group would do, by id, origins and whether the admin said who they are;
None if it refuses."""


class Wanted(NamedTuple):
    """A user or group of the source, in what both have in common."""

    key: str
    """Identifies them in the source."""
    wish: str
    """The id that they get if it is free."""
    exact: bool
    """Whether the source itself calls them so."""
    name: str
    origins: tuple[str, ...]
    fixed: bool
    numbered: bool
    """Whether older relays numbered those who wished for the same id."""
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
    """Find out who everybody is here; each once.

    Args:
        wanted: users, or groups.
        chosen: the ids here that the admin says, by what the source calls each: by its own id, or by the id that
            they should get.

    Raises:
        NotUnderstood: an admin's choice contradicts what is known.
    """
    each = list({one.key: one for one in wanted}.values())
    wishes = Counter(one.wish for one in each)
    found = [await _identify(one, chosen, shared=wishes[one.wish] > 1) for one in each]
    return [await _asked_again(one, identity) for one, identity in zip(each, found, strict=True)]


async def _asked_again(one: Wanted, found: Identity) -> Identity:
    """Ask about an id and its origins, where the relay was asked only about others."""
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
    # Of the user with this id nothing else is known: they may have come with an import of an older relay, which
    # numbered those who wished for the same id in the order of the export.
    alike = one.exact or answer.namesake == one.name
    unique = alike and not shared and numbered is None
    here_id, here = (wish, answer.namesake) if numbered is None or not answer.taken else numbered
    doubt = Namesake(label, one.name, here or here_id, here_id, unique)
    return found._replace(id=wish if unique else own, new=not unique, doubt=doubt)


async def _numbered(one: Wanted) -> tuple[str, str | None] | None:
    """Find the first user here with a number behind the wished id of whom no id of this system is known.

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
    """Take what the admin says, unless an earlier import knows better: all messages would come twice."""
    answer = await one.ask(found.id, one.origins, True)
    if answer is None or not answer.known or answer.id == found.id:
        new = answer is not None and answer.added
        refused = answer is None or answer.gone
        return found._replace(said=True, new=new, known=answer is not None and answer.known, refused=refused)
    doubt = Namesake(found.label, one.name, answer.namesake or "", answer.id or "", unique=True)
    found = found._replace(said=True, doubt=doubt)
    if answer.namesake is None or (one.fixed and answer.namesake == one.name):
        refuse(found)
    # Two of one system have the same id there, as in two workspaces: only the first one is known by it.
    return found._replace(origins=())


def refuse(one: Identity) -> NoReturn:
    """Refuse what the admin says of a user who is known.

    Raises:
        NotUnderstood: always.
    """
    known = one.doubt.here_id if one.doubt is not None else one.id
    raise NotUnderstood(f"--map: {one.label} is {known} here since an earlier import, and not {one.id}")


def check(identities: Sequence[Identity], chosen: Mapping[str, str]) -> None:
    """Refuse two that would be one here, and choices that match none.

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
        """Take the ids here.

        Args:
            users: the id here of a user, by the id in the source.
            groups: the id here of a group, by its key in the source.
        """
        self._users = users
        self._groups = groups

    def user(self, user: SourceUser) -> SourceUser:
        """Return a user as they are called here."""
        return user._replace(id=self._id(user.id), picture=self._picture(user.picture))

    def chat(self, chat: SourceChat) -> SourceChat:
        """Return a chat with its people as they are called here."""
        return chat._replace(
            id=self._groups.get(chat.key, chat.id),
            owner=None if chat.owner is None else self._id(chat.owner),
            founder=None if chat.founder is None else self._id(chat.founder),
            admins=[self._id(one) for one in chat.admins],
            participants=[self._id(one) for one in chat.participants],
            picture=self._picture(chat.picture),
        )

    def message(self, message: SourceMessage) -> SourceMessage:
        """Return a message with its author, and those whom it refers to, as they are called here."""
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
