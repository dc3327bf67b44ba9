"""Translates the relay's refusals from the wire's fields and types to the words of the command line."""

import re

FIELDS = {
    "actor": "--by",
    "chatId": "chat",
    "count": "--count",
    "days": "--days",
    "deviceId": "device",
    "label": "--label",
    "maxBytes": "--max-bytes",
    "message": "text",
    "owner": "--owner",
    "participants": "user",
    "signOut": "--sign-out",
    "url": "--to",
    "userId": "user",
}
"""The wire's field names and their names on the command line. Others have the same name on both."""

_FIELD = re.compile(r"^(?:payload\.)?(?P<name>\w+)(?:\[[^\]]*\])*(?=: )")
_KINDS = {
    re.compile(r"`str` of length >= 1\b"): "a text that is not empty",
    re.compile(r"`str` of length <= (\d+)"): r"at most \1 characters",
    re.compile(r"`array` of length <= (\d+)"): r"at most \1 of them",
    re.compile(r"`int` >= (-?\d+)"): r"a whole number, \1 or more",
    re.compile(r"`int` <= (-?\d+)"): r"a whole number, at most \1",
}


def for_people(message: str) -> str:
    """Translate an error's message.

    Args:
        message: as on the wire; it may begin with the path of a field.
    """
    for kind, words in _KINDS.items():
        message = kind.sub(words, message)
    return _FIELD.sub(lambda found: FIELDS.get(found["name"], found["name"]), message)
