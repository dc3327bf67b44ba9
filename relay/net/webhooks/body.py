"""The text of a body that is posted to a hook: charsets, forms, multipart, JSON.

It accepts the formats that senders really use, and refuses the rest with an explanation.
"""

import codecs
import encodings
import json
import math
from encodings.aliases import aliases
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from relay.net.http.response import HttpError
from relay.net.webhooks.parameters import Header, parse
from relay.net.webhooks.text import FIELDS, TEXTS, body_text
from relay.protocol.base import JsonValue, fit_filename
from relay.protocol.codec import whole_characters
from relay.unicode.unseen import is_blank

TEXT_CHARACTERS = 65_536
"""Characters of a message (`protocol.base.Text`)."""
NUMBER_DIGITS = 640
"""Digits that Python converts whatever its settings."""
_FORM = "application/x-www-form-urlencoded"
_BYTES = "application/octet-stream"
_WINDOWS = "cp1252"
"""The charset of old Windows programs that name none: Latin-1 and some more characters."""
_CHARSETS = ("utf", "iso8859", "latin_1", "cp125", "koi8", "gb", "big5", "shift_jis", "cp932", "euc", "iso2022")
"""Prefixes of Python's charset names, which distinguish them from its other codecs."""
_NAMES = {*aliases, *aliases.values(), "utf_8_sig", "koi8_t", "koi8_u"}
"""All names of charsets. Python is not asked for others, because it caches each unknown name."""


class _Part(NamedTuple):
    """One part of a multipart body."""

    name: str
    filename: str
    charset: str | None
    content: bytes


def extract_text(body: bytes, content_type: str, encoding: str = "") -> str:
    """Return the text of a body.

    Args:
        body: the bytes.
        content_type: the header `Content-Type`.
        encoding: the header `Content-Encoding`.

    Raises:
        HttpError: the type is not supported, or the body is malformed or has no text.
    """
    if encoding.strip().lower() not in ("", "identity"):
        raise HttpError(415, "bad_request", f"Content-Encoding: {encoding[:32]!r} is not taken, send the body as it is")
    header = parse(content_type)
    try:
        said = _decoded_body(body, _kind(header), header.get("charset"), header)
    except RecursionError:
        raise HttpError(400, "bad_request", "body: nested too deeply") from None
    return _clean(said)


def _kind(header: Header) -> str:
    """Return the media type; `text/plain` if it is malformed, empty if there is none."""
    if "/" not in header.value:
        return ""
    return header.value if header.value.count("/") == 1 else "text/plain"


def _decoded_body(body: bytes, kind: str, charset: str | None, header: Header) -> str:
    if kind == "multipart/form-data":
        return _multipart(body, (header.get("boundary") or "").rstrip())
    if kind in ("", _BYTES) and charset is None:
        return _json_or_text(_strictly(body) if kind else decoded(body, None))
    if kind == _FORM:
        return _form(decoded(body, charset), charset)
    if kind == "application/json" or kind.endswith("+json"):
        return body_text(_json(decoded(body, charset)))
    if kind.startswith("text/") or kind in ("", _BYTES):
        return _json_or_text(decoded(body, charset))
    raise HttpError(
        415,
        "bad_request",
        f"Content-Type: {kind!r} is not taken: send JSON, a form with JSON in `payload`, or plain text",
    )


def truncate(text: str) -> str:
    """Shorten a text that is too long for a message, and say so at its end."""
    if len(text) <= TEXT_CHARACTERS:
        return text
    mark = f"\n… (cut here: {len(text):,} characters came, a message holds {TEXT_CHARACTERS:,})"
    return text[: TEXT_CHARACTERS - len(mark)] + mark


def _clean(said: str) -> str:
    """Remove characters that no message may contain: NUL, with which some programs pad texts, and lone surrogates."""
    text = whole_characters(said.replace("\0", "").strip())
    if is_blank(text):
        raise HttpError(400, "bad_request", 'body: there is nothing in it: send {"text": "..."} or plain text')
    return text


# Characters.


def decoded(body: bytes, charset: str | None) -> str:
    """Decode a text by its charset; if none is given, as UTF-8 or, if that is not valid, Windows-1252.

    Raises:
        HttpError: the charset is unknown.
    """
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    codec = _codec(charset)
    if codec is None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = body.decode(_WINDOWS, "replace")
    else:
        # Do not lose the whole alert for one malformed character.
        text = body.decode(codec, "replace")
    return text.lstrip("\ufeff")


