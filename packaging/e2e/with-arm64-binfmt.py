"""Run a command where arm64 programs run under qemu-user, in a user and mount namespace of its own.

    with-arm64-binfmt.py COMMAND …

Needs root, Linux 6.7 or newer (binfmt_misc in a user namespace) and qemu-user-static. The machine outside is
not changed.
"""

import ctypes
import os
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
IDS = 65_536
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
INTERPRETER = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"


def check(failed: int) -> None:
    """Raise OSError where a call of the C library failed."""
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def map_ids(pid: int, unshared: int, mapped: int) -> None:
    """Give the child its user ids, from outside, once it has its namespace."""
    os.read(unshared, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:  # noqa: PTH123 - one write, unbuffered by nature
            file.write(f"0 0 {IDS}\n")
    os.write(mapped, b".")


def main() -> None:
    """Run the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    unshared, tell_unshared = os.pipe()
    mapped, tell_mapped = os.pipe()
    pid = os.fork()
    if pid:
        map_ids(pid, unshared, tell_mapped)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    os.write(tell_unshared, b".")
    os.read(mapped, 1)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    check(libc.mount(b"binfmt_misc", b"/proc/sys/fs/binfmt_misc", b"binfmt_misc", 0, None))
    with open("/proc/sys/fs/binfmt_misc/register", "w") as file:  # noqa: PTH123 - as above
        file.write(f":qemu-aarch64:M::{MAGIC}:{MASK}:{INTERPRETER}:OPF")
    os.execvp(sys.argv[1], sys.argv[1:])


main()
