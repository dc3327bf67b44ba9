"""`relay bench`: puts load on a relay and prints its capacity."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from relay.bench.client import BenchRefused
from relay.bench.generator import WORKS, Line, Progress, Workload
from relay.bench.scratch import Scratch, command, cores, last_line
from relay.bench.work import WorkFigures
from relay.cli.options import Json, Yes
from relay.cli.output import Failure, WrongUse, as_json, confirm, size, table

FULL_CORE_SHARE = 0.85
"""Share of a core at which the generator is the bottleneck, not the relay."""


class Started(msgspec.Struct, kw_only=True):
    """The row of the relay that was started."""

    work: str = "start"
    ready: int
    """Milliseconds until it answered."""
    memory: int
    """Its resident memory in bytes."""


class ImportedUser(msgspec.Struct):
    """The needed part of a line of `relay user import --device --json`."""

    id: str = ""
    token: str = ""


def bench(
    works: Annotated[list[str] | None, typer.Argument(metavar="[WORK]…", help=f"Any of {', '.join(WORKS)}.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds that each is measured.")] = 5.0,
    dialogs: Annotated[int, typer.Option(min=1, help="Dialogs at the same time.")] = 50,
    members: Annotated[int, typer.Option(min=1, help="Members of the group.")] = 200,
    rate: Annotated[float, typer.Option(min=1, help="Messages per second of `steady`.")] = 1_000,
    idle: Annotated[int, typer.Option(min=1, help="Connections of `idle` and `storm`.")] = 500,
    messages: Annotated[int, typer.Option(min=1, help="Messages that the device of `replay` missed.")] = 5_000,
    url: Annotated[str | None, typer.Option(help="Measure a running relay, which keeps the messages.")] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="For --url: what `relay user import --device --json` printed.")
    ] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where its scratch directory is made.")] = None,
    yes_: Yes = False,
    json: Json = False,
) -> None:
    """Measure what this machine can carry.

    Starts a relay on a scratch directory, on a core of its own, and talks to it from another process. A message
    counts when it is answered, so on disk, and delivered; every event is acknowledged.

    Example: relay bench dialogs group --seconds 20
    """
    if url is not None:
        _check_address(url)
    chosen = works or list(WORKS)
    plan = Workload(
        url=url or "",
        tokens={},
        works=chosen,
        seconds=seconds,
        dialogs=dialogs,
        members=members,
        rate=rate,
        idle=idle,
        messages=messages,
    )
    _check(plan, tokens, directory)
    own = None
    if tokens is not None:
        plan.tokens = _read(tokens)
        confirm(f"Send messages to the users of {tokens} on {url}? The messages stay.", yes=yes_)
    else:
        places = cores()
        plan.core = places[-1] if len(places) > 1 else None
        users = max(2, 2 * dialogs, members + 1 if "group" in chosen else 0)
        own = Scratch(users, directory=directory, core=places[0] if plan.core is not None else None)
    started: Started | None = None
    rows: list[WorkFigures] = []
    try:
        with own or nullcontext():
            if own is not None:
                plan.url, plan.tokens = own.url, own.tokens
                started = Started(ready=round(own.ready * 1000), memory=own.memory())
            rows += _rows(plan, own, quiet=json)
    except BenchRefused as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{error.filename or plan.url}: {error.strerror or error}") from None
    if json:
        as_json([started, *rows] if started is not None else rows)
        return
    _show(started, rows)


def _check(plan: Workload, tokens: Path | None, directory: Path | None) -> None:
    """Check the options.

    Raises:
        WrongUse: an option makes no sense.
        Failure: there is no such directory.
    """
    unknown = [name for name in plan.works if name not in WORKS]
    if unknown:
        raise WrongUse(f"there is no work {unknown[0]!r}: it is any of {', '.join(WORKS)}")
    if bool(plan.url) != (tokens is not None):
        raise WrongUse("--url and --tokens go together: the senders must be able to sign in there")
    if not math.isfinite(plan.seconds) or not math.isfinite(plan.rate):
        raise WrongUse("--seconds and --rate must be finite")
    if directory is not None and not directory.is_dir():
        raise Failure(f"{directory} is not a directory: make it, or name another with --dir")


def _check_address(url: str) -> None:
    """Check that an address is that of a WebSocket.

    Raises:
        WrongUse: it is not.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise WrongUse(f"--url: {url!r} is not an address: it should look like ws://127.0.0.1:8765/ws")


def _read(path: Path) -> dict[str, str]:
    """Read tokens by user id, as `relay user import --device --json` printed them."""
    try:
        lines = [
            msgspec.json.decode(line, type=ImportedUser) for line in path.read_bytes().splitlines() if line.strip()
        ]
        tokens = {line.id: line.token for line in lines if line.id and line.token}
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError:
        tokens = {}
    if not tokens:
        raise Failure(f"{path} holds no tokens: `relay user import FILE.csv --device --json` prints some")
    return tokens


def _rows(plan: Workload, own: Scratch | None, *, quiet: bool) -> Iterator[WorkFigures]:
    """Run the generator and yield a row for each work, with the CPU time and memory of our own relay."""
    with subprocess.Popen(  # noqa: S603 - this very program
        command("relay.bench.generator"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.json.encode(plan))
        process.stdin.close()
        used, since = own.processor() if own else 0.0, time.perf_counter()
        for line in process.stdout:
            found = msgspec.json.decode(line, type=Line)
            row = found.figures
            if row is None:
                _progress(found.progress, quiet=quiet)
                continue
            if own:
                used_now, now = own.processor(), time.perf_counter()
                row.relay = round((used_now - used) / (now - since), 2)
                row.memory = own.memory()
                used, since = used_now, now
            yield row
        said = process.stderr.read().decode(errors="replace")
        _progress(None, quiet=quiet)
        if process.wait():
            raise BenchRefused(last_line(said, "the generator ended early"))


def _progress(now: Progress | None, *, quiet: bool) -> None:
    if quiet or not sys.stderr.isatty():
        return
    text = f"{now.now}: {now.rate:,.0f}/s" if now else ""
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _show(started: Started | None, rows: Sequence[WorkFigures]) -> None:
    if started is not None:
        print(f"Started in {started.ready} ms, holding {size(started.memory)}.\n")
    table(
        ("WORK", "PER SECOND", "P50 MS", "P99 MS", "WORST MS", "RELAY'S CORE", "GENERATOR'S", "MEMORY", "LOST"),
        (
            (
                row.work,
                f"{row.per_second:,.0f} {row.unit.removesuffix('/s')}",
                _number(row.p50),
                _number(row.p99),
                _number(row.worst),
                "" if row.relay is None else f"{row.relay:.0%}",
                f"{row.generator:.0%}",
                "" if row.memory is None else size(row.memory),
                row.lost,
            )
            for row in rows
        ),
        "Nothing was measured.",
    )
    if any(row.generator > FULL_CORE_SHARE for row in rows):
        print("\nIf the generator's core was full, the relay could have carried more.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
