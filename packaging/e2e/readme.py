"""Print a code block of the README by its name: `readme.py NAME`.

A block has its name in a comment before it: <!-- tried: NAME -->. Touches nothing.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^<!-- tried: (\w+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> dict[str, str]:
    """Find the named blocks of a Markdown text.

    Raises:
        ValueError: two have the same name.
    """
    found = BLOCK.findall(text)
    if len(found) != len(dict(found)) or len(found) != text.count("<!-- tried: "):
        raise ValueError("a name is given twice, or to something that is not a block of shell commands")
    return dict(found)


if __name__ == "__main__":
    print(blocks(README.read_text())[sys.argv[1]], end="")
