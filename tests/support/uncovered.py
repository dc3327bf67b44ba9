"""Code that no test reaches, by module and function, from the JSON report of coverage.py.

    python tests/support/uncovered.py coverage.json

A line for each incomplete module: its share of lines and branches, the functions that are never called, and those with
unexecuted parts, with the number of lines.
"""

import json
import sys
from pathlib import Path
from typing import Any


def line_of(module: str, found: dict[str, Any]) -> str | None:
    """Describe the missing parts of a module; None if there are none."""
    share = found["summary"]["percent_covered"]
    never, in_part = [], []
    for name, function in found["functions"].items():
        missing = len(function["missing_lines"])
        if not missing:
            continue
        if function["executed_lines"]:
            in_part.append(f"{name or 'the module itself'} ({missing})")
        else:
            never.append(name or "the module itself")
    if not found["missing_lines"] and not found["missing_branches"]:
        return None
    parts = [f"never: {', '.join(never)}"] if never else []
    parts += [f"in part: {', '.join(in_part)}"] if in_part else []
    return f"{module:<44} {share:5.1f}  {'; '.join(parts) or 'some branches'}"


def main(report: Path) -> None:
    """Print the report."""
    known = json.loads(report.read_text("utf-8"))
    modules = {name: known["files"][name] for name in sorted(known["files"])}
    lines = [line for name, found in modules.items() if (line := line_of(name, found))]
    print("\n".join(lines))
    whole = known["totals"]
    print(
        f"{whole['percent_covered']:.1f} % of lines and branches of {len(modules)} modules;"
        f" {len(modules) - len(lines)} of them wholly"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
