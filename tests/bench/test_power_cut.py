"""Answered messages survive a power cut: a directory with only the synced data contains all of them."""

import shutil
import subprocess
import threading
import time
from pathlib import Path

import msgspec
import pytest
import trio

from relay.bench.client import Answered, BenchClient, BenchRefused
from relay.bench.scratch import Scratch
from relay.core.relay import open_relay
from relay.store.queries import log_entries

HERE = Path(__file__).parent
SENDERS = 4


def send_until_cut(client: BenchClient, chat_id: str, name: str, answered: list[str]) -> None:
    """Send eight at a time and note the answered messages, until the connection is lost."""
    number = 0
    try:
        while True:
            for _ in range(8):
                number += 1
                payload = {"chatId": chat_id, "clientMessageId": f"{name}-{number}", "message": "x" * 120}
                client.put(
                    msgspec.json.encode({"type": "request", "id": number, "payloadType": "new", "payload": payload})
                )
            client.flush()
            left = 8
            while left:
                for found in client.receive(5):
                    if isinstance(found, Answered) and not found.failed:
                        left -= 1
                        answered.append(f"{name}-{found.number}")
    except (OSError, BenchRefused):
        return
    finally:
        client.close()


async def known(data: Path, chats: int) -> set[str]:
    async with open_relay(data) as relay:
        return {
            entry.client_id or ""
            for entry in await log_entries.entries(relay.reading, 0, 10_000_000)
            if entry.kind == 1 and entry.chat <= chats
        }


@pytest.mark.skipif(not shutil.which("gcc"), reason="the layer that drops what is not synced is built with gcc")
@pytest.mark.parametrize("seconds", [0.15, 0.7])
def test_answered_messages_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    library = tmp_path / "power_cut.so"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "power_cut.c"), "-ldl", "-lpthread"],
        check=True,
    )
    mirror = tmp_path / "mirror"

    class Mirrored(Scratch):
        def _start(self) -> None:
            shutil.copytree(self.data, mirror, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
            monkeypatch.setenv("POWER_CUT_DATA", str(self.data))
            monkeypatch.setenv("POWER_CUT_MIRROR", str(mirror))
            monkeypatch.setenv("LD_PRELOAD", str(library))
            super()._start()
            monkeypatch.delenv("LD_PRELOAD")

    answered: list[str] = []
    with Mirrored(2 * SENDERS, directory=tmp_path) as relay:
        users = list(relay.tokens)
        threads = []
        for number in range(SENDERS):
            client = BenchClient.connect(relay.url, relay.tokens[users[2 * number]])
            arguments = (client, users[2 * number + 1], f"s{number}", answered)
            threads.append(threading.Thread(target=send_until_cut, args=arguments))
            threads[-1].start()
        time.sleep(seconds)
        relay.process.kill()
        for thread in threads:
            thread.join(20)
    assert answered
    kept = trio.run(known, mirror, SENDERS)
    lost = set(answered) - kept
    assert not lost, f"{len(lost)} of {len(answered)} answered messages are gone"
