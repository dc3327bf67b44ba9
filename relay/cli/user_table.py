"""The table of users that `relay user import` reads: CSV with any separator, with or without headings."""

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from relay.cli.importers.names import as_utf8
from relay.cli.output import Failure
from relay.protocol import control

ID_HEADINGS = frozenset({"user", "userid", "username", "login"})
"""Headings that mean the same as `id`, in lower case without spaces and punctuation."""
NAME_HEADINGS = frozenset({"name", "fullname", "displayname", "realname"})
"""Headings of the name that people see."""
OTHER_HEADINGS = frozenset({
    "email", "emailaddress", "mail", "firstname", "givenname", "lastname", "familyname", "surname", "nickname",
    "uid", "uuid", "nr", "no", "number", "employeeid", "department", "team", "title", "role", "status", "phone",
})  # fmt: skip
"""Headings of columns to ignore."""


def _cells(text: str, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a CSV table, each with the number of its first line."""
    # Excel's separator depends on the country: take the one after the first cell.
    between = re.match(r"""\s*(?:"[^"]*" *|[^,;\t\r\n"]*)([,;\t])""", text)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=between[1] if between else ",", strict=True)
    begun = 1
    try:
        for row in rows:
            yield begun, row
            begun = rows.line_num + 1
    except csv.Error as error:
        if "limit" in str(error):
            raise Failure(f"{file} is not a table of ids and names: a cell in line {begun} is too long") from None
        raise Failure(
            f"{file}, line {begun}: its quotation marks do not add up: close each, and double those inside"
        ) from None


def read_users(file: Path) -> list[tuple[str, str | None]]:
    """Read all ids and names before anything is changed.

    Args:
        file: the table; `-` is standard input.

    Returns:
        Id and name of each; None for no name.

    Raises:
        Failure: a row is not valid, with its line, or the file has no rows.
    """
    try:
        text = sys.stdin.read().lstrip("\ufeff") if str(file) == "-" else as_utf8(file.read_bytes())[0].decode()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror or error}") from None
    rows: list[tuple[str, str | None]] = []
    columns: tuple[int, int | None] | None = None
    for number, row in _cells(text, file):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if columns is None:
            headings = [re.sub(r"[\W_]", "", cell).lower() for cell in cells]
            columns = 0, 1
            if _are_headings(headings):
                columns = _columns(headings, f"{file}, line {number}")
                continue
        user_id, name = (cells[at] if at is not None and at < len(cells) else "" for at in columns)
        try:
            msgspec.convert({"id": user_id, "name": name or None}, control.AddUser)
        except msgspec.ValidationError:
            raise Failure(
                f"{file}, line {number}: {user_id[:64]!r} must be an id of 1 to 64 of A-Z a-z 0-9 _ . -,"
                " with a comma and a name of at most 128 characters behind it"
            ) from None
        rows.append((user_id, name or None))
    if not rows:
        raise Failure(f"{file} has no rows: each row is an id, with a comma and a name after it if there is one")
    return rows


def _are_headings(headings: list[str]) -> bool:
    """Return whether the first row may be headings instead of a user."""
    return not {"id", *ID_HEADINGS, *NAME_HEADINGS, *OTHER_HEADINGS}.isdisjoint(headings)


def _columns(headings: list[str], where: str) -> tuple[int, int | None]:
    """Find the columns of the ids and of the names; the latter may be missing.

    Raises:
        Failure: they are not certain. A heading must never become a user, nor a user a heading.
    """
    known = {"id", *ID_HEADINGS, *NAME_HEADINGS, *OTHER_HEADINGS}
    ids = [at for at, heading in enumerate(headings) if heading == "id"]
    ids = ids or [at for at, heading in enumerate(headings) if heading in ID_HEADINGS]
    certain = "id" in headings or known.issuperset(headings) or not NAME_HEADINGS.isdisjoint(headings)
    if len(ids) != 1 or not certain:
        raise Failure(
            f"{where}: this row looks like headings, but does not say for certain which column has the ids:"
            " call the columns id,name (and put such a row above, if this one is a user)"
        )
    names = [at for at, heading in enumerate(headings) if heading in NAME_HEADINGS]
    others = [at for at, heading in enumerate(headings) if at != ids[0] and heading not in OTHER_HEADINGS]
    return ids[0], next(iter([*names, *others]), None)
