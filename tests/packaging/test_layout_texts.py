"""Texts, comments, names of tests and papers avoid the turns that no engineer would say aloud (CONTRIBUTING.md).

Only the turns that a pattern finds without doubt: the editor finds the rest.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CODE = ("relay", "tests", "packaging", "systemd", ".github", ".ci")
TYPES = {".py", ".js", ".mjs", ".css", ".html", ".md", ".txt", ".sh", ".toml", ".yml", ".service", ".socket", ".timer"}
LEFT_OUT = re.compile(
    r"/(?:vendor|golden|data|i18n/(?!en\.js|i18n\.js))/?|LICENSE|common_passwords|CONTRIBUTING|copyright"
)
"""Other people's texts, other languages, and the examples of the style note."""
BEGIN = r"(?:^|[.;:!] )"
VERB = r"(?:is|are|was|were|must|has|have|may|stays|goes|comes|counts)"
TURNS = {
    "is not a thing, and not: is no thing": re.compile(
        r"(?<!there )(?<!there will )(?<!there must )(?<!there may )(?<!can there )"
        r"\b(?:is|are|was|were|be) no (?!longer\b|more\b|such\b|less\b)",
        re.IGNORECASE,
    ),
    "a sentence begins with its subject, and not with the whole of which it is part": re.compile(
        BEGIN + r"Of (?!course\b)(?:a|an|the|all|those|several|each|one|two|many)\b[^,.;:]* (?:only|is|are|has|says?)\b"
    ),
    "a noun is the subject, and not: what somebody does": re.compile(
        BEGIN + r"What (?!to\b|is\b|are\b)[a-z][^.;:?!]{3,80}? " + VERB + r" (?![^.;:]*\?)"
    ),
    "the name of a test or a reason begins with a noun, and not: of several, what somebody does": re.compile(
        r"^(?:test )?(?:of (?:several|two|the last|notices)\b.* (?:are|is|counts|wins)\b"
        r"|what (?!to\b|else\b|it is\b|is (?:it|the)\b)\w+ (?:.* )?(?:is|are|stays|goes|waits|counts|names)\b)"
    ),
    "a noun is the subject, and not: whoever": re.compile(BEGIN + r"Whoever\b|\b(?:[Tt]ell|[Aa]sk|[Ww]ake) whoever\b"),
}


def paths() -> list[Path]:
    found = [path for folder in CODE for path in (TOP / folder).rglob("*") if path.suffix in TYPES and path.is_file()]
    return [
        path
        for path in sorted([*found, *TOP.glob("*.md"), TOP / "pyproject.toml", TOP / ".ci/run"])
        if path.exists() and not LEFT_OUT.search(str(path.relative_to(TOP))) and path != Path(__file__)
    ]


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Return the strings, docstrings, blocks of comments and names of tests of a module, with their lines."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if " " in text:
                yield node.lineno, text
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                yield node.lineno, name.replace("_", " ")
    comments = [
        (token.start[0], token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    block: list[tuple[int, str]] = []
    for line, text in [*comments, (0, "")]:
        if block and line != block[-1][0] + 1:
            yield block[0][0], " ".join(text for _, text in block)
            block = []
        block.append((line, text))


def other_texts(source: str) -> Iterator[tuple[int, str]]:
    """Return paragraphs: lines up to a blank one, a string's end or another kind of line."""
    lines = re.sub(r"(?m)^[ \t]*(?://|#|\*|/\*+|>)[ \t]?", "", source).split("\n")
    block: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        if block and (not line.strip() or line.startswith(("|", "- "))):
            for quoted in re.split(r"[\"`]", " ".join(block)) if "|" not in block[0] else re.split(r" \| ", block[0]):
                yield number - len(block), quoted
            block = []
        if line.strip():
            block.append(line.strip())


@cache
def texts() -> list[tuple[str, str]]:
    found = []
    for path in paths():
        source = path.read_text("utf-8")
        for line, text in python_texts(source) if path.suffix == ".py" else other_texts(source):
            found.append((f"{path.relative_to(TOP)}:{line}", " ".join(text.split())))
    return found


def test_texts_of_every_kind_are_read() -> None:
    places = {place.rpartition(":")[0] for place, _ in texts()}
    assert {
        "README.md",
        "relay/web/i18n/en.js",
        "relay/web/actions/outbox.js",
        "relay/help/tls.txt",
        "relay/core/submit.py",
        "tests/web/outbox.test.mjs",
        ".github/SECURITY.md",
        "pyproject.toml",
    } <= places
    assert len(texts()) > 15_000


@pytest.mark.parametrize("turn", TURNS)
def test_no_text_has_a_turn_that_nobody_says(turn: str) -> None:
    assert [f"{place}: {text[:200]}" for place, text in texts() if TURNS[turn].search(text)] == []


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("the file is no picture", 1),
        ("There is no picture. It is no longer there; nothing of it is no more", 0),
        ("There will be no answer", 0),
        ("Of several events the last one has the id", 1),
        ("What nobody may see any more is erased", 1),
        ("What is it? What the relay does, in a picture.", 0),
        ("Whoever asks waits", 1),
        ("what waits waits once", 1),
        ("of two drafts the later wins", 1),
        ("Tell whoever runs it", 1),
    ],
)
def test_turn_is_found_where_it_is(text: str, odd: int) -> None:
    assert sum(bool(turn.search(text)) for turn in TURNS.values()) == odd
