"""Makes the relay's and the page's tables of Unicode: invisible characters, and letters that look alike.

    unicode_tables.py FOLDER     write relay/unicode/tables.py and the table in relay/web/model/looks.js

FOLDER holds files of one version of Unicode as Unicode publishes them: `DerivedCoreProperties.txt`,
`DerivedGeneralCategory.txt` and `emoji-data.txt` of the Character Database, and `confusables.txt` (UTS 39).
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

RELAY = Path(__file__).resolve().parent.parent / "relay"
CODES = 0x110000
RESERVED = range(0x20000, 0x40000)
"""Planes of ideographs: codes without a character will get a visible one."""
SHAPING = {0x034F, *range(0x180B, 0x180E), 0x180F, 0x200C, 0x200D, *range(0xFE00, 0xFE10), *range(0xE0020, 0xE0080)}
SHAPING |= {*range(0xE0100, 0xE01F0)}
"""Invisible characters that change how their neighbours are drawn: joiners, variation selectors, and tags, which make
flags. Languages and emoji need them."""
ANNOTATIONS = {0xFFF9, 0xFFFA, 0xFFFB}
BLANK = "\u2800\ufffc\U00013441\U00013442\U00016fe4\U0001bc9d\U0001d159"
"""Characters that show nothing although no property marks them: the empty cell of Braille, the place of an
object, blanks of hieroglyphs and Khitan, a selector of Duployan, a note without a head."""
HEAD = """\
Unicode {version}, made by packaging/unicode_tables.py from Unicode's data files: confusables.txt (UTS 39),
DerivedCoreProperties.txt, DerivedGeneralCategory.txt and emoji-data.txt.
Copyright \u00a9 1991-2025 Unicode, Inc. Used under the Unicode License v3 (SPDX: Unicode-3.0), which is in
packaging/unicode.LICENSE.txt."""

MORE_ALIKE = {
    "i": "l",  # in capitals, which UTS 39 has for `I` only
    "\u0138": "k",
    "\u028d": "m",
    "\ua793": "e",
    "\u0185": "b",
    "\u03b7": "n",
    "\u03c7": "x",
}
"""Letters that look alike to people in a list of names; UTS 39 keeps them apart."""
_SMALL_CAPITAL = re.compile("LATIN LETTER SMALL CAPITAL ([A-Z])")


def fields(path: Path) -> Iterator[list[str]]:
    """Read the fields of each line of one of Unicode's files."""
    for line in path.read_text("utf-8-sig").splitlines():
        said = line.partition("#")[0].strip()
        if said:
            yield [field.strip() for field in said.split(";")]


def having(path: Path, *values: str) -> set[int]:
    """Return the codes that have one of these values of a property."""
    codes: set[int] = set()
    for where, value, *_ in fields(path):
        if value in values:
            first, _, last = where.partition("..")
            codes.update(range(int(first, 16), int(last or first, 16) + 1))
    return codes


def as_class(codes: Iterable[int]) -> str:
    """Write codes as the ranges of a character class."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(chr(first) if first == last else f"{chr(first)}-{chr(last)}" for first, last in ranges)


def unseen(folder: Path) -> tuple[set[int], set[int]]:
    """Return the codes that names must not have, and all codes without a common visible form."""
    categories = folder / "DerivedGeneralCategory.txt"
    ignorable = having(folder / "DerivedCoreProperties.txt", "Default_Ignorable_Code_Point")
    hidden = ignorable - SHAPING | having(categories, "Cc", "Zl", "Zp") | ANNOTATIONS
    unassigned = having(categories, "Cn") - having(folder / "emoji-data.txt", "Extended_Pictographic") - {*RESERVED}
    spaces = having(categories, "Zs")
    return hidden, hidden | SHAPING | unassigned | having(categories, "Co") | spaces | {ord(one) for one in BLANK}


def caseless(text: str) -> str:
    """Remove case from a text, each character by itself, so that JavaScript can do the same."""
    return "".join(one.upper().lower() for one in text)


def alike(folder: Path, is_unseen: Callable[[str], bool]) -> dict[str, str]:
    """Return the common form of each letter, mark and digit that looks like others."""
    prototypes = dict(MORE_ALIKE)
    for code in range(CODES):
        small = _SMALL_CAPITAL.fullmatch(unicodedata.name(chr(code), ""))
        if small:
            prototypes[chr(code)] = small[1].lower()
    for source, target, *_ in fields(folder / "confusables.txt"):
        letter = chr(int(source, 16))
        shown = "".join(chr(int(code, 16)) for code in target.split())
        counts = {unicodedata.category(one)[0] for one in letter + shown} & {"L", "M", "N"}
        if counts and not is_unseen(letter) and letter not in prototypes:
            prototypes[letter] = shown

    def resolved(letter: str) -> str:
        text, before = letter, ""
        while text != before:
            before = text
            text = "".join(prototypes.get(one, one) for one in unicodedata.normalize("NFKD", text))
            text = "".join(prototypes.get(one, one) for one in caseless(text))
        return unicodedata.normalize("NFKD", text)

    table: dict[str, str] = {}
    for letter in prototypes:
        if unicodedata.normalize("NFKD", letter) == letter:
            table[letter] = resolved(letter)
    plain = {one: shown for one, shown in table.items() if caseless(one) == one}
    return {
        one: shown
        for one, shown in sorted(table.items())
        if shown != "".join(plain.get(small, small) for small in caseless(one)) or (one in plain and shown != one)
    }


def escaped(text: str) -> Iterator[str]:
    """Cut a text into literals of Python, in ASCII."""
    line = ""
    for one in text:
        code = ord(one)
        seen = 0x20 < code < 0x7F and one not in '\\"'
        written = one if seen else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        if len(line) + len(written) > 112:
            yield f'    "{line}"'
            line = ""
        line += written
    yield f'    "{line}"'


def constant(name: str, value: str, meaning: str) -> str:
    """Write a constant of the Python module."""
    return "\n".join([f"{name} = (", *escaped(value), ")", f'"""{meaning}"""', ""])


def main(folder: Path) -> None:
    """Write both files."""
    version = re.search(r"Version: ([\d.]+)", (folder / "confusables.txt").read_text("utf-8-sig"))
    assert version
    head = HEAD.format(version=version[1])
    hidden, nothing = unseen(folder)
    rows = "\n".join(one + shown for one, shown in alike(folder, lambda one: ord(one) in nothing).items())
    (RELAY / "unicode/tables.py").write_text(
        f'"""Tables of Unicode: what cannot be seen, which letters look alike. Data only.\n\n{head}\n"""\n\n'
        + constant("HIDDEN", as_class(hidden), "Characters that names must not have: ranges of a character class.")
        + constant("UNSEEN", as_class(nothing), "All codes without a common visible form, in the same form.")
        + constant("ALIKE", rows, "By line: a letter, mark or digit, and its form in the look of a name."),
        "utf-8",
    )
    page = RELAY / "web/model/looks.js"
    code, mark, _ = page.read_text("utf-8").partition("export const LOOKS = `")
    escaped_rows = re.sub(r"[\\`$]", r"\\\g<0>", rows)
    code = re.sub(r"of Unicode [\d.]+\. ", f"of Unicode {version[1]}. ", code)
    page.write_text(f"{code}{mark}{escaped_rows}`;\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
