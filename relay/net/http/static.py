"""The web client's files: read once at the start, compressed at the first request, served from memory."""

import base64
import hashlib
import re
import zlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError, HttpResponse

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
"""Media types by extension; files with other extensions are not served."""
COMPRESSED = {"css", "html", "js", "json", "svg", "txt", "webmanifest"}
FOREVER = b"public, max-age=31536000, immutable"
STAMP_CHARACTERS = 6
"""The shortest `?v=` that counts as a hash of the content."""

_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


class StaticFile(NamedTuple):
    """One file of the web client, in memory."""

    content: bytes
    digest: str
    kind: str

    @property
    def tag(self) -> bytes:
        """The entity tag; weak, because it covers compressed and plain bytes."""
        return b'W/"%s"' % self.digest[:16].encode()


def policy(index: bytes) -> str:
    """Return the Content-Security-Policy: allow this relay's files, and one inline script, the import map, by hash."""
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(found).digest()).decode()}'" for found in _IMPORT_MAP.findall(index)
    )
    return (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; "
        f"script-src 'self'{hashes}; connect-src 'self'; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'; require-trusted-types-for 'script'; "
        # The web client's only Trusted Types policy allows the address of its service worker.
        "trusted-types service-worker"
    )


class StaticFiles:
    """All files of the web client, by path."""

    def __init__(self, folder: Traversable | None = None) -> None:
        """Read all files, so that an upgrade on disk does not mix files of two versions."""
        self.files: dict[str, StaticFile] = {}
        self._compressed: dict[str, bytes] = {}
        self._read(folder or files("relay") / "web", "/")
        index = self.files.get("/index.html")
        self._policy = policy(index.content if index else b"").encode()

    def _read(self, folder: Traversable, path: str) -> None:
        if not folder.is_dir():
            return
        for entry in folder.iterdir():
            extension = entry.name.rpartition(".")[2]
            if entry.is_dir():
                self._read(entry, f"{path}{entry.name}/")
            elif extension in TYPES and not entry.name.startswith("."):
                content = entry.read_bytes()
                self.files[path + entry.name] = StaticFile(content, hashlib.sha256(content).hexdigest(), extension)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Return the response for a path.

        Raises:
            HttpError: there is no such file, or its stamp is another version's. A page that is still open after an
                upgrade must not mix its modules with newer ones: it asks to be reloaded.
        """
        path = "/index.html" if request.path == "/" else request.path
        page = self.files.get(path)
        if page is None:
            raise HttpError(404, "not_found", "there is nothing here; the chat is at /")
        stamps = [stamp for stamp in request.query.get("v", []) if len(stamp) >= STAMP_CHARACTERS]
        if stamps and not any(page.digest.startswith(stamp) for stamp in stamps):
            raise HttpError(404, "not_found", "this file is another version's; load the page again")
        headers = [
            (b"ETag", page.tag),
            (b"Cache-Control", FOREVER if stamps or path.startswith("/vendor/") else b"no-cache"),
            (b"Content-Security-Policy", self._policy),
        ]
        if page.kind in COMPRESSED:
            headers.append((b"Vary", b"Accept-Encoding"))
        if unchanged(request, page.tag):
            return HttpResponse(304, headers)
        headers.append((b"Content-Type", TYPES[page.kind].encode()))
        if page.kind in COMPRESSED and accepts_gzip(request.header(b"accept-encoding") or ""):
            return HttpResponse(200, [*headers, (b"Content-Encoding", b"gzip")], self._gzip(path, page))
        return HttpResponse(200, headers, page.content)

    def _gzip(self, path: str, page: StaticFile) -> bytes:
        compressed = self._compressed.get(path)
        if compressed is None:
            squeeze = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            compressed = self._compressed[path] = squeeze.compress(page.content) + squeeze.flush()
        return compressed


def unchanged(request: HttpRequest, tag: bytes) -> bool:
    """Return whether the client has this entity already (RFC 9110, section 13.1.2: weak comparison)."""
    known = request.headers.get(b"if-none-match")
    if known is None:
        return False
    strong = tag.removeprefix(b"W/")
    return known.strip() == b"*" or any(one.strip().removeprefix(b"W/") == strong for one in known.split(b","))


def accepts_gzip(accepted: str) -> bool:
    """Return whether a client accepts gzip (RFC 9110, section 12.5.3)."""
    for coding in accepted.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
