"""`relay export` and `relay import`: everything people said, out of a relay and into one."""

import contextlib
import shutil
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import typer

from relay.cli.door import Ask, Refused, ask, conversation, in_trio
from relay.cli.files import cannot_write, check_target
from relay.cli.options import Data, Json
from relay.cli.output import Failure, WrongUse, as_json, progress
from relay.cli.sources.opening import open_source
from relay.cli.sources.said import TEXT, Enclosed, NotUnderstood, Said, Source, fit_name
from relay.protocol import control
from relay.protocol.objects import Attachment
from relay.settings import data_directory
from relay.store import gently, scratch
from relay.store.contents import Contents

BATCH = 200
"""Messages that go in one request."""
LARGEST = 10_000_000
"""Bytes of a file that goes in one request."""


def export(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.jsonl]", help="Where to; standard output where none is given, or -.")
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Write a tar file that holds the uploaded files, too.")
    ] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write all users, chats and messages to a file, a JSON object a line; the relay may run meanwhile.

    Example: relay export office.jsonl
    """
    if file is None or str(file) == "-":
        if files:
            raise WrongUse("a tar file needs a name: relay export --files FILE.tar")
        _export(data, sys.stdout.buffer)
        return
    check_target(file, data_directory(data))
    try:
        scratch.sweep(file.absolute().parent)
        with gently.beside(), scratch.folder(file.absolute().parent, "export") as here:
            part = here / file.name
            with gently.opened(part) as target:
                part.chmod(0o600)
                exported = _export_tar(data, target) if files else _export(data, target)
            scratch.place(part, file.absolute())
    except OSError as error:
        raise cannot_write(file, error) from None
    if json:
        as_json(exported)
    else:
        print(f"{file}: {exported.users} users, {exported.chats} chats, {exported.messages} messages")


def _export_tar(data: Path | None, target: IO[bytes]) -> Any:
    """Write the lines as `export.jsonl`, and beside them each file as `files/ID/NAME`."""
    contents = Contents(data_directory(data) / "files")
    held: dict[str, control.Record] = {}
    with tempfile.TemporaryFile() as lines, tarfile.open(fileobj=target, mode="w") as tar:
        exported = _export(data, lines, held)
        entry = tarfile.TarInfo("export.jsonl")
        entry.size, entry.mode = lines.tell(), 0o600
        lines.seek(0)
        tar.addfile(entry, lines)
        with progress("files") as advance:
            for file in held.values():
                # A file that was deleted meanwhile is not there any more, which is what was asked for.
                with contextlib.suppress(FileNotFoundError):
                    tar.add(contents.path(file.digest or ""), f"files/{file.id}/{Path(file.name or 'file').name}")
                advance(1)
    return exported


def _export(data: Path | None, target: IO[bytes], held: dict[str, control.Record] | None = None) -> Any:
    """Write the lines; put what is known of files into `held`, by id, where it is given."""
    with progress("exporting") as advance:

        def write(record: control.Record) -> None:
            if held is not None and record.type == "file":
                held[record.id or ""] = record
            target.write(msgspec.json.encode(record) + b"\n")
            advance(1)

        return ask(data_directory(data), "export", control.Export(files=held is not None), items=write)


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A relay's export, a Slack export, a Mattermost bulk export.", show_default=False
        ),
    ],
    data: Data = None,
    json: Json = False,
) -> None:
    """Bring in users, chats and messages from elsewhere; what cannot be carried over is listed.

    Into a new relay messages come with their dates; in one that is in use each says its date in its text.
    Interrupted, it goes on where it stopped when it is called again: nothing comes twice.

    Example: relay import slack-export.zip
    """
    import trio

    async def bring_in() -> Importing:
        async with conversation(data_directory(data), make=True) as ask_one:
            importing = Importing(ask_one, opened)
            await importing.run()
            return importing

    try:
        opened = open_source(source, room=_free(data_directory(data)))
        importing = in_trio(trio.run, bring_in)
    except NotUnderstood as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure("interrupted: call it again, and it goes on where it stopped") from None
    if json:
        as_json({"added": importing.added, "left": {what: count for what, count in importing.left.items() if count}})
        return
    print(", ".join(f"{count} {what}" for what, count in importing.added.items()) + " came in")
    if importing.admins:
        print(f"admins by the export's word, who may invite others: {', '.join(importing.admins)}")
    for what, count in importing.left.most_common():
        if count:
            print(f"left behind: {count} {what}")


def _free(directory: Path) -> int:
    """Bytes that are free where the relay's data is, or will be."""
    there = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


