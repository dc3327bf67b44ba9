"""`relay status` and `relay audit`: the health of a relay, and its changes."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.control_client import ask, ask_running
from relay.cli.hints import as_typed
from relay.cli.messages import describe_change
from relay.cli.options import Data, Json, complete_user
from relay.cli.output import Failure, as_json, duration, say, size, table, when
from relay.protocol import control
from relay.protocol.control.table import AUDIT_LIST, STATUS_SHOW
from relay.settings import data_directory
from relay.store.damage import PAGE_HELPS

if TYPE_CHECKING:
    from rich.console import RenderableType

DISK_SECONDS = 7 * 86_400
"""A disk that will be full sooner than this is reported."""
HISTORY_SAMPLES = 60
"""Samples in the graphs of the live screen."""
SLOW_WRITE_SECONDS = 5.0
"""A write that takes longer than this is reported."""
CAUSES = {
    "sync": "writing to the disk (sync)",
    "checkpoint": "the log was copied back (checkpoint)",
    "prune": "messages were removed (prune)",
    "index": "words were indexed (index)",
    "snapshot": "the state was written (snapshot)",
    "keys": "client ids were moved to their table (keys)",
    "loop": "the relay was busy (loop)",
}
"""The causes of a long wait, in words."""
BARS = " ▁▂▃▄▅▆▇█"


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show a live screen until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two samples of --watch.")] = 1.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show how the relay is doing: who is online, how fast it is, how long the disk lasts.

    Exits with 1 if no relay runs.

    Example: relay status --watch
    """
    where = data_directory(data)
    if watch:
        _watch(where, every, json=json)
        return
    now = look(where)
    if json:
        as_json(now)
        return
    _print(now)


def _print(now: control.Status) -> None:
    for name, value in _lines(now):
        say(f"{name:<12}{value}")
    for warning in warnings(now):
        say(f"! {warning}")


def look(data: Path) -> control.Status:
    """Ask the running relay for its status."""
    now = ask_running(data, STATUS_SHOW, control.Empty())
    if now is None:
        raise Failure(f"no relay runs on {data}: `relay serve` or `systemctl start relay` starts one")
    assert isinstance(now, control.Status)
    return now


def _lines(now: control.Status) -> Iterator[tuple[str, str]]:
    """Describe a status, one line for each subject: its name and the text."""
    most = f" of {now.max_connections:,}" if now.max_connections else ""
    yield "relay", f"{now.version}, process {now.pid}, up {duration(now.uptime)}"
    yield "address", now.url or "-"
    yield (
        "people",
        f"{now.users_online:,} of {now.users:,} online, {now.connections:,}{most} connections{_greatest(now)}",
    )
    yield "sign-ins", f"{now.sign_in_failures:,} failed since the start"
    yield "chats", f"{now.chats:,}, last event {now.last_event:,}"
    yield "traffic", f"{now.messages_per_second:,.1f} messages/s in, {now.deliveries_per_second:,.1f} events/s out"
    lag = "-" if now.median_lag is None else f"half within {now.median_lag} ms, 99 % within {now.high_lag} ms"
    yield "delivery", lag
    yield (
        "writer",
        (f"{now.requests_per_second:,.1f} changes/s, {now.batch_size:.1f} a commit of {now.commit_ms:.1f} ms"),
    )
    yield "waits", _longest(now.longest_wait)
    yield (
        "outboxes",
        f"{size(now.outbox_bytes)} wait"
        + (f"; slowest: {', '.join(_reader(one) for one in now.slow_readers)}" if now.slow_readers else ""),
    )
    yield "store", f"{size(now.store_bytes)}, {size(now.wal_bytes)} in its log"
    yield (
        "disk",
        f"{size(now.disk_free)} left"
        + ("" if now.disk_files_free is None else f", {now.disk_files_free:,} files more (inodes)")
        + (f", {duration(now.disk_seconds_left)} at the present rate" if now.disk_seconds_left else ""),
    )
    yield "process", f"{size(now.memory_bytes)} of memory, {now.cpu:.0%} of a core"


def _longest(wait: control.LongestWait | None) -> str:
    """Describe the longest wait of the last hour."""
    if wait is None:
        return "nobody sent anything in the last hour"
    why = CAUSES.get(wait.cause, wait.cause)
    return f"{wait.ms:,.0f} ms at most in the last hour: {why}"


def _greatest(now: control.Status) -> str:
    """Name the user with the most connections."""
    most = now.most_connections
    return f", {most.connections} of them {most.user_id}'s" if most else ""


def _reader(one: control.SlowReader) -> str:
    return f"{one.user_id} {size(one.bytes)} for {duration(one.seconds)}"


def warnings(now: control.Status) -> Iterator[str]:
    """List the points that need an admin's attention."""
    if now.disk_full:
        yield "the disk is full: people can only read; `relay prune` has room set aside, or move other files away"
    elif now.write_failing:
        yield "the store cannot be written: see `journalctl -u relay`, then `relay doctor`"
    if now.writing_for > SLOW_WRITE_SECONDS:
        yield f"a write has been under way for {duration(now.writing_for)}: the disk is slow, and senders wait"
    if now.disk_seconds_left is not None and now.disk_seconds_left < DISK_SECONDS:
        yield f"the disk will be full in {duration(now.disk_seconds_left)}: see `relay help tuning`"
    if now.damaged:
        yield damaged(now)
    if now.index_remaking:
        yield index_remaking(now)
    if now.clock_ahead:
        yield clock_ahead(now)
    elif now.log_ahead:
        yield log_ahead(now)
    if now.max_connections and now.connections >= now.max_connections:
        yield "no more connections are accepted: raise limits.connections"


