"""Debian's copyright file for a bundled tree: each library with its own licence, word for word.

Reads the libraries' metadata in the tree; knows only Debian's names and spellings.
"""

import json
import re
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

FOLDER = "usr/lib/chat-relay"
OWN_TEXT = (Path(__file__).parent / "LICENSE").read_text("utf-8").split("\n\n", 2)[2]
APACHE = """\
On Debian systems the full text of the Apache License, Version 2.0 is in /usr/share/common-licenses/Apache-2.0.
"""
NAMES = {
    "MIT": "Expat",
    "MIT License": "Expat",
    "Apache 2.0": "Apache-2.0",
    "ISC License": "ISC",
    "PSF-2.0": "Python-2.0",
}
"""Debian's names for licences with other names elsewhere."""


class Undeclared(Exception):
    """A bundled library does not state its licence."""


class Part(NamedTuple):
    """One library."""

    files: list[str]
    licence: str
    holders: list[str]
    text: str


UNICODE = ["relay/unicode/tables.py", "relay/web/model/looks.js"]
"""Files with Unicode data."""


def copyright_file(tree: Path) -> str:
    """Write the file for a tree as `bundle.tree` makes it.

    Raises:
        Undeclared: a library has no licence or no text of it.
    """
    own = Part(["*"], "Expat", ["2026 the chat-relay authors"], OWN_TEXT)
    unicode_text = (Path(__file__).parent / "unicode.LICENSE.txt").read_text("utf-8")
    data = Part([f"{FOLDER}/{one}" for one in UNICODE], "Unicode-3.0", ["1991-2025 Unicode, Inc."], unicode_text)
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: chat-relay\n"
    return "\n".join((head, *map(_paragraph, (own, data, *_libraries(tree), *_web(tree / "relay/web/vendor")))))


def _libraries(tree: Path) -> Iterator[Part]:
    for info in sorted(tree.glob("*.dist-info")):
        said = HeaderParser().parsestr((info / "METADATA").read_text())
        name = said["Name"]
        if name == "chat-relay":
            continue
        classified = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier", []) if one.startswith("License")]
        licence = said["License-Expression"] or said["License"] or " OR ".join(classified)
        texts = sorted(path for path in info.rglob("*") if re.match("(?i)(licen[cs]e|copying|notice)", path.name))
        folders = (info / "top_level.txt").read_text().split()
        yield _part(
            name,
            [f"{FOLDER}/{one}" for one in folders],
            licence,
            (path.read_text() for path in texts if path.is_file()),
        )


def _web(vendor: Path) -> Iterator[Part]:
    for package in json.loads((vendor / "packages.json").read_text()):
        names = [file["to"] for file in package["files"]]
        texts = (vendor / name for name in names if "LICENSE" in name)
        files = [f"{FOLDER}/relay/web/vendor/{name}" for name in names if "LICENSE" not in name]
        yield _part(package["name"], files, package["licence"], (path.read_text() for path in texts))


def _part(name: str, files: list[str], licence: str, texts: Iterable[str]) -> Part:
    whole = list(texts)
    if not licence or not whole:
        raise Undeclared(f"{name} does not say under which licence it comes: look it up before it is given to people")
    # For a licence that comes with the system, only a pointer and the holders' names are included.
    text = "\n".join(APACHE if "Apache License" in one and len(one) > 5_000 else one for one in whole)
    holders = [
        found.strip(" .")
        for found in re.findall(r"(?im)^\W*(?:copyright|\(c\))\s+(?:\(c\)|©)?\s*(.*\d{4}.*|.+)$", text)
    ]
    words = re.sub("(?i) -or- ", " OR ", licence)
    parts = [
        NAMES.get(one, one.replace("Apache License 2.0", "Apache-2.0").replace("-Clause", "-clause"))
        for one in re.split(" (?:OR|AND) ", words)
    ]
    joint = " and " if " AND " in words else " or "
    return Part(files, joint.join(dict.fromkeys(parts)), list(dict.fromkeys(holders)) or [f"the {name} authors"], text)


def _paragraph(part: Part) -> str:
    text = "".join(f" {line.rstrip() or '.'}\n" for line in part.text.strip().splitlines())
    files, holders = "\n ".join(part.files), "\n ".join(part.holders)
    return f"Files: {files}\nCopyright: {holders}\nLicense: {part.licence}\n{text}"
