"""`relay check` and `relay reindex`: checking the store, and rebuilding its full-text index."""

import math
from typing import Annotated

import trio
import typer
from rich.console import Console

from relay.cli.control_client import ask
from relay.cli.offline import existing_store, plain_faults
from relay.cli.options import Data, Json
from relay.cli.output import as_json, say
from relay.core.maintenance.check import AGREEMENT, CONTENTS, READ_SECONDS, CheckResult
from relay.core.maintenance.check import check as check_store
from relay.protocol import control
from relay.protocol.control.table import REINDEX
from relay.settings import data_directory
from relay.store.backup import pacing
from relay.store.damage import PAGE_HELPS
from relay.store.integrity import CLIENT_IDS, HOLDINGS, INDEX, PAGES, TEXTS

REPAIR = f"No message is lost unless the log itself is damaged: {PAGE_HELPS}."
RESTORE = "Restore a backup (`relay restore FILE`), or keep the file and ask for help."
REMAKE = "No message is lost, since the index is built from the messages. `relay reindex` rebuilds it."

TEXT = (
    "The relay runs with these, and shows \ufffd in place of what is lost. Edit or delete such a message, or restore a"
    " backup from before (`relay restore FILE`); what that does not mend, a new relay does that imports this one's"
    " `relay export`. Until then `relay backup` fails, and the last good backup stays."
)


FILES = "No message is lost. Send such a file again, or take it from an older backup: `relay help backup` says how."


def check(
    data: Data = None,
    all_: Annotated[bool, typer.Option("--all", help="Read the contents of all files, however long it takes.")] = False,
    json: Json = False,
) -> None:
    """Verify that the store is intact and consistent. The relay may run meanwhile.

    The contents of uploaded files are read for a minute; each check starts at another file.

    Example: relay check
    """
    where = data_directory(data)
    existing_store(where)
    console = Console(stderr=True)
    findings: list[CheckResult] = []
    with pacing.low_priority(), plain_faults(where), console.status("") as status:
        findings = trio.run(check_store, where, status.update, math.inf if all_ else READ_SECONDS)
    if json:
        as_json(
            [
                {"what": finding.what, "ok": not finding.wrong, "wrong": finding.wrong}
                | ({"unread": finding.unread} if finding.unread else {})
                for finding in findings
            ]
        )
    else:
        for finding in findings:
            say(f"{'ok   ' if not finding.wrong else 'WRONG'}  {finding.what}")
            for fault in finding.wrong:
                say(f"         {fault}")
            if finding.unread:
                say(f"         {finding.unread} not read after {READ_SECONDS:.0f} s: `relay check --all` reads all")
    wrong = {finding.what for finding in findings if finding.wrong}
    if wrong:
        if not json:
            say(_advice(wrong))
        raise typer.Exit(1)


def _advice(wrong: set[str]) -> str:
    """Say what to do about the checks that found something."""
    if len(wrong) == 1 and (one := next(iter(wrong))) in ADVICE:
        return ADVICE[one]
    # Where pages are damaged, all checks that read them fail: only the repair finds out whether the log is whole.
    return REPAIR if PAGES in wrong or wrong <= REPAIRED else RESTORE


ADVICE = {INDEX: REMAKE, TEXTS: TEXT, CONTENTS: FILES}
"""What to do about a fault that is the only one."""
REPAIRED = {PAGES, INDEX, CLIENT_IDS, HOLDINGS, AGREEMENT, CONTENTS}
"""The checks of what follows from the log, or of where it lies. Contents of files are a matter of their own."""


def reindex(data: Data = None, json: Json = False) -> None:
    """Rebuild the full-text index from the messages, after `relay check` found it damaged.

    The relay does it in the background. Until it is done, searches read the messages instead.

    Example: relay reindex
    """
    done = ask(data_directory(data), REINDEX, control.Empty())
    if json:
        as_json(done)
    else:
        say("the full-text index is being rebuilt; `relay status` shows how much is left")