def index_remaking(now: control.Status) -> str:
    """Say that the full-text index is being rebuilt."""
    return (
        f"the full-text index is being rebuilt from the messages, {now.index_behind:,} entries are left:"
        " nothing is lost, searches may be slower until then"
    )


def damaged(now: control.Status) -> str:
    """Say which parts of the store are damaged, and what helps."""
    return f"damaged pages of the store are in the way of {' and '.join(now.damaged)}: {PAGE_HELPS}"


def clock_ahead(now: control.Status) -> str:
    """Say that the relay does not trust the machine's clock."""
    return (
        f"the machine's clock is {duration(now.clock_ahead)} past the log's last time and nothing vouches for it:"
        " nothing is deleted or expires; is it right? `relay clock trust`"
    )


def log_ahead(now: control.Status) -> str:
    """Say that the log's time is ahead of the clock."""
    return (
        f"the log's last time is {duration(now.log_ahead)} ahead of the clock: new messages get that time, too;"
        " is the clock right? `relay clock trust`"
    )


def _watch(data: Path, every: float, *, json: bool) -> None:
    try:
        if json:
            while True:
                as_json(look(data))
                time.sleep(every)
        show = _live if sys.stdout.isatty() else _samples
        show(data, every)
    except KeyboardInterrupt:
        return


def _samples(data: Path, every: float) -> None:
    """Print each sample below the one before it, for a pipe or a file, where no screen can be drawn."""
    # Fail at once if no relay runs; wait for one that stops later.
    now: control.Status | None = look(data)
    while True:
        say(time.strftime("%Y-%m-%d %H:%M:%S"))
        if now is not None:
            _print(now)
        say("")
        sys.stdout.flush()
        time.sleep(every)
        try:
            now = look(data)
        except Failure as failure:
            now = None
            say(f"{failure}: waiting for it")


def _live(data: Path, every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    # Fail at once if no relay runs; wait for one that stops later.
    past = [look(data)]
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            shown: RenderableType
            try:
                past = [*past[1 - HISTORY_SAMPLES :], look(data)]
                shown = screen(past)
            except Failure as failure:
                past = []
                shown = f"{as_typed(str(failure))}\n\nwaiting for it …"
            live.update(shown, refresh=True)
            time.sleep(every)


def screen(past: list[control.Status]) -> "RenderableType":
    """Lay out the live screen, 80 columns by 24 lines: the present figures and small graphs.

    Args:
        past: the samples so far, the latest last; at least one.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    now = past[-1]
    figures = Table(box=None, show_header=False, pad_edge=False, expand=True)
    figures.add_column(style="bold", width=9, no_wrap=True)
    figures.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    for name, value in _lines(now):
        if name not in ("outboxes", "waits"):
            figures.add_row(name, value)
    graphs = Table(box=None, show_header=False, pad_edge=False, expand=True)
    graphs.add_column(style="bold", width=9, no_wrap=True)
    graphs.add_column(ratio=1, no_wrap=True)
    graphs.add_column(justify="right", width=8, no_wrap=True)
    for name, field in (
        ("in/s", "messages_per_second"),
        ("out/s", "deliveries_per_second"),
        ("lag ms", "high_lag"),
    ):
        values = [getattr(one, field) or 0 for one in past]
        graphs.add_row(name, Text(bars(values), style="cyan"), f"{values[-1]:,.0f}")
    slow = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    for column in ("slow readers", "device", "waits", "for"):
        slow.add_column(column, justify="left" if column == "slow readers" else "right")
    for one in now.slow_readers[:3]:
        slow.add_row(one.user_id[:24], str(one.device_id), size(one.bytes), duration(one.seconds))
    if not now.slow_readers:
        slow.add_row("nobody", "", "", "")
    alarms = [Text(f"! {as_typed(one)}", style="bold red", overflow="ellipsis", no_wrap=True) for one in warnings(now)]
    clock = Text(time.strftime("%H:%M:%S") + "   Ctrl-C ends", style="dim")
    return Group(figures, "", graphs, "", slow, *alarms, clock)


def bars(values: list[float]) -> str:
    """Draw values as a line of block characters, scaled to the largest of them."""
    most = max(values, default=0) or 1
    return "".join(BARS[min(len(BARS) - 1, round(value / most * (len(BARS) - 1)))] for value in values)


def audit(
    actor: Annotated[
        str | None,
        typer.Option("--by", metavar="USER", help="Only by this user, or (admin).", autocompletion=complete_user),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many.")] = 50,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show who changed what: users, devices, groups, history. The latest change comes first. No texts are shown.

    Example: relay audit --by "(admin)"
    """
    done = ask(data_directory(data), AUDIT_LIST, control.Audit(actor=actor, count=count))
    if json:
        as_json(done)
        return
    table(
        ("when", "who", "what"),
        ((when(one.timestamp), one.actor, describe_change(one)) for one in done),
        "nothing was changed yet",
    )
