"""Headers with parameters, such as Content-Type and Content-Disposition (RFC 9110, section 5.6.6; RFC 8187). Pure.

Own code that reads each character at most a few times: Python's `email` takes minutes for some headers as long as a
body may be (`test_hook_formats.py`: every body is parsed quickly).
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

# Possessive quantifiers: a quote that is never closed is scanned once.
_PARAMETER = re.compile(r';\s*+([^\s=;]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')


class Header(NamedTuple):
    """A header's value and its parameters."""

    value: str
    """In lower case."""
    parameters: dict[str, str]
    """By name in lower case; the first of several of one name."""

    def get(self, name: str) -> str | None:
        """Return a parameter, preferring its extended form (`name*=`, RFC 8187)."""
        return self.parameters.get(f"{name}*", self.parameters.get(name))


def parse(text: str) -> Header:
    """Parse a header's value; malformed parameters are skipped."""
    value, semicolon, rest = text.partition(";")
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(semicolon + rest):
        said = _ESCAPED.sub(r"\1", quoted) or plain.strip()
        parameters.setdefault(name.lower(), _decoded(said) if name.endswith("*") else said)
    return Header(value.strip().lower(), parameters)


def _decoded(text: str) -> str:
    """Decode an extended value (`charset'language'text`, RFC 8187); anything else is returned as it is."""
    charset, _, rest = text.partition("'")
    _, quote, encoded = rest.partition("'")
    return unquote(encoded, "latin-1" if charset.lower() == "iso-8859-1" else "utf-8") if quote else text
