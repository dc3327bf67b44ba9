"""The documents of the repository name only paths, links and tests that exist."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAPERS = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "relay/**/*.md", "packaging/**/*.md", "tests/**/*.md")
    for path in TOP.glob(pattern)
)
ROOTS = [TOP, TOP / "relay", TOP / "relay/core", TOP / "relay/web", TOP / "tests"]
"""The folders that paths in documents start from, besides the document's own."""
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|js|mjs|css|md|txt|toml|sh))`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
TEST = re.compile(r"`(test_\w+)`")
OUTSIDE = re.compile(rf"(?<![\w.-]){re.escape(str(TOP))}/|\b(?:house|design|web)\.md\b")
"""References to files outside the repository: the place of this copy, and papers that the design came from."""


def ids(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.mark.parametrize("paper", PAPERS, ids=ids)
def test_document_names_only_files_that_exist(paper: Path) -> None:
    text = paper.read_text("utf-8")
    named = {*PATH.findall(text), *LINK.findall(text)}
    assert [one for one in sorted(named) if not any((root / one).exists() for root in (paper.parent, *ROOTS))] == []


def test_document_names_only_tests_that_exist() -> None:
    there = {path.stem for path in TOP.glob("tests/**/*.py")}
    for path in TOP.glob("tests/**/test_*.py"):
        there.update(re.findall(r"def (test_\w+)", path.read_text("utf-8")))
    for paper in PAPERS:
        # CONTRIBUTING shows how to improve a name.
        if paper.name != "CONTRIBUTING.md":
            assert sorted(set(TEST.findall(paper.read_text("utf-8"))) - there) == [], paper


def test_no_text_cites_a_file_outside_the_repository() -> None:
    sources = [path for suffix in ("py", "js", "mjs", "txt") for path in TOP.glob(f"[rtp]*/**/*.{suffix}")]
    assert len(sources) > 500
    found = [
        ids(path)
        for path in (*PAPERS, *sources)
        if path != Path(__file__) and OUTSIDE.search(path.read_text("utf-8", "replace"))
    ]
    assert found == []
