"""PROTOCOL.md names every field of every object, event and request, and says which fields of a request are optional."""

import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from relay.protocol import envelopes, events, objects, requests

CONTRACT = (Path(requests.__file__).parent / "PROTOCOL.md").read_text("utf-8")
ROWS = {
    name: line
    for line in CONTRACT.splitlines()
    if line.startswith("| `")
    for name in re.findall(r"`(\w+)`", line.split("|")[1])
}
"""Lines of the table of requests."""


def fields(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """Return the names of a Struct's fields on the wire, and whether each is required."""
    return {field.encode_name: field.required for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("module", [envelopes, events, objects, requests], ids=lambda module: str(module.__name__))
def test_contract_names_every_field(module: ModuleType) -> None:
    words = set(re.findall(r"\w+", CONTRACT))
    kinds = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    assert kinds
    for kind in kinds:
        assert fields(kind).keys() - words == set(), kind


ACCEPTED = {("delete", "originalMessageId"), ("delete", "messageId")}
"""Either of the two is required."""


@pytest.mark.parametrize("name", requests.REQUESTS)
def test_row_of_a_request_names_its_fields_and_which_are_optional(name: str) -> None:
    payload = ROWS[name].replace(r"\|", "").split("|")[2]
    for field, required in fields(requests.REQUESTS[name].payload).items():
        assert f"`{field}`" in payload, f"{name} does not name {field}"
        if (name, field) not in ACCEPTED:
            assert (f"`{field}`?" in payload) is not required, f"{name}: {field}"


CLOSE_CODE = re.compile(r"^_?([A-Z][A-Z0-9_]+) = ((?:10|44)\d\d)$", re.MULTILINE)


def test_contract_names_every_code_that_closes_a_connection() -> None:
    line = next(line for line in CONTRACT.splitlines() if line.startswith("- Close codes: "))
    named = {int(code) for code in re.findall(r"\b(?:1\d|44)\d\d\b", line)}
    used = {
        int(code)
        for room in ("core/delivery", "net/websocket")
        for path in Path(requests.__file__).parents[1].glob(f"{room}/*.py")
        for name, code in CLOSE_CODE.findall(path.read_text("utf-8"))
        if name != "NO_CODE"
    }
    assert len(used) > 8
    assert used - named == set()
    # 1001 is reserved.
    assert named - used == {1001}
