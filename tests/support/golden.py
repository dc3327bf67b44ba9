"""The frames in `tests/golden`, by name."""

from pathlib import Path

GOLDEN = {
    path.stem: path.read_bytes().removesuffix(b"\n")
    for path in (Path(__file__).parent.parent / "golden").glob("*.json")
}