class Importing:
    """One import, from its source into a relay."""

    def __init__(self, ask_one: Ask, source: Source) -> None:
        self._ask = ask_one
        self._source = source
        self.added: Counter[str] = Counter(users=0, chats=0, messages=0, files=0)
        self.left = source.left
        self.admins: list[str] = []
        """New users whom the export calls admins."""
        self._disabled: list[str] = []
        self._participants: dict[str, set[str]] = {}
        self._touched: dict[tuple[str, tuple[str, ...]], None] = {}
        self._ids: dict[str, int] = {}
        self._waiting: list[Said] = []
        self._wanted: set[str] = set()

    async def run(self) -> None:
        """Bring everything in: people, then chats, then what they said."""
        await self._people()
        await self._rooms()
        with progress("messages") as advance:
            for said in self._source.messages():
                if said.answers in self._wanted or len(self._waiting) >= BATCH:
                    advance(await self._flush())
                if said.room and said.room not in self._participants:
                    self.left["messages of chats that are not in the export"] += 1
                    continue
                self._waiting.append(said)
                self._wanted.add(said.key)
            advance(await self._flush())
        chats = [control.Place(chat=room, participants=list(people)) for room, people in self._touched]
        await self._ask("bring.end", control.BringEnd(chats=chats, disabled=self._disabled))

    async def _people(self) -> None:
        for person in self._source.people():
            brought = await self._ask(
                "bring.user",
                control.BringUser(
                    id=person.id,
                    name=fit_name(person.name) or person.id,
                    at=self._source.start,
                    bot=person.bot,
                    admin=person.admin,
                ),
            )
            self.added["users"] += brought.added
            if person.admin and brought.added:
                self.admins.append(person.id)
            if person.disabled:
                self._disabled.append(person.id)

    async def _rooms(self) -> None:
        for room in self._source.rooms():
            try:
                brought = await self._ask(
                    "bring.chat",
                    control.BringChat(
                        id=room.id,
                        kind="channel" if room.kind == "channel" else "group",
                        name=fit_name(room.name) or room.id,
                        owner=room.owner,
                        admins=room.admins,
                        participants=room.participants,
                        at=self._source.start,
                    ),
                )
            except Refused as refused:
                self.left[f"chats ({refused})"] += 1
                continue
            self.added["chats"] += brought.added
            self._participants[room.id] = set(room.participants)

    async def _flush(self) -> int:
        """Hand over what waits; give how many that were."""
        waiting, self._waiting = self._waiting, []
        self._wanted.clear()
        if not waiting:
            return 0
        messages = [await self._message(said) for said in waiting]
        answers = await self._ask("bring.messages", control.BringMessages(messages=messages))
        for said, answer in zip(waiting, answers, strict=True):
            if answer.error:
                self.left[f"messages ({answer.error})"] += 1
                continue
            self.added["messages"] += 1
            self._ids[said.key] = answer.message_id
            self._touched[said.room, said.people] = None
        return len(waiting)

    async def _message(self, said: Said) -> control.BringMessage:
        peer = next((one for one in said.people if one != said.sender), said.sender)
        text, attachments = said.text.replace("\0", ""), []
        for file in said.files:
            attachment = await self._file(said, file)
            if attachment is None:
                text += f"\n(file: {file.name})"
            else:
                attachments.append(attachment)
        if len(text) > TEXT - 20:
            self.left["ends of messages that are too long"] += 1
        return control.BringMessage(
            chat=said.room or peer,
            sender=said.sender,
            client_message_id=said.key,
            text=text.strip()[: TEXT - 20] or (None if attachments else "(empty)"),
            attachments=attachments or None,
            at=said.at,
            reply_to=self._ids.get(said.answers) or None,
        )

    async def _file(self, said: Said, file: Enclosed) -> Attachment | None:
        """Hand a file over; None where it stays behind."""
        if file.size > LARGEST:
            self.left[f"files over {LARGEST // 1_000_000} MB"] += 1
            return None
        request = control.BringFile(sender=said.sender, name=file.name[:255], data=file.read(), at=said.at)
        try:
            attachment: Attachment = await self._ask("bring.file", request)
        except Refused as refused:
            self.left[f"files ({refused})"] += 1
            return None
        self.added["files"] += 1
        return attachment
