"""A Debian package of a bundled tree: its files in their places, its control files, and dpkg-deb around them."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import bundle
import changes
import licences

PACKAGE = "chat-relay"
LIBRARY = f"usr/lib/{PACKAGE}"
DEBIAN = Path(__file__).resolve().parent / "debian"
SYSTEMD = bundle.TOP / "systemd"
MAINTAINER = "The chat-relay authors <chat-relay@example.org>"
FILES = {
    "usr/bin/relay": DEBIAN / "relay",
    f"usr/share/python3/runtime.d/{PACKAGE}.rtupdate": DEBIAN / "rtupdate",
    f"usr/share/lintian/overrides/{PACKAGE}": DEBIAN / "lintian-overrides",
    f"usr/share/doc/{PACKAGE}/examples/outgoing.conf": SYSTEMD / "outgoing.conf",
    "usr/lib/systemd/system/relay.service": SYSTEMD / "relay.service",
    "usr/lib/systemd/system/relay.socket": SYSTEMD / "relay.socket",
    "usr/lib/systemd/system/relay-backup.service": SYSTEMD / "relay-backup.service",
    "usr/lib/systemd/system/relay-backup.timer": SYSTEMD / "relay-backup.timer",
    f"usr/lib/sysusers.d/{PACKAGE}.conf": SYSTEMD / "sysusers.conf",
    f"usr/lib/tmpfiles.d/{PACKAGE}.conf": SYSTEMD / "tmpfiles.conf",
    f"etc/avahi/services/{PACKAGE}.service": SYSTEMD / "avahi-service.xml",
    f"etc/ufw/applications.d/{PACKAGE}": SYSTEMD / "ufw.profile",
}
PROGRAMS = {"usr/bin/relay", f"usr/share/python3/runtime.d/{PACKAGE}.rtupdate"}
SCRIPTS = ("postinst", "prerm", "postrm")
SETTINGS_HEAD = """\
# Under systemd the relay listens where relay.socket says (systemctl edit relay.socket), whatever `listen` is here.
"""


def build(work: Path, tree: Path, version: str, arch: str, out: Path, epoch: int) -> Path:
    """Build the package of one architecture.

    Args:
        work: a scratch directory.
        tree: the bundled tree of this architecture.
        version: the relay's version.
        arch: Debian's name of the architecture.
        out: the directory for the package.
        epoch: the time of all files, Unix seconds.

    Returns:
        The package.
    """
    version = debian_version(version)
    root = work / arch / "root"
    library = root / LIBRARY
    for path in tree.rglob("*"):
        if path.is_file():
            _put(library, str(path.relative_to(tree)), path.read_bytes())
    for name, source in FILES.items():
        _put(root, name, source.read_bytes(), program=name in PROGRAMS)
    _put(root, "etc/relay/relay.toml", SETTINGS_HEAD.encode() + _default_settings())
    _put(root, f"usr/share/doc/{PACKAGE}/copyright", licences.copyright_file(library).encode())
    _put(
        root,
        f"usr/share/doc/{PACKAGE}/changelog.gz",
        _squeezed(changes.debian(PACKAGE, MAINTAINER, version, epoch).encode()),
    )
    _put(root, "usr/share/man/man1/relay.1.gz", _squeezed(_manual()))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = [str(path.relative_to(root)) for path in files]
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    digests = {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in zip(names, files, strict=True)}
    _put(root, "DEBIAN/control", _control(version, arch, size).encode())
    _put(root, "DEBIAN/conffiles", "".join(f"/{name}\n" for name in names if name.startswith("etc/")).encode())
    _put(
        root,
        "DEBIAN/md5sums",
        "".join(f"{digest}  {name}\n" for name, digest in digests.items() if not name.startswith("etc/")).encode(),
    )
    for name in SCRIPTS:
        _put(root, f"DEBIAN/{name}", (DEBIAN / name).read_bytes(), program=True)
    for directory in (root, *(path for path in root.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    target = out / f"{PACKAGE}_{version}_{arch}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, target], check=True, stdout=subprocess.DEVNULL
    )
    return target


def debian_version(version: str) -> str:
    """Convert a version to Debian's form, in which a pre-release build needs a tilde to sort before the release."""
    return version.replace(".dev", "~dev")


def _put(root: Path, name: str, content: bytes, *, program: bool = False) -> None:
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(0o755 if program else 0o644)


def _squeezed(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _manual() -> bytes:
    """Return the man page, which is generated from the commands."""
    command = [sys.executable, "-m", "relay", "help", "--man"]
    # The terminal's width and colours must not affect it.
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=bundle.TOP, env=environment, check=True, stdout=subprocess.PIPE).stdout


def _default_settings() -> bytes:
    """Return a settings file with all defaults, from the relay of this source tree."""
    return subprocess.run(
        [sys.executable, "-c", "from relay.settings import default_file; print(default_file(), end='')"],
        cwd=bundle.TOP,
        check=True,
        capture_output=True,
    ).stdout


def _control(version: str, arch: str, size: int) -> str:
    major, minor = bundle.PYTHONS[-1].split(".")
    needs = (
        f"python3 (>= {bundle.PYTHONS[0]})",
        f"python3 (<< {major}.{int(minor) + 1})",
        "libc6 (>= 2.28)",
        "init-system-helpers (>= 1.54~)",
        "systemd",
    )
    return f"""\
Package: {PACKAGE}
Version: {version}
Architecture: {arch}
Maintainer: {MAINTAINER}
Installed-Size: {size}
Depends: {", ".join(needs)}
Suggests: avahi-daemon, ufw
Section: net
Priority: optional
Description: chat relay for the local network
 One process, one port and one SQLite file: it relays chat messages, presence
 and typing notices between browsers and devices on a local network, keeps
 them, and serves the page to chat on.
 .
 All Python libraries it needs are inside this package; it installs and runs
 without the internet.
"""
