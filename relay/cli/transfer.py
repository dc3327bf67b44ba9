"""`relay export` and `relay import`: users, chats and messages, out of one relay and into another."""

import contextlib
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from relay.cli.control_client import Ask, ask, conversation
from relay.cli.importers.base import NotUnderstood
from relay.cli.importers.formats.detect import open_source
from relay.cli.importers.identities import Namesake
from relay.cli.importers.importing import Importing
from relay.cli.offline import in_trio
from relay.cli.options import Data, Json
from relay.cli.output import Failure, WrongUse, as_json, progress, say
from relay.cli.paths import cannot_write, check_target
from relay.cli.store.lost_files import lost_files, report_lost
from relay.protocol import control
from relay.protocol.control.table import EXPORT
from relay.settings import data_directory
from relay.store.backup import archive, pacing
from relay.store.blobs import Blobs
from relay.store.contents import Condition, Verdict, add_to_tar
from relay.store.data_dir import empty
from relay.store.files import scratch
from relay.store.files.directory import STORE, is_there

SHOWN_NAMES = 3
"""Maximum names in one line."""


def export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE.jsonl]", help="The file to write; by default, or with -, standard output."),
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="Write a tar file with the uploaded files, too.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write all users, chats and messages to a file, one JSON object a line. The relay may run meanwhile.

    Example: relay export office.jsonl
    """
    if file is None or str(file) == "-":
        if files:
            raise WrongUse("a tar file needs a name: `relay export --files FILE.tar`")
        _report_unreadable(_export(data, sys.stdout.buffer), "standard output")
        return
    check_target(file, data_directory(data))
    lost: dict[str, Verdict] = {}
    try:
        scratch.sweep(file.absolute().parent)
        with pacing.low_priority(), scratch.folder(file.absolute().parent, "export") as here:
            part = here / file.name
            with pacing.open_paced(part) as target:
                part.chmod(0o600)
                exported = _export_tar(data, target, here, lost) if files else _export(data, target)
            scratch.put_in_place(part, file.absolute())
    except OSError as error:
        raise cannot_write(file, error) from None
    if json:
        as_json(msgspec.to_builtins(exported) | lost_files(lost))
    else:
        report_lost(lost, data_directory(data), "export")
        say(f"{file}: {exported.users} users, {exported.chats} chats, {exported.messages} messages")
    _report_unreadable(exported, str(file))


def _report_unreadable(exported: control.Exported, where: str) -> None:
    """Name the entries that the export lacks.

    Raises:
        Failure: there are any.
    """
    if exported.unreadable:
        count = sum(last - first + 1 for first, last in exported.unreadable)
        spans = [str(one) if one == last else f"{one} to {last}" for one, last in exported.unreadable]
        raise Failure(
            f"{count:,} entries of the log cannot be read and are not in {where}, which has all others: {_first(spans)}"
        )


def _export_tar(data: Path | None, target: IO[bytes], here: Path, lost: dict[str, Verdict]) -> control.Exported:
    """Write a tar file: the lines as `export.jsonl`, each uploaded file as `files/ID/NAME`.

    Args:
        data: the value of `--data`.
        target: the tar file.
        here: a directory on the same disk, for the lines.
        lost: collects the uploaded files that are not whole, by name.
    """
    flawed: dict[str, Verdict] = {}
    contents = Blobs(data_directory(data) / "files")
    held: dict[str, control.Record] = {}
    # Beside the target, which has room: /tmp may be in memory.
    with tempfile.TemporaryFile(dir=here) as lines, tarfile.open(fileobj=target, mode="w") as tar:
        exported = _export(data, lines, held)
        entry = tarfile.TarInfo("export.jsonl")
        entry.size, entry.mode = lines.tell(), 0o600
        lines.seek(0)
        tar.addfile(entry, lines)
        with progress("files") as advance:
            for file in held.values():
                digest = file.digest or ""
                name = f"files/{file.id}/{Path(file.name or 'file').name}"
                verdict = add_to_tar(tar, contents.path(digest), name)
                if verdict.condition is not Condition.WHOLE:
                    flawed[f"{archive.FILES_FOLDER}/{digest[:2]}/{digest}"] = verdict
                # Otherwise tarfile would keep every member in memory.
                tar.members = []  # type: ignore[attr-defined]
                advance(1)
    if flawed:
        # A file that was deleted meanwhile does not count.
        still = archive.named_files(data_directory(data) / STORE)
        lost.update((name, flawed[name]) for name in sorted(flawed.keys() & still))
    return exported


def _export(data: Path | None, target: IO[bytes], held: dict[str, control.Record] | None = None) -> control.Exported:
    """Write the lines.

    Args:
        data: the value of `--data`.
        target: the file to write.
        held: collects the records of uploaded files, by id.
    """
    with progress("exporting") as advance:

        def write(record: control.Record) -> None:
            if held is not None and record.type == "file":
                held[record.id or ""] = record
            target.write(msgspec.json.encode(record) + b"\n")
            advance(1)

        return ask(data_directory(data), EXPORT, control.Export(files=held is not None), items=write)


def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An export of a relay, of Slack or of Mattermost.", show_default=False),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be imported, and change nothing.")] = False,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="THERE=HERE",
            help="The id here of a person or group in the export (can be repeated).",
            show_default=False,
        ),
    ] = None,
    same: Annotated[
        bool, typer.Option("--same", help="Take people and groups in the export for those here with the same ids.")
    ] = False,
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The owner of groups in which nobody can sign in any more; without one, they stay behind.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Import users, chats and messages from an export; list what cannot be imported.

    Messages keep their dates; in a relay that is in use they follow the messages that are there. A chat that is here
    already keeps its members. An import that was interrupted continues when it is run again, and imports nothing
    twice. Only messages that retention removed more than a week ago come back with an export that still has them.

    A person or group in the export with the id of one here may be another one. Say so with --map: anna=anna if they
    are the same, anna=anna.2 if not. --same says it for all; --dry-run lists them. If several have the same name,
    give the id that Slack has of each: U024BE7LH=anna. The relay remembers these answers.

    The members of a chat are those that the export states: writing in it makes nobody a member. A group in which nobody
    is left, as an archived channel of Slack, comes only with --owner, as its history should have a reader.

    Example: relay import slack-export.zip
    """
    import trio

    directory = data_directory(data)
    ids = _mapping(map_ or [])

    async def import_all() -> tuple[Importing, list[Namesake]]:
        async with _relay(directory, dry=dry_run) as ask_one:
            importing = Importing(ask_one, opened, int(time.time() * 1_000), keeper=owner, dry=dry_run)
            namesakes = await importing.identify(ids)
            open_ = [one for one in namesakes if not (same and one.unique)]
            if open_ and not dry_run:
                raise Failure(_ask_about(open_))
            await importing.run()
            return importing, namesakes

    try:
        opened = open_source(source, room=_free(directory))
        importing, namesakes = in_trio(trio.run, import_all)
    except NotUnderstood as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure("interrupted: run it again, and it continues where it stopped") from None
    _report(importing, namesakes, owner, dry_run=dry_run, same=same, json=json)


