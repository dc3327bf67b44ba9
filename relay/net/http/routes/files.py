"""`/files`: uploads, and downloads with ranges and caching. Headers keep browsers from running file contents.

Access to files is decided in `relay.core.files.uploads`.
"""

import logging
import re
from functools import partial
from urllib.parse import quote, unquote

import trio

from relay.core.files.media_types import EXTENSIONS, UNKNOWN
from relay.core.files.uploads import Uploads
from relay.core.limits.rate_limit import RateLimit
from relay.net.http.caller import Caller
from relay.net.http.request import HttpRequest
from relay.net.http.response import FilePart, HttpError, HttpResponse, json_response
from relay.net.http.static import unchanged
from relay.protocol.errors import RelayError
from relay.store.contents import Condition, look, words
from relay.store.entry import StoredFile

logger = logging.getLogger(__name__)

SANDBOX = b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
"""The policy of files that a browser shows: nothing in them may run."""
PDF = b"default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""The policy of PDFs: browsers' viewers do not work in a sandbox, and keep a PDF's scripts to themselves."""

_EXTENDED = re.compile(r"filename\*\s*=\s*(?P<charset>[\w-]+)'[\w-]*'(?P<value>[^;\s]+)", re.IGNORECASE)
_QUOTED = re.compile(r'filename\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^;\s]+))', re.IGNORECASE)
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


class FilePages:
    """The handlers of `/files`."""

    def __init__(self, files: Uploads, limit: RateLimit) -> None:
        self._files = files
        self._limit = limit

    async def upload(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        """Store an upload; the body is the file itself.

        Raises:
            HttpError: the caller has not signed in, or sends a form.
            RelayError: see `Uploads.receive`; `rate_limited` also for too many requests.
        """
        user, device = caller.user, caller.device
        wait = self._limit.take(user, trio.current_time())
        if wait:
            raise RelayError.rate_limited(wait)
        if (request.header(b"content-type") or "").lower().startswith("multipart/"):
            raise HttpError(415, "bad_request", "send the file itself as the body, not a form")
        if (request.header(b"content-encoding") or "identity").strip().lower() != "identity":
            # It would be stored as it is, and later downloaded without this header, as a broken file.
            raise HttpError(415, "bad_request", "send the file itself, without a Content-Encoding")
        name = file_name(request.header(b"content-disposition") or "")
        added = await self._files.receive(user, device, name, request.content_length, request.piece)
        return json_response(added)

    async def download(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        """Return a file, or a range of it.

        Raises:
            HttpError: 404, the file's content is lost, which is logged; 416, the range is beyond its end.
            RelayError: `not_found`, there is no such file for this user.
        """
        file = await self._files.find(caller.user, request.path.removeprefix("/files/"))
        path = self._files.contents.path(file.digest)
        verdict = look(path, file.size)
        if verdict.condition is not Condition.WHOLE:
            logger.warning("a file cannot be downloaded: %s %s", path, words(verdict))
            raise HttpError(404, "not_found", "this file is lost: its content is not in the relay's data directory")
        tag = b'"%s"' % file.digest.encode()
        # Browsers revalidate it each time, so that it is gone for users who left the chat, and once its message is
        # deleted.
        headers = [(b"ETag", tag), (b"Cache-Control", b"private, no-cache"), (b"Vary", b"Cookie, Authorization")]
        if unchanged(request, tag):
            return HttpResponse(304, headers)
        headers += [(b"Accept-Ranges", b"bytes"), *safe_headers(file)]
        allowed = partial(self._files.downloads.while_readable, caller.user, caller.device, file)
        whole = FilePart(str(path), 0, file.size, allowed)
        # Ranges are for GET only (RFC 9110, section 14.2).
        if request.method != "GET" or request.headers.get(b"if-range", tag) != tag:
            return HttpResponse(200, headers, whole)
        wanted = byte_range(request.header(b"range"), file.size)
        if wanted is None:
            return HttpResponse(200, headers, whole)
        start, end = wanted
        if start >= end:
            unmet = (b"Content-Range", b"bytes */%d" % file.size)
            raise HttpError(416, "bad_request", f"range: the file has {file.size} bytes", unmet)
        headers.append((b"Content-Range", b"bytes %d-%d/%d" % (start, end - 1, file.size)))
        return HttpResponse(206, headers, FilePart(str(path), start, end - start, allowed))


def safe_headers(file: StoredFile) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a browser show a file of a safe type, and save any other.

    Returns:
        Names and values.
    """
    shown = file.mimetype in EXTENSIONS
    ascii_name = re.sub(r"[^ !#-\[\]-~]", "_", file.name)
    names = f"filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file.name, safe='')}"
    disposition = f"{'inline' if shown else 'attachment'}; {names}"
    return [
        (b"Content-Type", (file.mimetype if shown else UNKNOWN).encode()),
        (b"Content-Disposition", disposition.encode()),
        (b"Content-Security-Policy", PDF if file.mimetype == "application/pdf" else SANDBOX),
    ]


def file_name(disposition: str) -> str:
    """Return the file name in a `Content-Disposition` (RFC 6266); empty without one."""
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        charset = extended["charset"].lower()
        if charset in ("utf-8", "iso-8859-1"):
            return unquote(extended["value"], encoding=charset, errors="replace")
    plain = _QUOTED.search(disposition)
    if plain is None:
        return ""
    if plain["token"] is not None:
        return plain["token"]
    # Some clients put UTF-8 here, though it should be Latin-1.
    text = re.sub(r"\\(.)", r"\1", plain["quoted"])
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Parse a `Range` (RFC 9110, section 14).

    Returns:
        The first byte and the one after the last; None for the whole file, also if the header is malformed or names
        several ranges. A range that cannot be satisfied is empty: its start is not before its end.
    """
    found = None if header is None else _RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    start = int(found[1])
    end = min(size, int(found[2]) + 1) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None
    return min(start, size), max(end, min(start, size))
