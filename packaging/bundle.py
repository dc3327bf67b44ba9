"""The relay and all libraries it needs, unpacked for one architecture and every Python at once.

Pure Python is the same for all; compiled modules have their Python version in their names, so they fit side by side.
Touches the directory it is given, and the package index through uv.
"""

import filecmp
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name of each architecture, and the kernel's."""
NEEDLESS_FOLDERS = {"tests", "_tests", "__pycache__"}
NEEDLESS_SUFFIXES = {".pyi", ".c", ".cpp", ".h", ".hpp", ".pyx", ".pxd"}
NEEDLESS_RECORDS = {"RECORD", "REQUESTED", "INSTALLER", "WHEEL", "direct_url.json", "uv_cache.json"}
"""Files with installers' notes, which differ between Pythons and are not needed here."""


class Clash(Exception):
    """Two Pythons need different files of the same name: one tree cannot serve both."""


def wheel(work: Path, version: str | None = None) -> tuple[Path, str]:
    """Build the relay's own wheel.

    Args:
        work: a directory to build in.
        version: its version, if not the source's.

    Returns:
        The wheel and its version.
    """
    source = work / "source"
    shutil.copytree(TOP / "relay", source / "relay", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(TOP / name, source / name)
    init = source / "relay" / "__init__.py"
    if version:
        init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', init.read_text()))
    subprocess.run(["uv", "build", "-q", "--wheel", "--out-dir", work / "wheel", source], check=True)
    (built,) = (work / "wheel").glob("*.whl")
    return built, built.name.split("-")[1]


def tree(work: Path, wheel: Path, arch: str) -> Path:
    """Install the wheel and its libraries for each Python, and merge the results into one tree.

    This includes the library that makes certificates, which a machine without internet could not get later.

    Args:
        work: a scratch directory.
        wheel: the relay's wheel.
        arch: Debian's name of the architecture.

    Raises:
        Clash: the trees conflict.
    """
    pins = work / "pins.txt"
    pins.write_text(
        "\n".join(tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"])
    )
    merged = work / arch / "tree"
    for python in PYTHONS:
        one = work / arch / python
        subprocess.run(
            ["uv", "pip", "install", "-q", "--target", one, "--python-platform", f"{MACHINES[arch]}-manylinux_2_28",
             "--python-version", python, "--no-build", "--link-mode=copy", "--constraint", pins, f"{wheel}[tls]"],
            check=True,
        )  # fmt: skip
        _strip(one)
        merge(one, merged)
    return merged


def _strip(tree: Path) -> None:
    for record in tree.glob("*.dist-info/RECORD"):
        # The files of a library, for its licence.
        paths = (line.split(",")[0] for line in record.read_text().splitlines())
        names = {re.sub(r"\.cpython-.*", ".*", path.split("/")[0]) for path in paths}
        own = sorted(name for name in names if not name.endswith(".dist-info") and name not in ("..", "bin"))
        (record.parent / "top_level.txt").write_text("".join(f"{name}\n" for name in own))
    shutil.rmtree(tree / "bin", ignore_errors=True)
    (tree / ".lock").unlink(missing_ok=True)
    for path in sorted(tree.rglob("*"), reverse=True):
        within = path.relative_to(tree)
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif (
            NEEDLESS_FOLDERS & set(within.parts)
            or path.suffix in NEEDLESS_SUFFIXES
            or (within.parts[0].endswith(".dist-info") and path.name in NEEDLESS_RECORDS)
        ):
            path.unlink()


def merge(one: Path, merged: Path) -> None:
    """Copy a tree into another; raise `Clash` if a file differs from the existing one."""
    for path in sorted(one.rglob("*")):
        target = merged / path.relative_to(one)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        elif not filecmp.cmp(path, target, shallow=False):
            raise Clash(f"{path.relative_to(one)} is not the same for every Python")
