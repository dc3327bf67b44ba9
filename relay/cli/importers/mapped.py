"""Users, chats and messages of a source with the ids that they get here. Knows neither the file system nor a relay."""

from collections.abc import Mapping

from relay.cli.importers.base import Reference, SourceChat, SourceFile, SourceMessage, SourceUser


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
        """Give a user as they are called here."""
        return user._replace(id=self._id(user.id), picture=self._picture(user.picture))

    def chat(self, chat: SourceChat) -> SourceChat:
        """Give a chat with its people as they are called here."""
        return chat._replace(
            id=self._groups.get(chat.key, chat.id),
            owner=None if chat.owner is None else self._id(chat.owner),
            founder=None if chat.founder is None else self._id(chat.founder),
            admins=[self._id(one) for one in chat.admins],
            participants=[self._id(one) for one in chat.participants],
            picture=self._picture(chat.picture),
        )

    def message(self, message: SourceMessage) -> SourceMessage:
        """Give a message with its author, and those whom it refers to, as they are called here."""
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
