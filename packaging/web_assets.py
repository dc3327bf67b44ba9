"""Keep the web client's third-party files and cache stamps right; touches relay/web only.

    web_assets.py check      vendored files match their hashes, index.html carries the right stamps
    web_assets.py stamp      write the hash of every file of ours into index.html
    web_assets.py refresh    fetch the pinned packages with npm, compare integrity, copy and record

The stamps let a browser keep a file for good: a changed file has another ?v=. They stand in
the import map, so that modules import each other by their plain names. There is no build: all other
files are served as they lie.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

WEB = Path(__file__).resolve().parent.parent / "relay" / "web"
VENDOR = WEB / "vendor"
PACKAGES = VENDOR / "packages.json"

FIRST = "app.js"
"""The module that the page begins with. Its imports are fetched at once, everything else at the first use."""
IMPORT = re.compile(r"""^(?:import|export)\b[^;(]*?"(\.[^"]+)";""", re.MULTILINE)
STYLES = ("styles/tokens.css", "styles/app.css")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stamp(path: Path) -> str:
    """Return the short hash for ?v=."""
    return sha256(path)[:8]


def own_modules() -> list[Path]:
    """List all our modules, in a stable order. The service worker is fetched by name and never stamped."""
    return sorted(path for path in WEB.rglob("*.js") if VENDOR not in path.parents and path != WEB / "sw.js")


def first_modules() -> list[Path]:
    """List our modules of the first screen, in a stable order."""
    found: set[Path] = set()
    waiting = [WEB / FIRST]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [(module.parent / name).resolve() for name in IMPORT.findall(module.read_text("utf-8"))]
    return sorted(found)


def import_map() -> str:
    """Make the import map: vendored names, and each of our modules with its stamp."""
    imports: dict[str, str] = {}
    for package in json.loads(PACKAGES.read_text()):
        for file in package["files"]:
            if "import" in file:
                imports[file["import"]] = f"/vendor/{file['to']}"
    for path in own_modules():
        name = path.relative_to(WEB).as_posix()
        imports[f"/{name}"] = f"/{name}?v={stamp(path)}"
    return json.dumps({"imports": imports}, indent=1)


def head() -> str:
    """Make the stamped part of index.html."""
    packages = json.loads(PACKAGES.read_text())
    vendored = [file for package in packages for file in package["files"]]
    preload = [f"/vendor/{file['to']}" for file in vendored if file.get("preload")]
    preload += [f"/{path.relative_to(WEB).as_posix()}?v={stamp(path)}" for path in first_modules()]
    lines = [f'<link rel="stylesheet" href="/{name}?v={stamp(WEB / name)}">' for name in STYLES]
    lines += [f'<script type="importmap">{import_map()}</script>']
    lines += [f'<link rel="modulepreload" href="{url}">' for url in preload]
    lines += [f'<script type="module" src="/{FIRST}?v={stamp(WEB / FIRST)}"></script>']
    return "\n".join(lines) + "\n"


def stamped(index: str) -> str:
    """Return index.html with a new part between its two markers."""
    pattern = re.compile(r"(<!-- stamped:begin -->\n).*?(<!-- stamped:end -->)", re.DOTALL)
    return pattern.sub(lambda found: found[1] + head() + found[2], index)


def check() -> int:
    """Print everything that differs from the record. Return 0 if nothing does."""
    wrong: list[str] = []
    known = {"packages.json"}
    for package in json.loads(PACKAGES.read_text()):
        for file in package["files"]:
            known.add(file["to"])
            path = VENDOR / file["to"]
            if not path.exists() or sha256(path) != file["sha256"]:
                wrong.append(f"vendor/{file['to']} is not what {package['name']} {package['version']} holds")
    unknown = sorted(path.name for path in VENDOR.iterdir() if path.name not in known)
    wrong += [f"vendor/{name} is not listed in packages.json" for name in unknown]
    index = (WEB / "index.html").read_text()
    if stamped(index) != index:
        wrong.append("index.html carries old stamps: run packaging/web_assets.py stamp")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def refresh() -> int:
    """Fetch each pinned package, refuse it if its integrity differs from the recorded one, copy its files."""
    packages = json.loads(PACKAGES.read_text())
    kept = {"packages.json"}
    for package in packages:
        with tempfile.TemporaryDirectory() as folder:
            name = f"{package['name']}@{package['version']}"
            packed = subprocess.run(
                ["npm", "pack", "--silent", name], cwd=folder, check=True, capture_output=True, text=True
            )
            archive = Path(folder) / packed.stdout.split()[-1]
            digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            integrity = f"sha512-{digest}"
            if package.setdefault("integrity", integrity) != integrity:
                print(f"{name}: the registry now serves something else; nothing was copied")
                return 1
            with tarfile.open(archive) as tar:
                for file in package["files"]:
                    source = tar.extractfile(f"package/{file['from']}")
                    if source is None:
                        print(f"{name} has no {file['from']}")
                        return 1
                    target = VENDOR / file["to"]
                    target.write_bytes(source.read())
                    file["sha256"] = sha256(target)
                    kept.add(file["to"])
    for path in VENDOR.iterdir():
        if path.name not in kept:
            path.unlink()
    PACKAGES.write_text(json.dumps(packages, indent=2) + "\n")
    return 0


def main() -> int:
    """Run the named command."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command == "check":
        return check()
    if command == "refresh":
        return refresh()
    if command == "stamp":
        index = WEB / "index.html"
        index.write_text(stamped(index.read_text()))
        return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
