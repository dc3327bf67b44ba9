"""Headers with parameters, as Content-Type and Content-Disposition have them (RFC 9110, section 5.6.6; RFC 8187). Pure.

Reads each character a few times at most: Python's `email` takes minutes for some that are as long as a body may be.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

# Possessive, so that what opens and never closes is looked at once.
_PARAMETER = re.compile(r';\s*+([^\s=;]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')


class Header(NamedTuple):
    """A header's value, and what it says of it."""

    value: str
    """In lower case."""
    parameters: dict[str, str]
    """By names in lower case; of several of one name the first."""

    def get(self, name: str) -> str | None:
        """Give a parameter: as RFC 8187 writes it (`name*=`) before all others."""
        return self.parameters.get(f"{name}*", self.parameters.get(name))


def parse(text: str) -> Header:
    """Take a header's value apart; what is malformed in it is left out."""
    value, semicolon, rest = text.partition(";")
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(semicolon + rest):
        said = _ESCAPED.sub(r"\1", quoted) or plain.strip()
        parameters.setdefault(name.lower(), _decoded(said) if name.endswith("*") else said)
    return Header(value.strip().lower(), parameters)


def _decoded(text: str) -> str:
    """Decode what RFC 8187 writes as `charset'language'text`; what is written otherwise stays."""
    charset, _, rest = text.partition("'")
    _, quote, encoded = rest.partition("'")
    return unquote(encoded, "latin-1" if charset.lower() == "iso-8859-1" else "utf-8") if quote else text