def _report(
    importing: Importing, namesakes: list[Namesake], owner: str | None, *, dry_run: bool, same: bool, json: bool
) -> None:
    """Print what was imported, or would be, and what was left behind."""
    left = {what: count for what, count in importing.left.items() if count}
    inferred = {what: count for what, count in importing.inferred.items() if count}
    if json:
        counts = {"added": importing.added, "here": importing.here, "left": left}
        found = [
            {"id": one.id, "there": one.there, "here": one.here, "hereId": one.here_id, "unique": one.unique}
            for one in namesakes
        ]
        others = {one.label: one.id for one in importing.others}
        chats = {"inferred": inferred, "ownerless": importing.ownerless, "kept": importing.kept}
        people = {"admins": importing.admins, "others": others, "namesakes": found}
        as_json({"dryRun": dry_run, **counts, **chats, **people})
        return
    print(_counted(importing.added) + (" would come in" if dry_run else " came in"))
    if importing.here.total():
        say(f"already here: {_counted(importing.here)}")
    if importing.admins:
        say(f"admins according to the export, who may invite others: {', '.join(importing.admins)}")
    _report_doubts(importing, namesakes, same=same)
    for what, count in sorted(left.items(), key=lambda one: -one[1]):
        say(f"left behind: {count} {what}")
    for what, count in inferred.items():
        say(f"members that the export does not list: {count} {what}")
    if importing.kept:
        say(f"owned by {owner}, because none of their members can sign in: {_first(importing.kept)}")
    if importing.ownerless:
        say(f"left behind, because none of their members can sign in: {_first(importing.ownerless)}")
        say("to import these too: `relay import FILE --owner ID`, with the user who is to join and own them")