def _codec(charset: str | None) -> str | None:
    if charset is None:
        return None
    known = encodings.normalize_encoding(charset).lower()
    name = codecs.lookup(known).name if known in _NAMES else ""
    if name == "ascii":
        return None
    if not name.startswith(_CHARSETS):
        raise HttpError(415, "bad_request", f"Content-Type: the charset {charset[:32]!r} is not known here, send UTF-8")
    return _WINDOWS if name == "iso8859-1" else name


def _strictly(body: bytes) -> str:
    try:
        return body.decode().lstrip("\ufeff")
    except UnicodeDecodeError:
        raise HttpError(415, "bad_request", "body: this is not UTF-8: state its charset in Content-Type") from None


# Forms.


def _json(text: str) -> JsonValue:
    """Decode JSON. Line breaks within strings, which shell scripts leave there, are accepted.

    Raises:
        HttpError: it is malformed.
    """
    if not text.strip():
        raise HttpError(400, "bad_request", 'body: it is empty: send {"text": "..."} or plain text')
    try:
        decoded: JsonValue = json.loads(text, strict=False, parse_int=_whole_number, parse_float=_fraction)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise HttpError(400, "bad_request", f"body: JSON is malformed at {where}") from None
    return decoded


def _whole_number(digits: str) -> int | str:
    """Read a number; one that takes long to read stays as it is written, which is also how it is shown."""
    return digits if len(digits) > NUMBER_DIGITS else int(digits)


def _fraction(text: str) -> float | str:
    """Read a number; one that is too large for a float stays as it is written."""
    number = float(text)
    return number if math.isfinite(number) else text


def _json_or_text(text: str) -> str:
    """Treat a JSON object with a field of a message as a message, everything else as plain text.

    Raises:
        HttpError: the message has no text, or a value of the wrong type.
    """
    if text.lstrip()[:1] == "{":
        try:
            body = _json(text)
        except HttpError:
            return text
        if isinstance(body, dict) and body.keys() & FIELDS:
            return body_text(body)
    return text


def _form(text: str, charset: str | None) -> str:
    start = unquote_plus(text[:16]).lstrip()[:1]
    if start in ("{", "["):
        # `curl -d` calls everything a form.
        return _json_or_text(text if text.lstrip()[:1] == start else unquote_plus(text))
    fields: dict[str, JsonValue] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, encoding=_codec(charset) or "utf-8"):
        fields.setdefault(name, value)
    if "payload" in fields:
        try:
            return _payload(str(fields["payload"]))
        except HttpError:
            # `curl -d` escapes nothing: an & or a + within the JSON is literal.
            whole = text.partition("payload=")[2]
            return _payload(whole if whole.lstrip()[:1] == "{" else unquote_plus(whole))
    return body_text(fields) if fields.keys() & set(TEXTS) else text


def _payload(text: str) -> str:
    return body_text(_json(text)) if text.lstrip()[:1] in ("{", "[") else text


def _multipart(body: bytes, boundary: str) -> str:
    """Return the text of a multipart body, as `curl -F` sends it, with the names of omitted files."""
    if not boundary:
        raise HttpError(400, "bad_request", "Content-Type: the boundary of the parts is missing")
    fields: dict[str, JsonValue] = {}
    left = []
    for part in _parts(body, boundary.encode("latin-1", "replace")):
        if part.filename and part.name != "payload":
            left.append(f"(file: {fit_filename(part.filename)})")
        else:
            fields.setdefault(part.name, decoded(part.content, part.charset))
    if "payload" in fields:
        return "\n".join([_payload(str(fields["payload"])), *left])
    return "\n".join([body_text(fields), *left] if fields or not left else left)


def _parts(body: bytes, boundary: bytes) -> list[_Part]:
    line = b"\r\n" if b"\r\n" in body else b"\n"
    _, *pieces = (line + body).split(line + b"--" + boundary)
    parts = []
    for piece in pieces:
        if piece.startswith(b"--"):
            break
        head, _, content = piece.removeprefix(line).partition(line + line)
        says = dict(map(_header_line, reversed(head.decode("utf-8", "replace").splitlines())))
        about = parse(says.get("content-disposition", ""))
        charset = parse(says.get("content-type", "")).get("charset")
        parts.append(_Part(about.get("name") or "", about.get("filename") or "", charset, content))
    return parts


def _header_line(line: str) -> tuple[str, str]:
    """Split a header line of a part into its name, in lower case, and its value."""
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()
