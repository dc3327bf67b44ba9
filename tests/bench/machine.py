"""Processes on cores of their own, and the kernel's figures about them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SERVER_CORE, GENERATOR_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")


def pin(core: int) -> None:
    """Keep this process on one core, in a scheduler group that other work on the machine does not slow down.

    Raising the group's priority needs root; without it the figures depend on the machine's other work.
    """
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20", encoding="ascii")


class Limits:
    """A control group that gives a process a part of a core and limited memory; needs root.

    Raises:
        OSError: control groups are unavailable, or may not be made.
    """

    def __init__(self, cores: float, memory_mib: int) -> None:
        root, name = Path("/sys/fs/cgroup"), f"relay-bench-{os.getpid()}"
        quota, memory = int(cores * 100_000), memory_mib << 20
        if (root / "cgroup.controllers").exists():
            files = {root / name: {"cpu.max": f"{quota} 100000", "memory.max": str(memory)}}
        else:
            files = {
                root / "cpu" / name: {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(quota)},
                root / "memory" / name: {"memory.limit_in_bytes": str(memory)},
            }
        self._groups = list(files)
        for group, settings in files.items():
            group.mkdir(exist_ok=True)
            for file, value in settings.items():
                (group / file).write_text(value, encoding="ascii")

    def hold(self, pid: int) -> None:
        """Add a process and its future children."""
        for group in self._groups:
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def remove(self) -> None:
        """Remove it once it is empty."""
        for group in self._groups:
            with contextlib.suppress(OSError):
                group.rmdir()


class Process:
    """A server on its core, with all the processes it starts."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        log: Path | None = None,
        core: int = SERVER_CORE,
    ) -> None:
        self.started = time.perf_counter()
        with log.open("ab") if log else contextlib.nullcontext(subprocess.DEVNULL) as out:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=lambda: pin(core),  # noqa: PLW1509 - nothing here runs threads
            )
        self.pid = self.process.pid

    def tree(self) -> list[int]:
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    todo += [int(child) for child in children.read_text().split()]
        return found

    def _sum(self, file: str, field: str) -> int:
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
                    if line.startswith(field):
                        total += int(line.split()[1])
        return total

    def rss_kib(self) -> int:
        """Resident memory."""
        return self._sum("status", "VmRSS:")

    def written(self) -> int:
        """Bytes that reached, or are on their way to, the disk."""
        return self._sum("io", "write_bytes:")

    def cpu(self) -> float:
        """CPU seconds so far."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICK

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        for pid in reversed(self.tree()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop, and check that it does."""
        if self.process.poll() is not None:
            return
        pids = self.tree()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
