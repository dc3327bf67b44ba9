"""The entry point of the single file `relay`: unpacks the part for this machine, once, and starts it.

Compiled modules cannot be loaded from an archive, so they are unpacked to a directory. Old Pythons read this file too,
in order to say that they are too old, so it must stay valid for Python 3.6.
"""

import hashlib
import mmap
import os
import shutil
import sys
import tempfile
import time
import zipfile

OLDEST = (3, 11)
NEWEST = (3, 14)
MACHINES = ("x86_64", "aarch64")
VARIABLE = "CHAT_RELAY_CACHE"
UNFINISHED = ".new-"
"""The prefix of a directory's name while it is unpacked."""
UNFINISHED_SECONDS = 3600
"""Seconds until an unfinished directory counts as left over from a killed process."""


def stop(message: str) -> None:
    """Print why the relay cannot start, and exit."""
    sys.stderr.write(f"relay: {message}\n")
    sys.exit(1)


def fitting_python(oldest: tuple[int, int] = OLDEST, newest: tuple[int, int] = NEWEST) -> None:
    """Restart with a Python of the right version, if there is one."""
    if oldest <= sys.version_info[:2] <= newest:
        return
    for minor in range(newest[1], oldest[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            os.execv(found, [found, *sys.argv])
    stop(
        f"this needs Python 3.{oldest[1]} to 3.{newest[1]}, and python3 is {sys.version.split()[0]} here."
        " Debian 12 and later have one that fits."
    )


def fitting_machine() -> str:
    """Name this machine's architecture as in the archive."""
    machine = os.uname().machine
    if sys.maxsize < 2**32:
        stop(
            "this system is 32-bit, for which msgspec, a library of the relay, is not published."
            " Install the 64-bit system; every Raspberry Pi from the 3 on runs it."
        )
    if machine not in MACHINES or not sys.platform.startswith("linux"):
        stop(f"this file is for Linux on {' and '.join(MACHINES)}; this is {sys.platform} on {machine}.")
    return machine


def candidates() -> "list[str]":
    """List directories to unpack to, the best first."""
    chosen = os.environ.pop(VARIABLE, None)
    if chosen:
        return [chosen]
    found = []
    for variable, below in (("CACHE_DIRECTORY", ""), ("XDG_CACHE_HOME", "chat-relay"), ("HOME", ".cache/chat-relay")):
        value = os.environ.get(variable)
        if value:
            found.append(os.path.join(value.split(":")[0], below))
    for place, argument in enumerate(sys.argv):
        if argument == "--data" and sys.argv[place + 1 :]:
            found.append(os.path.join(sys.argv[place + 1], "program"))
        elif argument.startswith("--data="):
            found.append(os.path.join(argument[7:], "program"))
    for variable in ("RELAY_DATA", "STATE_DIRECTORY"):
        value = os.environ.get(variable)
        if value:
            found.append(os.path.join(value.split(":")[0], "program"))
    return found


def usable(directory: str) -> str:
    """Make a directory if there is none. Return why programs cannot be unpacked there, or an empty text."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.stat(directory)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            return "others may write there"
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * mmap.PAGESIZE)
            file.flush()
            mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def fitting_files(archive: zipfile.ZipFile, machine: str) -> "list[tuple[zipfile.ZipInfo, str]]":
    """List the files for this machine and Python, each with the path that it is unpacked to."""
    ours = f"cpython-3{sys.version_info[1]}"
    found = []
    for info in archive.infolist():
        within, _, path = info.filename.partition("/")
        if within in ("all", machine) and (".cpython-" not in path or ours in path):
            found.append((info, path))
    return found


def is_complete(archive: zipfile.ZipFile, machine: str, target: str) -> bool:
    """Return whether all files are in a directory, in their size: a card may tear files, a cleaner remove some."""
    try:
        return all(
            os.stat(os.path.join(target, path)).st_size == info.file_size
            for info, path in fitting_files(archive, machine)
        )
    except OSError:
        return False


def unpack(archive: zipfile.ZipFile, machine: str, target: str) -> None:
    """Unpack the files for this machine and Python beside the target, then rename them into place.

    They are synced before they get their name: after a power cut the directory is complete or not there.

    Args:
        archive: the single file.
        machine: the architecture's name in the archive.
        target: the directory to make.
    """
    parent = os.path.dirname(target)
    sweep(parent)
    directory = tempfile.mkdtemp(prefix=UNFINISHED, dir=parent)
    try:
        for info, path in fitting_files(archive, machine):
            destination = os.path.join(directory, path)
            os.makedirs(os.path.dirname(destination), exist_ok=True)
            with open(destination, "wb") as file:
                file.write(archive.read(info))
        # Once for all files: on a memory card one sync for each of them takes a minute.
        os.sync()
        if os.path.isdir(target) and not is_complete(archive, machine, target):
            shutil.rmtree(target)
        os.rename(directory, target)
        os.sync()
    except OSError:
        # Another relay may have been first.
        shutil.rmtree(directory, ignore_errors=True)
        if not is_complete(archive, machine, target):
            raise


def sweep(parent: str) -> None:
    """Remove what a killed unpacking left."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        try:
            if name.startswith(UNFINISHED) and os.stat(path).st_mtime < time.time() - UNFINISHED_SECONDS:
                shutil.rmtree(path)
        except OSError:
            # It is somebody else's, or gone.
            continue


def library() -> str:
    """Find the unpacked libraries, or unpack them."""
    machine = fitting_machine()
    with open(sys.argv[0], "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:16]
    with zipfile.ZipFile(sys.argv[0]) as archive:
        name = f"{archive.read('VERSION').decode()}-{digest}-py3{sys.version_info[1]}"
        refused = []
        for directory in candidates():
            target = os.path.join(os.path.abspath(directory), name)
            owned = os.path.isdir(target) and os.stat(target).st_uid in (0, os.geteuid())
            if owned and is_complete(archive, machine, target):
                return target
            reason = usable(directory)
            if not reason:
                try:
                    unpack(archive, machine, target)
                except OSError as error:
                    reason = error.strerror or str(error)
                else:
                    return target
            refused.append(f"{directory} ({reason})")
    tried = ", ".join(refused) or "nothing, since HOME is not set"
    stop(
        "there has to be a directory to unpack 20 MB of programs to: name one that may be written to with"
        f" {VARIABLE}=DIRECTORY. Tried: {tried}."
    )
    return ""


def main() -> None:
    """Start the relay."""
    fitting_python()
    sys.path[0] = library()
    from relay.__main__ import main as relay

    relay()


if __name__ == "__main__":
    main()
