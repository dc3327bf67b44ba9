"""The single file `relay`: everything of every architecture and Python in one zip archive that Python runs."""

import zipfile
from collections import defaultdict
from pathlib import Path

import bundle

MAIN = Path(__file__).resolve().parent / "executable_main.py"
SHEBANG = b"#!/usr/bin/env python3\n"
MOMENT = (1980, 1, 1, 0, 0, 0)


def build(trees: dict[str, Path], version: str, target: Path) -> Path:
    """Make the file.

    Args:
        trees: the bundled tree of each architecture, by Debian's name of it.
        version: the relay's version.
        target: the path of the file.
    """
    contents: dict[str, dict[str, bytes]] = defaultdict(dict)
    for arch, tree in trees.items():
        for path in tree.rglob("*"):
            if path.is_file():
                contents[str(path.relative_to(tree))][bundle.MACHINES[arch]] = path.read_bytes()
    with target.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            _add(archive, "__main__.py", MAIN.read_bytes())
            _add(archive, "VERSION", version.encode())
            for name, variants in sorted(contents.items()):
                if len(variants) == len(trees) and len(set(variants.values())) == 1:
                    _add(archive, f"all/{name}", next(iter(variants.values())))
                else:
                    for machine, content in sorted(variants.items()):
                        _add(archive, f"{machine}/{name}", content)
    target.chmod(0o755)
    return target


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, MOMENT)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
