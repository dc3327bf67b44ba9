"""A source whose users and groups get other ids here. Knows neither the file system nor a relay."""

from collections.abc import Iterator, Mapping

from relay.cli.importers.base import NotUnderstood, Reference, Source, SourceChat, SourceMessage, SourceUser


class MappedSource:
    """Another source, with the ids of some of its users and groups replaced wherever they occur."""

    def __init__(self, source: Source, ids: Mapping[str, str]) -> None:
        """Wrap a source.

        Args:
            source: the other source.
            ids: the id here, by the id in the source.
        """
        self._source = source
        self._ids = ids
        self.left = source.left
        self.start = source.start
        self._origins: dict[str, str] = {}
        """By id here, the id in the source: users and groups share one namespace."""

    def users(self) -> Iterator[SourceUser]:
        """See `Source`.

        Raises:
            NotUnderstood: two users would have the same id.
        """
        for user in self._source.users():
            user_id = self._new_id(user.id)
            picture = user.picture
            if picture is not None and picture.sender:
                picture = picture._replace(sender=self._id(picture.sender))
            yield user._replace(id=user_id, picture=picture)

    def chats(self) -> Iterator[SourceChat]:
        """See `Source`; after `users`.

        Raises:
            NotUnderstood: a group would have the id of another one or of a user, or an id to replace does not occur.
        """
        for chat in self._source.chats():
            picture = chat.picture
            if picture is not None and picture.sender:
                picture = picture._replace(sender=self._id(picture.sender))
            yield chat._replace(
                id=self._new_id(chat.id) if chat.id else "",
                owner=None if chat.owner is None else self._id(chat.owner),
                founder=None if chat.founder is None else self._id(chat.founder),
                admins=[self._id(one) for one in chat.admins],
                participants=[self._id(one) for one in chat.participants],
                picture=picture,
            )

        unknown = set(self._ids) - set(self._origins.values())
        if unknown:
            raise NotUnderstood(f"--map: nobody in the export has the id {min(unknown)}")

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        for message in self._source.messages():
            yield message._replace(
                sender=self._id(message.sender),
                reply_to=self._reference(message.reply_to),
                original=self._reference(message.original),
                files=tuple(one._replace(sender=self._id(one.sender)) for one in message.files),
            )

    def _new_id(self, source_id: str) -> str:
        """Give the id here of a user or group, which no other one may have."""
        new_id = self._id(source_id)
        origin = self._origins.setdefault(new_id, source_id)
        if origin != source_id:
            raise NotUnderstood(f"--map: {origin} and {source_id} would both be {new_id}")
        return new_id

    def _id(self, user_id: str) -> str:
        return self._ids.get(user_id, user_id)

    def _reference(self, message: Reference | None) -> Reference | None:
        return None if message is None else (self._id(message[0]), message[1])
