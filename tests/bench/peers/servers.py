"""Sets up and starts each peer with its users; data goes under a scratch directory."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.machine import Process
from tests.bench.peers.irc import Irc
from tests.bench.peers.mqtt import Mqtt
from tests.bench.peers.nats import Nats
from tests.bench.peers.ours import Ours
from tests.bench.peers.xmpp import Xmpp
from tests.bench.under_load import Relay

HERE = Path(__file__).resolve().parent
PORTS = {
    "prosody-sql": 15222,
    "prosody-files": 15223,
    "ejabberd-mnesia": 15232,
    "ejabberd-sqlite": 15233,
    "ngircd": 16667,
    "mosquitto": 11883,
    "mosquitto-save": 11884,
    "nats-core": 14222,
    "nats-js": 14223,
}
NEEDS = {
    "prosody": "prosody",
    "ejabberd": "erl",
    "ngircd": "ngircd",
    "mosquitto": "mosquitto",
    "nats": "nats-server",
    "relay": sys.executable,
}
KEEPS = {
    "relay",
    "prosody-sql",
    "prosody-files",
    "ejabberd-mnesia",
    "ejabberd-sqlite",
    "mosquitto",
    "mosquitto-save",
    "nats-js",
}
"""Peers that claim to have stored a message once they have answered."""
TALK: dict[str, Any] = {"prosody": Xmpp, "ejabberd": Xmpp, "ngircd": Irc, "mosquitto": Mqtt, "nats": Nats}
USERS = 1010
MEMBERS = 200


def there(name: str) -> bool:
    """Whether this peer is installed."""
    return shutil.which(NEEDS[name.split("-", maxsplit=1)[0]]) is not None


def _fill(source: str, target: Path, **values: object) -> None:
    text = (HERE / "conf" / source).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text)


class Peer:
    """One server, on a fresh copy of a data directory with users and no messages."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.kind = name.split("-", maxsplit=1)[0]
        self.root = root
        self.dir = root / name
        self.process: Process | None = None
        self.ready_ms = 0.0
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self.relay: Relay | None = None
        if self.kind == "relay":
            self.api: Any = None
        elif self.kind == "nats":
            self.api = Nats(PORTS[name], name != "nats-core")
        else:
            self.api = TALK[self.kind](PORTS[name])

    def fresh(self) -> None:
        """Start afresh: users, and no messages."""
        if self.kind == "relay":
            if self.relay is not None:
                self.relay.stop()
            self.relay = Relay(users=USERS, members=MEMBERS)
            self.api = Ours(self.relay)
            return
        clean = self.root / "clean" / self.name
        if not clean.exists():
            self._make()
            clean.parent.mkdir(exist_ok=True)
            shutil.copytree(self.dir, clean)
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.copytree(clean, self.dir)

    def start(self, user: str = "u0") -> Process:
        """Start it and wait for the first login."""
        if self.relay is not None:
            self.process = self.relay.start()
            self.ready_ms = self.relay.ready_ms
            return self.process
        self.process = self._launch()
        while True:
            try:
                self.api.login(user, presence=False).close()
                break
            except OSError as error:
                if self.process.process.poll() is not None or time.perf_counter() > self.process.started + 60:
                    self.process.kill()
                    raise RuntimeError(f"{self.name} did not start: {error}") from error
                time.sleep(0.002)
        self.ready_ms = (time.perf_counter() - self.process.started) * 1e3
        return self.process

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None:
            self.process.stop()

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        if self.relay is not None:
            self.relay.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _launch(self) -> Process:
        self._configure()
        return Process(self.command, environment=self.environment, directory=self.dir, log=self.dir / "stdout.log")

    def _make(self) -> None:
        shutil.rmtree(self.dir, ignore_errors=True)
        (self.dir / "data").mkdir(parents=True)
        users = [f"u{number}" for number in range(USERS)]
        if self.kind == "mosquitto":
            file = self.dir / "passwd"
            file.write_text("".join(f"{user}:pw-{user}\n" for user in users))
            subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True)
        elif self.kind in ("prosody", "ejabberd") or self.name == "nats-js":
            process = self._launch()
            try:
                deadline = time.perf_counter() + 60
                while True:
                    try:
                        self.api.register(users[:1])
                        break
                    except OSError as error:
                        if process.process.poll() is not None or time.perf_counter() > deadline:
                            raise RuntimeError(f"{self.name} did not start: see {self.dir}/stdout.log") from error
                        time.sleep(0.02)
                self.api.register(users[1:])
            finally:
                process.stop()

    def _configure(self) -> None:
        directory, name, port = self.dir, self.name, PORTS[self.name]
        if self.kind == "prosody":
            store = 'storage = "internal"'
            if name == "prosody-sql":
                store = 'storage = "sql"\nsql = { driver = "SQLite3"; database = "prosody.sqlite"; }'
            file = directory / "prosody.cfg.lua"
            _fill(file.name, file, DIR=directory, PORT=port, STORE=store, MAM='"mam";', MUCMAM='"muc_mam";')
            self.command = ["prosody", "--config", str(file), "-F"]
        elif self.kind == "ejabberd":
            sql = ""
            if name.endswith("sqlite"):
                sql = f"sql_type: sqlite\nsql_database: {directory}/ejabberd.sqlite\ndefault_db: sql\nauth_method: sql"
            _fill(
                "ejabberd.yml",
                directory / "ejabberd.yml",
                DIR=directory,
                PORT=port,
                SQL=sql,
                DB="sql" if sql else "mnesia",
            )
            mnesia = f'"{directory}/data"'
            self.command = ["erl", "+K", "true", "+P", "250000", "-noinput", "-mnesia", "dir", mnesia, "-s", "ejabberd"]
            self.environment = {
                "EJABBERD_CONFIG_PATH": str(directory / "ejabberd.yml"),
                "EJABBERD_LOG_PATH": str(directory / "ejabberd.log"),
                "ERL_LIBS": f"/usr/lib/{os.uname().machine}-linux-gnu",
                "ERL_CRASH_DUMP_BYTES": "0",
                "ERL_MAX_PORTS": "32000",
                "HOME": str(directory),
            }
        elif self.kind == "ngircd":
            file = directory / "ngircd.conf"
            _fill(file.name, file, PORT=port)
            file.chmod(0o600)
            self.command = ["ngircd", "-n", "-f", str(file)]
        elif self.kind == "mosquitto":
            extra = "autosave_interval 1\nautosave_on_changes true" if name.endswith("save") else ""
            _fill("mosquitto.conf", directory / "mosquitto.conf", DIR=directory, PORT=port, EXTRA=extra)
            self.command = ["mosquitto", "-c", str(directory / "mosquitto.conf")]
        elif self.kind == "nats":
            stream = "" if name == "nats-core" else f'jetstream {{ store_dir: "{directory}/data" }}'
            _fill("nats.conf", directory / "nats.conf", DIR=directory, PORT=port, JS=stream)
            self.command = ["nats-server", "-c", str(directory / "nats.conf")]
