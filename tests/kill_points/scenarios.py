"""The killed commands: each replaces something, and states what must hold after a kill at any point.

Each has a directory of its own. `prepare` fills it, `run` gets killed, `hold` checks the remains after a relay was
started on them, and tells whether the run had taken effect. Longer than other modules: a list with one class per
command.
"""

import shutil
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import trio

from relay.core.relay import Relay, open_relay
from relay.core.rules import commands
from relay.keys import NO_DEVICE
from relay.net.tls.authority import AUTHORITY, AUTHORITY_KEY, Authority
from relay.net.tls.certificates import Certificates
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.settings import TlsSection
from relay.store.files import replacing
from relay.store.sqlite import database, migrate, schema
from tests.kill_points.scenario import (
    ALL,
    EARLY,
    SETTINGS,
    Scenario,
    Used,
    contents,
    faults,
    fill,
    nothing,
    said,
    scratch,
    upload,
    use,
)
from tests.support.command_line import done
from tests.support.damaged_pages import garble
from tests.support.disk import answers, command, new
from tests.support.exports import exported, read, same
from tests.support.picture_files import png
from tests.support.tunings import indexing

NAMES = ["chat.office.lan", "127.0.0.1"]


class First(Scenario):
    """The first start."""

    def run(self, place: Path) -> None:
        use(place / "data", nothing)

    def command(self, place: Path) -> None:
        done("user", "add", "first", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        assert said(place / "data" / "relay.db") == set()


class Restore(Used):
    """A restore over a store that has more."""

    def run(self, place: Path) -> None:
        done("restore", place / "backup.tar", "--yes", "--force", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        data = place / "data"
        present = said(data / "relay.db")
        assert present in (ALL, EARLY)
        assert len(contents(data)) == (1 if present == EARLY else 2)
        if present == EARLY:
            assert any(
                said(kept / "relay.db") == ALL and len(contents(kept)) == 2
                for kept in replacing.kept(data, replacing.STORE_WITH_FILES)
            ), "the earlier data is lost"
            with closing(sqlite3.connect(data / "relay.db")) as store:
                ((last,),) = store.execute("SELECT max(seq) FROM log")
            assert last > 1_000_000, "ids that devices have seen are used again"
        assert present == EARLY or not complete


class RestoreNew(Used):
    """A backup into a directory of its own."""

    def run(self, place: Path) -> None:
        done("restore", place / "backup.tar", "--yes", data=place / "new")

    def start(self, place: Path) -> None:
        if (place / "new").exists():
            use(place / "new", nothing)

    def hold(self, place: Path, *, complete: bool) -> None:
        new_one = place / "new"
        if not (new_one / "relay.db").exists():
            assert not complete
            return
        assert faults(new_one) == []
        assert said(new_one / "relay.db") in ((EARLY,) if complete else (EARLY, set()))


class Undo(Used):
    """`restore --undo` brings back what a restore put aside."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        done("restore", place / "backup.tar", "--yes", "--force", data=place / "data")

    def run(self, place: Path) -> None:
        done("restore", "--undo", "--yes", "--force", data=place / "data")

    again = False
    """A second one would take back the first."""

    def after(self, place: Path) -> None:
        super().after(place)
        if said(place / "data" / "relay.db") == EARLY:
            self.run(place)
            self.start(place)
            self.proved(place, complete=True)
            assert said(place / "data" / "relay.db") == ALL

    def hold(self, place: Path, *, complete: bool) -> None:
        data = place / "data"
        stores = [data, *replacing.kept(data, replacing.STORE_WITH_FILES)]
        assert sorted(len(said(store / "relay.db")) for store in stores) == sorted((len(EARLY), len(ALL)))
        for store in stores:
            assert len(contents(store)) == (1 if said(store / "relay.db") == EARLY else 2)


class Repair(Used):
    """A store with a damaged page is made whole."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        garble(place / "data" / "relay.db", "log_mark")

    def run(self, place: Path) -> None:
        done("repair", data=place / "data")

    def proved(self, place: Path, *, complete: bool) -> None:
        if list((place / "data").glob("before-repair-*")):
            super().proved(place, complete=complete)
        else:
            assert not complete
            self.hold(place, complete=complete)
            assert not scratch(place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        data = place / "data"
        for store in (data, *replacing.kept(data, replacing.REPAIRED_STORE)):
            assert said(store / "relay.db") == ALL, "messages are lost"
        assert len(contents(data)) == 2


class Backup(Used):
    """A backup that replaces an earlier one."""

    def run(self, place: Path) -> None:
        done("backup", place / "backup.tar", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        assert said(place / "data" / "relay.db") == ALL
        with tarfile.open(place / "backup.tar") as tar:
            store = tar.extractfile("relay.db")
            assert store is not None
            (place / "look.db").write_bytes(store.read())
            files = [name for name in tar.getnames() if name.startswith("files/")]
        found = said(place / "look.db")
        (place / "look.db").unlink()
        assert found == ALL or (found == EARLY and not complete)
        assert len(files) == (2 if found == ALL else 1)


class Export(Used):
    """An export that replaces an earlier one."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        (place / "out.tar").write_bytes(b"earlier")

    def run(self, place: Path) -> None:
        done("export", "--files", place / "out.tar", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        if (place / "out.tar").read_bytes() == b"earlier":
            assert not complete
            return
        with tarfile.open(place / "out.tar") as tar:
            assert len(tar.getnames()) == 3


class UserImport(Scenario):
    """Many users added at once."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        (place / "staff.csv").write_text("".join(f"user{number},User {number}\n" for number in range(6)))

    def run(self, place: Path) -> None:
        done("user", "import", place / "staff.csv", "--device", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        async def ids(relay: Relay) -> list[str]:
            return [user.id for user in relay.state.users.values()]

        found = use(place / "data", ids)
        assert found == [f"user{number}" for number in range(len(found))]
        assert len(found) == 6 or not complete


class Import(Scenario):
    """A relay's export with every kind of content is imported into another relay."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        (place / "source").mkdir()
        use(place / "source", _live)
        done("export", "--files", place / "out.tar", data=place / "source")
        shutil.rmtree(place / "source")

    def run(self, place: Path) -> None:
        done("import", place / "out.tar", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        with closing(sqlite3.connect(place / "data" / "relay.db")) as store:
            counted = Counter(store.execute("SELECT client_id FROM log WHERE kind = 1"))
        assert not counted or max(counted.values()) == 1, "a message came twice"
        if complete:
            self.compare(place, place / "data")

    def compare(self, place: Path, data: Path) -> None:
        """Check that a new export equals the imported one."""
        same(exported(data, place / "again.tar"), read(place / "out.tar"))
        (place / "again.tar").unlink()


async def _live(relay: Relay) -> None:
    """Create a little of everything that an export contains."""
    await fill(relay)

    async def ask(user: str | None, request: Any, generated_id: str = "") -> Any:
        (answer,) = await answers(relay, command(relay, user, request, generated_id))
        assert not isinstance(answer, RelayError), answer
        return answer

    await ask("User1", requests.CreateChat(type="group", name="Crew", participants=["User2", "User3"]), "g-crew")
    await ask("User1", requests.UpdateChat(chat_id="g-crew", admins=["User2"]))
    await answers(relay, *(new(relay, "User2", "g-crew", f"crew-{number}") for number in range(4)))
    for user, request in (
        ("User3", requests.ProfileRequest),
        ("User1", partial(requests.UpdateChat, chat_id="g-crew")),
    ):
        key = relay.state.user_keys[user]
        picture = iter((png(3, len(user)), b""))

        async def piece(picture: Iterator[bytes] = picture) -> bytes:
            return next(picture)

        attachment = await relay.files.receive(key, NO_DEVICE, "picture.png", None, piece)
        await ask(user, request(photo_url=attachment.url))
    await ask("User2", requests.New(chat_id="g-crew", client_message_id="answer", message="yes", reply_to=2))
    await ask("User2", requests.Edit(chat_id="g-crew", original_message_id=1, message="better"), "edit")
    await ask("User2", requests.Delete(chat_id="g-crew", original_message_id=3), "deletion")
    await ask("User2", requests.New(chat_id="User3", client_message_id="private", message="only for you"))
    await ask("User2", commands.DeleteChat("User3"))
    await relay.admin.handle("user.change", control.ChangeUser(id="User3", disabled=True))


class Prune(Used):
    """Old history is pruned."""

    fills = False

    def prepare(self, place: Path) -> None:
        super().prepare(place)

        async def main() -> None:
            async with open_relay(place / "old", clock=lambda: 1_767_225_600_000, settings=SETTINGS) as relay:
                await fill(relay)

        (place / "old").mkdir()
        trio.run(main)
        shutil.rmtree(place / "data")
        (place / "old").rename(place / "data")

    def run(self, place: Path) -> None:
        done("prune", "--days", "1", "--yes", data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        found = said(place / "data" / "relay.db")
        assert found in ((set(),) if complete else (EARLY, set()))


class Index(Used):
    """The full-text index is built."""

    fills = False

    def run(self, place: Path) -> None:

        async def wait(relay: Relay) -> None:
            with trio.fail_after(20):
                while True:
                    ((behind,),) = await relay.reading.execute(
                        "SELECT (SELECT max(seq) FROM log) > (SELECT seq FROM indexed)"
                    )
                    if not behind:
                        return
                    await trio.sleep(0.005)

        use(place / "data", wait, indexing(quiet_seconds=0.0))

    def hold(self, place: Path, *, complete: bool) -> None:
        assert said(place / "data" / "relay.db") == ALL
        if complete:
            with closing(sqlite3.connect(place / "data" / "relay.db")) as store:
                ((hits,),) = store.execute("SELECT count(*) FROM search WHERE search MATCH 'hel AND llo'")
            assert hits == 16


class Upgrade(Used):
    """A store is upgraded."""

    STEPS = (
        "CREATE TABLE two (a INTEGER) STRICT; INSERT INTO two SELECT seq FROM log",
        "CREATE INDEX two_a ON two (a)",
    )

    def newer(self) -> None:
        migrations = (*schema.MIGRATIONS, *self.STEPS)
        for module in (database, migrate):
            vars(module)["MIGRATIONS"] = migrations

    def run(self, place: Path) -> None:
        self.newer()
        use(place / "data", nothing)

    def command(self, place: Path) -> None:
        self.newer()
        done("user", "list", data=place / "data")

    def start(self, place: Path) -> None:
        self.run(place)

    def proved(self, place: Path, *, complete: bool) -> None:
        self.newer()
        super().proved(place, complete=complete)

    def hold(self, place: Path, *, complete: bool) -> None:
        data, former = place / "data", len(schema.MIGRATIONS)
        assert said(data / "relay.db") == ALL
        with closing(sqlite3.connect(data / "relay.db")) as store:
            assert store.execute("PRAGMA user_version").fetchone() == (former + 2,)
            assert store.execute("SELECT count(*) FROM two").fetchone() > (0,)
        assert said(data / f"relay-{former}-to-{former + 2}.db") == ALL


class TlsInit(Scenario):
    """A TLS authority is made."""

    def run(self, place: Path) -> None:
        done("tls", "init", "--name", NAMES[0], data=place / "data")

    def start(self, place: Path) -> None:
        super().start(place)
        authority = Authority(place / "data" / "tls")
        authority.recover()
        if authority.exists:
            Certificates(place / "data", TlsSection(names=NAMES))

    def hold(self, place: Path, *, complete: bool) -> None:
        authority = Authority(place / "data" / "tls")
        assert authority.exists or not complete
        if authority.exists:
            assert authority.key_matches
            assert _belong(authority.directory)


def _belong(folder: Path) -> bool:
    """Whether an authority's key matches its certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    certificate = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
    key = load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
    return certificate.public_key() == key.public_key()


class TlsAgain(TlsInit):
    """A new authority that replaces one that devices trust."""

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        done("tls", "init", "--name", NAMES[0], data=place / "data")
        shutil.copy(place / "data" / "tls" / AUTHORITY, place / "trusted")

    def run(self, place: Path) -> None:
        done("tls", "init", "--again", "--name", NAMES[0], data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        super().hold(place, complete=complete)
        trusted = (place / "trusted").read_bytes()
        folders = [place / "data" / "tls", *(place / "data").glob("tls-before-*/tls")]
        assert any((one / AUTHORITY).read_bytes() == trusted and _belong(one) for one in folders)


class TlsRenew(TlsAgain):
    """The relay's certificate is renewed."""

    def run(self, place: Path) -> None:
        done("tls", "init", "--name", NAMES[0], data=place / "data")

    def hold(self, place: Path, *, complete: bool) -> None:
        super().hold(place, complete=complete)
        assert (place / "data" / "tls" / AUTHORITY).read_bytes() == (place / "trusted").read_bytes()


class Upload(Used):
    """A file is uploaded and sent; the answers are noted outside."""

    fills = False

    def run(self, place: Path) -> None:
        async def send(relay: Relay) -> None:
            for number in range(2):
                answer = await upload(relay, "User1", f"new-{number}.txt", b"%d" % number * 200_000)
                if not hasattr(answer, "error"):
                    with (place.parent / f"{place.name}.answered").open("a") as note:
                        note.write(f"new-{number}.txt\n")

        use(place / "data", send)

    def hold(self, place: Path, *, complete: bool) -> None:
        note = place.parent / f"{place.name}.answered"
        answered = set(note.read_text().split()) if note.exists() else set()
        found = said(place / "data" / "relay.db")
        assert found >= ALL | answered
        assert len(contents(place / "data")) >= len(found - ALL) + 2


class Erase(Used):
    """A message with a file is deleted, and the file with it."""

    fills = False

    def run(self, place: Path) -> None:
        async def delete(relay: Relay) -> None:
            await answers(relay, command(relay, "User1", requests.Delete(chat_id="User1", original_message_id=1)))
            await relay.files.forget_loose()

        use(place / "data", delete)

    def start(self, place: Path) -> None:
        async def forget(relay: Relay) -> None:
            await relay.files.forget_loose()

        use(place / "data", forget)

    def hold(self, place: Path, *, complete: bool) -> None:
        found = said(place / "data" / "relay.db")
        assert found in ((ALL - {"early.txt"},) if complete else (ALL, ALL - {"early.txt"}))
        assert len(contents(place / "data")) == (2 if "early.txt" in found else 1)


SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        First(),
        Restore(),
        RestoreNew(),
        Undo(),
        Repair(),
        Backup(),
        Export(),
        UserImport(),
        Import(),
        Prune(),
        Index(),
        Upgrade(),
        TlsInit(),
        TlsAgain(),
        TlsRenew(),
        Upload(),
        Erase(),
    )
}