def _report_doubts(importing: Importing, namesakes: list[Namesake], *, same: bool) -> None:
    """Print the people who get another id than the wanted one, and those whom the admin has to match."""
    for other in importing.others:
        say(f"{other.label} of the export is {other.id} here: somebody else is, or could be, {other.wish}")
    for one in namesakes:
        if one.unique:
            say(f"{one.id} is {_here(one)} here and {one.there} in the export: taken for the same")
        else:
            say(f"{one.id} is {one.there} in the export and perhaps {_here(one)} here: taken for somebody new")
    if not same and any(one.unique for one in namesakes):
        say("to import, say so: --same for all who are taken for the same, --map THERE=HERE for each")
    for one in namesakes:
        if not one.unique:
            say(f"to import, say who {one.there} is here: --map {one.id}={one.here_id}, or another id")


def _mapping(pairs: list[str]) -> dict[str, str]:
    """Read the values of `--map`.

    Raises:
        WrongUse: one is not THERE=HERE.
    """
    ids: dict[str, str] = {}
    for pair in pairs:
        there, equals, here = pair.partition("=")
        if not (there and equals and here) or there in ids:
            raise WrongUse(f"--map: {pair!r} should look like THERE=HERE, once for each person")
        ids[there] = here
    return ids


def _ask_about(namesakes: list[Namesake]) -> str:
    """Say in one line which matches are uncertain, and which options decide them."""
    unique = [one for one in namesakes if one.unique]
    others = [one for one in namesakes if not one.unique]
    said = []
    if unique:
        first = unique[0]
        said.append(
            f"the export has ids of users or groups here: {_shown(unique)}. Are they the same? --same. Others?"
            f" --map {first.id}=NEW (--map {first.id}={first.here_id} for one that is the same)"
        )
    if others:
        first = others[0]
        said.append(
            f"An id here could be of several in the export, or of another one: {_shown(others)}. Say who each is:"
            f" --map {first.id}={first.here_id} for one that is the same, --map {first.id}=NEW for another one"
        )
    return f"{'. '.join(said)}. Nothing was changed"


def _shown(namesakes: list[Namesake]) -> str:
    """List some namesakes by both names."""
    return _first([f"{one.id} ({one.there} there, {_here(one)} here)" for one in namesakes])


def _first(names: list[str]) -> str:
    """List the first names, and say how many others there are."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _here(one: Namesake) -> str:
    """Name a user by their name here, with their id if the export uses another name."""
    return one.here if one.here_id == one.id else f"{one.here}, {one.here_id}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


@contextlib.asynccontextmanager
async def _relay(data: Path, *, dry: bool) -> AsyncIterator[Ask]:
    """Reach the relay, or make one. Without a relay, a dry run uses an empty one that is removed afterwards."""
    if dry and not _exists(data):
        with tempfile.TemporaryDirectory(prefix="relay-import-") as empty:
            async with conversation(Path(empty), make=True) as ask_one:
                yield ask_one
        return
    async with conversation(data, make=not dry, reads=dry) as ask_one:
        yield ask_one


def _exists(data: Path) -> bool:
    """Return whether the data directory has a store, or what shows that there was one, or is something else."""
    return data.exists() and (not data.is_dir() or is_there(data / STORE) or empty.trace(data) is not None)


def _free(directory: Path) -> int:
    """Return the free bytes on the disk of the data directory, which need not exist yet."""
    there = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free
