"""The machine under a long run: a small disk, an adjustable clock, memory samples, and commands.

If root may mount, the disk is a real one that shrinks; otherwise a preloaded library makes writes fail.
"""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from tests.support.relay_process import RelayProcess, resident

ROOM_BYTES = 4 * 2**30
"""Bytes of the disk while it has room. A tmpfs only takes memory for used bytes."""
SPARE_BYTES = 256 * 1024
"""Bytes left on a nearly full disk."""
SAMPLE_SECONDS = 2.0
"""Seconds between two samples of the relay's memory."""
SAMPLES_A_RECORD = 10
"""One in this many samples goes into the diary."""


class Ran(NamedTuple):
    """The outcome of a command."""

    code: int
    out: Path
    error: str


class Disk:
    """The disk with the data. `fill` takes the room away, `free` gives it back."""

    def __init__(self, place: Path, plan: Path, *, mounted: bool) -> None:
        self.data = place
        self.real = mounted
        self._place = place
        self._plan = plan

    def fill(self) -> None:
        """Leave almost nothing."""
        if not self.real:
            self._plan.write_text("pwrite 28")
            return
        there = os.statvfs(self._place)
        self._resize((there.f_blocks - there.f_bfree) * there.f_frsize + SPARE_BYTES)

    def free(self) -> None:
        """Restore the room."""
        if self.real:
            self._resize(ROOM_BYTES)
        else:
            self._plan.unlink(missing_ok=True)

    def _resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self._place)], check=True)


class Clock:
    """The wall clock of the relay and of its commands."""

    def __init__(self, file: Path, *, works: bool) -> None:
        self.works = works
        self._file = file
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set it wrong by this many seconds."""
        # Write in place: the relay has it mapped.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


class Machine:
    """The relay's process and its surroundings."""

    def __init__(self, relay: RelayProcess, disk: Disk, clock: Clock, environment: dict[str, str], out: Path) -> None:
        self.relay = relay
        self.disk = disk
        self.clock = clock
        self.out = out
        """A directory on another disk."""
        self.memory: list[tuple[float, int]] = []
        """Memory samples with their monotonic times. Starts afresh with each process."""
        self.most_memory = 0
        self.disturbed = 0
        """How many disturbances of the relay or its disk could make a command fail."""
        self._environment = {**os.environ, **environment}
        self._ran = 0
        self.diary = out / "diary"
        self._began = time.monotonic()

    def note(self, what: str) -> None:
        """Write into the diary of the run, for later analysis."""
        with self.diary.open("a") as diary:
            diary.write(f"{time.monotonic() - self._began:8.2f} {what}\n")

    async def watch_memory(self) -> None:
        """Take samples, forever."""
        while True:
            await trio.sleep(SAMPLE_SECONDS)
            process = self.relay.process
            if process is not None and process.poll() is None:
                try:
                    held = resident(process.pid)
                except (OSError, IndexError):
                    continue
                self.memory.append((time.monotonic(), held))
                self.most_memory = max(self.most_memory, held)
                if len(self.memory) % SAMPLES_A_RECORD == 0:
                    self.note(f"memory {held / 1e6:.1f} MB")

    async def kill(self) -> None:
        """Kill the relay between any two of its instructions."""
        self.disturbed += 1
        await self.relay.kill()

    async def start(self) -> None:
        """Start the relay again; retry like systemd if a command had the directory for too long."""
        self.memory.clear()
        while True:
            try:
                return await self.relay.start()
            except AssertionError as failed:
                if "already has" not in str(failed).splitlines()[-1]:
                    raise
            self.note("a command has the directory: the start is tried again")

    def stall(self, *, on: bool) -> None:
        """Freeze the relay, or let it continue."""
        self.disturbed += 1
        assert self.relay.process is not None
        self.relay.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    async def command(self, *arguments: str | Path, data: Path | None = None, killed_after: float = 1e9) -> Ran:
        """Run `relay ARGUMENTS` on the data; kill it after `seconds`, if given."""
        self._ran += 1
        out, error = self.out / f"{self._ran}.out", self.out / f"{self._ran}.err"
        command = [sys.executable, "-m", "relay", *map(str, arguments), "--data", str(data or self.disk.data)]
        with out.open("wb") as out_file, error.open("wb") as error_file:
            process = await trio.lowlevel.open_process(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=out_file, stderr=error_file
            )
            try:
                with trio.move_on_after(killed_after):
                    await process.wait()
            finally:
                if process.poll() is None:
                    process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
        said = error.read_text(errors="replace")
        error.unlink()
        return Ran(process.returncode or 0, out, said)


def _shim(source: Path, target: Path) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return ""
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"], check=True)
    return str(target)


@contextmanager
def prepared(place: Path) -> Iterator[tuple[Disk, Clock, dict[str, str], Path]]:
    """Return a disk, a clock, the environment for its processes, and a directory elsewhere."""
    here = Path(__file__).parent
    out, small, plan, offset = (place / name for name in ("out", "small", "plan", "offset"))
    for directory in (out, small):
        directory.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES},mode=755", "tmpfs", str(small)], check=False
        ).returncode
    )
    clock = _shim(here / "wrong_clock.c", place / "wrong_clock.so")
    failing = "" if mounted else _shim(here.parent / "failing_disk.c", place / "failing_disk.so")
    environment = {
        "LD_PRELOAD": " ".join(filter(None, (clock, failing))),
        "WRONG_CLOCK": str(offset),
        "FAILING_DISK": str(plan),
        "RELAY_LOG_LEVEL": "info",
        "RELAY_FILES_FREE_BYTES": str(2**20),
        "RELAY_LIMITS_REQUESTS_PER_SECOND": "40",
        "RELAY_LIMITS_BURST": "80",
    }
    try:
        yield Disk(small, plan, mounted=mounted), Clock(offset, works=bool(clock)), environment, out
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(small)], check=True)
