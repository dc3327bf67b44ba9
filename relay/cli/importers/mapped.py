"""A source whose people have other ids here than there. No relay and no files."""

from collections.abc import Iterator, Mapping

from relay.cli.importers.base import Named, NotUnderstood, Source, SourceChat, SourceMessage, SourceUser


class MappedSource:
    """Another source, with the ids of some of its people replaced wherever they occur."""

    def __init__(self, source: Source, ids: Mapping[str, str]) -> None:
        """Wrap a source.

        Args:
            source: what is imported.
            ids: by id in the source, the id here.
        """
        self._source = source
        self._ids = ids
        self.left = source.left
        self.start = source.start

    def people(self) -> Iterator[SourceUser]:
        """See `Source`.

        Raises:
            NotUnderstood: the source has no such person, or two of its people would have one id.
        """
        unknown = set(self._ids)
        origins: dict[str, str] = {}
        for person in self._source.people():
            unknown.discard(person.id)
            user_id = self._id(person.id)
            if origins.setdefault(user_id, person.id) != person.id:
                raise NotUnderstood(f"--map: {origins[user_id]} and {person.id} would both be {user_id}")
            picture = person.picture
            if picture is not None and picture.sender:
                picture = picture._replace(sender=self._id(picture.sender))
            yield person._replace(id=user_id, picture=picture)
        if unknown:
            raise NotUnderstood(f"--map: nobody in the export has the id {min(unknown)}")

    def rooms(self) -> Iterator[SourceChat]:
        """See `Source`."""
        for room in self._source.rooms():
            picture = room.picture
            if picture is not None and picture.sender:
                picture = picture._replace(sender=self._id(picture.sender))
            yield room._replace(
                owner=None if room.owner is None else self._id(room.owner),
                founder=None if room.founder is None else self._id(room.founder),
                admins=[self._id(one) for one in room.admins],
                participants=[self._id(one) for one in room.participants],
                picture=picture,
            )

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        for message in self._source.messages():
            yield message._replace(
                sender=self._id(message.sender),
                answers=self._reference(message.answers),
                original=self._reference(message.original),
                files=tuple(one._replace(sender=self._id(one.sender)) for one in message.files),
            )

    def _id(self, user_id: str) -> str:
        return self._ids.get(user_id, user_id)

    def _reference(self, message: Named | None) -> Named | None:
        return None if message is None else (self._id(message[0]), message[1])
