"""The cost of a message to the system, in counts that no busy machine changes: syncs, bytes written, system calls.

The limits are a little above today's counts: a commit that raises one gives the reason.
"""

import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from relay.bench.client import BenchClient
from relay.bench.scratch import Scratch
from relay.bench.work import Conversation, Load

HERE = Path(__file__).parent


def under_load(relay: Scratch, seconds: float) -> int:
    """Put 8 dialogs with 16 messages under way in each on a relay; return the number of messages."""
    users = list(relay.tokens)
    clients = [BenchClient.connect(relay.url, relay.tokens[user]) for user in users[:16]]
    pairs = [Conversation(clients[2 * n], users[2 * n + 1], [clients[2 * n + 1]]) for n in range(8)]
    load = Load(pairs, clients)
    load.run(seconds, window=16, progress=lambda _: None)
    load.finish()
    load.close()
    for client in clients:
        client.close()
    return load.number


@pytest.mark.skipif(not shutil.which("gcc"), reason="the counting layer is built with gcc")
def test_syncs_and_bytes_written_stay_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, counts = tmp_path / "counted.so", tmp_path / "counts"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "counted_syncs.c"), "-ldl"], check=True
    )
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("BENCH_COUNTS", str(counts))
    with Scratch(16, directory=tmp_path) as relay:
        monkeypatch.delenv("LD_PRELOAD")
        under_load(relay, 0.5)
        syncs, _, written = struct.unpack("3Q", counts.read_bytes()[:24])
        messages = under_load(relay, 2.0)
        now_syncs, _, now_written = struct.unpack("3Q", counts.read_bytes()[:24])
    assert syncs > 0
    assert (now_syncs - syncs) / messages < 1 / 20
    assert (now_written - written) / messages < 8_192


@pytest.mark.skipif(not shutil.which("strace"), reason="system calls are counted with strace")
def test_system_calls_stay_few(tmp_path: Path) -> None:
    with Scratch(16, directory=tmp_path) as relay:
        under_load(relay, 0.3)
        file = tmp_path / "calls"
        watcher = subprocess.Popen(
            ["strace", "-f", "-c", "-o", str(file), "-p", str(relay.process.pid)], stderr=subprocess.PIPE
        )
        assert watcher.stderr is not None
        if b"attached" not in watcher.stderr.readline():
            watcher.kill()
            watcher.wait()
            watcher.stderr.close()
            pytest.skip("strace may not look at processes here")
        messages = under_load(relay, 2.0)
        watcher.send_signal(signal.SIGINT)
        watcher.wait(20)
        watcher.stderr.close()
        rows = [line.split() for line in file.read_text().splitlines()]
    calls = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit()}
    network = sum(calls.get(name, 0) for name in ("recvfrom", "sendto", "epoll_ctl", "epoll_wait", "epoll_pwait"))
    assert messages > 100
    assert network / messages < 1.5
    assert sum(calls.values()) / messages < 10
