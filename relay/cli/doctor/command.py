"""`relay doctor`: problems of this machine, and what to do about them.

Each check yields findings and changes nothing. A check whose tool is missing is skipped.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import typer

from relay.cli.control_client import ask_running
from relay.cli.doctor import machine, reach, service, store
from relay.cli.doctor.finding import Finding, Level, Subject
from relay.cli.hints import as_typed
from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, visible
from relay.protocol import control
from relay.protocol.control.table import STATUS_SHOW
from relay.settings import Loaded, WrongSettings, data_directory

Check = Callable[[Subject], Iterator[Finding]]

DOCTOR_CHECKS: tuple[Check, ...] = (
    reach.network,
    machine.names,
    machine.clock,
    store.search,
    machine.disk,
    machine.permissions,
    machine.limits,
    store.sqlite,
    store.leftovers,
    service.certificate,
    service.systemd,
    service.journal,
)


def doctor(data: Data = None, json: Json = False) -> None:
    """Check this machine: network, names, clock, disk, store, certificates, systemd and its journal.

    Exits with 1 if something needs doing.

    Example: relay doctor
    """
    found = [
        finding._replace(what=as_typed(finding.what), advice=as_typed(finding.advice))
        for finding in examine(data_directory(data))
    ]
    if json:
        as_json([finding._asdict() for finding in found])
    else:
        show(found)
    if any(finding.level == "bad" for finding in found):
        raise typer.Exit(1)


def show(found: Iterable[Finding]) -> None:
    """Print findings for a person."""
    for finding in found:
        print(f"{_mark(finding.level)} {finding.check:<12}{finding.what}")
        if finding.advice:
            print(f"{'':<15}{finding.advice}")


def _mark(level: Level) -> str:
    mark = {"good": "ok ", "note": " ! ", "bad": "BAD"}[level]
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return mark
    return f"\x1b[{ {'good': 32, 'note': 33, 'bad': 31}[level] }m{mark}\x1b[0m"


def examine(data: Path, checks: Sequence[Check] = DOCTOR_CHECKS) -> Iterator[Finding]:
    """Run checks on a data directory and yield their findings."""
    try:
        settings = Loaded(environment=os.environ, options={})
    except WrongSettings as error:
        settings = None
        yield Finding("settings", "bad", str(error), "Fix it, then run `relay config check`.")
    try:
        status = ask_running(data, STATUS_SHOW, control.Empty())
        yield service.running(data, status)
    except Failure as failure:
        status = None
        yield Finding("relay", "bad", str(failure), "The relay could not be asked for more.")
    subject = Subject(data, status, settings)
    for check in checks:
        try:
            yield from map(_in_one_line, check(subject))
        except Exception as error:  # noqa: BLE001 - the other checks must still run
            name = check.__name__.strip("_")
            yield _in_one_line(Finding(name, "note", f"could not be checked: {error}"))


def _in_one_line(finding: Finding) -> Finding:
    """Keep the output of another program in one line, without control characters."""
    return finding._replace(what=visible(" ".join(finding.what.split())))
