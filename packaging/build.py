"""Build the packages and the single file: `uv run packaging/build.py`.

Makes dist/chat-relay_VERSION_ARCHITECTURE.deb for each architecture and the single file dist/relay, from this
source tree and published wheels. Nothing is compiled or run for another architecture, and the same source
gives the same bytes. Needs uv, dpkg-deb and a package index (or uv's cache).
"""

import argparse
import hashlib
import os
import tempfile
from pathlib import Path

import bundle
import deb
import executable

EPOCH = 1_767_225_600
"""The time of all files, Unix seconds, unless SOURCE_DATE_EPOCH is set."""


def main() -> None:
    """Build the targets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=bundle.TOP / "dist", metavar="DIR", help="where to put it")
    parser.add_argument("--arch", action="append", choices=bundle.MACHINES, help="only this (can be repeated)")
    parser.add_argument("--only", choices=("deb", "executable"), help="not the other")
    parser.add_argument("--version", help="another version than the source says, to test upgrades with")
    options = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", str(EPOCH))
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    options.out.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        wheel, version = bundle.wheel(work, options.version)
        trees = {arch: bundle.tree(work, wheel, arch) for arch in options.arch or bundle.MACHINES}
        if options.only != "executable":
            made += [deb.build(work, tree, version, arch, options.out, epoch) for arch, tree in trees.items()]
        if options.only != "deb":
            made.append(executable.build(trees, version, options.out / "relay"))
    for path in made:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{digest}  {path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
