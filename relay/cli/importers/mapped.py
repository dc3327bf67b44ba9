"""A source whose users get other ids here. Knows neither the file system nor a relay."""

from collections.abc import Iterator, Mapping

from relay.cli.importers.base import NotUnderstood, Reference, Source, SourceChat, SourceMessage, SourceUser


class MappedSource:
    """Another source, with the ids of some of its users replaced wherever they occur."""

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

    def users(self) -> Iterator[SourceUser]:
        """See `Source`.

        Raises:
            NotUnderstood: the source has no such user, or two of its users would have the same id.
        """
        unknown = set(self._ids)
        origins: dict[str, str] = {}
        for user in self._source.users():
            unknown.discard(user.id)
            user_id = self._id(user.id)
            if origins.setdefault(user_id, user.id) != user.id:
                raise NotUnderstood(f"--map: {origins[user_id]} and {user.id} would both be {user_id}")
            picture = user.picture
            if picture is not None and picture.sender:
                picture = picture._replace(sender=self._id(picture.sender))
            yield user._replace(id=user_id, picture=picture)
        if unknown:
            raise NotUnderstood(f"--map: nobody in the export has the id {min(unknown)}")

    def chats(self) -> Iterator[SourceChat]:
        """See `Source`."""
        for chat in self._source.chats():
            picture = chat.picture
            if picture is not None and picture.sender:
                picture = picture._replace(sender=self._id(picture.sender))
            yield chat._replace(
                owner=None if chat.owner is None else self._id(chat.owner),
                founder=None if chat.founder is None else self._id(chat.founder),
                admins=[self._id(one) for one in chat.admins],
                participants=[self._id(one) for one in chat.participants],
                picture=picture,
            )

    def messages(self) -> Iterator[SourceMessage]:
        """See `Source`."""
        for message in self._source.messages():
            yield message._replace(
                sender=self._id(message.sender),
                reply_to=self._reference(message.reply_to),
                original=self._reference(message.original),
                files=tuple(one._replace(sender=self._id(one.sender)) for one in message.files),
            )

    def _id(self, user_id: str) -> str:
        return self._ids.get(user_id, user_id)

    def _reference(self, message: Reference | None) -> Reference | None:
        return None if message is None else (self._id(message[0]), message[1])
