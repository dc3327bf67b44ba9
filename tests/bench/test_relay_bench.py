"""`relay bench` measures correctly, on a relay of its own and on a running one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from relay.bench import scratch
from relay.bench.client import BenchClient, BenchRefused, DeliveredEvent, masked
from relay.bench.scratch import command
from relay.bench.work import Conversation, Load, figures
from relay.net.websocket import frames
from tests.support.command_line import run
from tests.support.relay_process import RelayProcess, add_users

SMALL = ("--seconds", "1", "--dialogs", "2", "--members", "3", "--idle", "5", "--messages", "300", "--rate", "50")


@pytest.mark.timing
def test_every_workload_yields_figures_and_loses_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "relay", "bench", *SMALL, "--dir", tmp_path, "--json"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = {row["work"]: row for row in msgspec.json.decode(ran.stdout)}
    assert list(rows) == [
        "start", "dialogs", "alone", "steady", "group, 1 under way", "group, 8 under way", "idle",
        "reconnect storm", "replay",
    ]  # fmt: skip
    measured = [row for name, row in rows.items() if name != "start"]
    assert [row for row in measured if row["per_second"] <= 0 or row.get("lost")] == []
    assert all(row["p50"] <= row["p99"] <= row["worst"] for row in measured)
    assert rows["replay"]["sent"] >= 300


def test_the_figures_are_a_table_for_people() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "relay", "bench", "alone", "--seconds", "0.3"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    started, _, head, row, *_ = ran.stdout.splitlines()
    assert started.startswith("Started in ")
    assert head.split()[:3] == ["WORK", "PER", "SECOND"]
    assert row.startswith("alone ")


async def test_running_relay_is_measured_as_it_is(tmp_path: Path) -> None:
    tokens = await add_users(tmp_path / "data", "User1", "User2")
    relay = RelayProcess(tmp_path / "data", {}, ())
    await relay.start()
    try:
        file = tmp_path / "tokens.jsonl"
        file.write_bytes(b"\n".join(msgspec.json.encode({"id": u, "token": t}) for u, t in tokens.items()))
        ran = run("bench", "alone", "--seconds", "0.3", "--url", relay.url, "--tokens", file, "--yes", "--json")
        assert ran.code == 0, ran.err
        assert ran.json[0]["work"] == "alone"
        unasked = run("bench", "alone", "--url", relay.url, "--tokens", file)
        assert (unasked.code, unasked.out) == (2, "")
        assert "The messages stay. Say so with --yes" in unasked.err
        ran = run("bench", "group", "--url", relay.url, "--tokens", file, "--yes")
        assert ran.code == 1
        assert "201 users" in ran.err
    finally:
        await relay.kill()


def test_unknown_work_is_refused_with_the_known_ones() -> None:
    ran = run("bench", "everything")
    assert ran.code == 2
    assert "'everything'" in ran.err
    assert "dialogs, alone" in ran.err


def test_running_relay_is_measured_only_with_its_tokens() -> None:
    assert run("bench", "--url", "ws://127.0.0.1:1/ws") == (
        2, "", "relay: --url and --tokens go together: the senders must be able to sign in there\n"
    )  # fmt: skip


@pytest.mark.parametrize("option", ["--dialogs", "--members", "--idle", "--messages", "--rate", "--seconds"])
@pytest.mark.parametrize("number", ["0", "-1"])
def test_number_that_measures_nothing_is_wrong_use(option: str, number: str) -> None:
    ran = run("bench", "dialogs", option, number)
    assert (ran.code, ran.out) == (2, "")
    assert f"Invalid value for '{option}'" in ran.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--seconds", "nan"), 2, "--seconds and --rate must be finite"),
        (("--rate", "inf"), 2, "--seconds and --rate must be finite"),
        (("--dir", "/nope"), 1, "/nope is not a directory: make it, or name another with --dir"),
        (("--url", ""), 2, "--url: '' is not an address: it should look like"),
        (("--url", "nonsense"), 2, "--url: 'nonsense' is not an address: it should look like ws://127.0.0.1:8765/ws"),
        (("--url", "ws://relay:99999/ws"), 2, "--url: 'ws://relay:99999/ws' is not an address: it should look like"),
        (("--url", "ws://127.0.0.1:1/ws"), 1, "ws://127.0.0.1:1/ws cannot be used: Connection refused"),
    ],
)
def test_unmeasurable_workload_fails_with_one_line(
    options: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text('{"id": "User1", "token": "one"}\n{"id": "User2", "token": "two"}\n')
    more = ("--tokens", tokens, "--yes") if "--url" in options else ()
    ran = run("bench", "alone", *options, *more)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"relay: {said}")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("content", [None, "", "nonsense", '{"id": "User1"}'])
def test_a_file_without_tokens_is_named(content: str | None, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.jsonl"
    if content is not None:
        tokens.write_text(content)
    ran = run("bench", "idle", "--url", "ws://127.0.0.1:1/ws", "--tokens", tokens)
    said = "cannot be read: No such file or directory" if content is None else "holds no tokens: `relay user import"
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"relay: {tokens} {said}")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("length", [0, 1, 125, 126, 300])
def test_frames_are_masked_correctly(length: int) -> None:
    payload = b"x" * length
    assert frames.Decoder(limit=1_000).feed(masked(payload)) == [(frames.TEXT, payload)]


def test_stall_shows_in_all_messages_due_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The open loop counts from the due time of a message, not from the time it was sent."""
    ours, theirs = socket.socketpair()
    client = BenchClient(ours)
    load = Load([Conversation(client, "User2", [])], [client])
    load.send(0, 1, due=0.0)
    sent = frames.Decoder(limit=10_000).feed(theirs.recv(10_000))
    assert b'"chatId":"User2"' in sent[0][1]
    theirs.send(frames.encode(frames.TEXT, b'{"type":"response","id":1,"timestamp":1,"payload":{}}'))
    load.turn(1.0, refill=False)
    assert load.delays[0] > 1.0
    assert figures("w", "messages/s", load.delays, 1.0).p50 == pytest.approx(load.delays[0] * 1000, abs=0.01)
    load.close()
    ours.close()
    theirs.close()


def test_an_event_is_acknowledged_and_its_number_read() -> None:
    ours, theirs = socket.socketpair()
    client = BenchClient(ours)
    event = b'{"type":"event","id":23,"timestamp":1,"eventType":"new","payload":{"message":"0000002a hello"}}'
    whole = frames.encode(frames.TEXT, event)
    with ours, theirs:
        theirs.send(whole[:20])
        assert list(client.receive(1)) == []
        theirs.send(whole[20:])
        assert list(client.receive(1)) == [DeliveredEvent(42)]
        client.flush()
        assert frames.Decoder(limit=100).feed(theirs.recv(1_000)) == [(frames.TEXT, b'{"type":"ack","id":23}')]


def test_program_that_the_benchmark_starts_names_the_relay_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/chat/relay"])
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    ran = subprocess.run(
        command("relay.__main__", "status", "--data", str(tmp_path)), capture_output=True, text=True, check=False
    )
    assert "`/opt/chat/relay serve" in ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="lays other settings over /etc in a mount namespace")
def test_own_relay_of_the_benchmark_does_not_obey_the_installed_settings(tmp_path: Path) -> None:
    script = f"""
        mount -t tmpfs none /etc || exit 42
        mkdir /etc/relay
        printf '[tls]\\non = true\\n' > /etc/relay/relay.toml
        exec {sys.executable} -m relay bench alone --seconds 0.3 --dir {tmp_path} --json
    """
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode == 42:
        pytest.skip("this system lets nobody mount")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_benchmark_whose_relay_does_not_start_says_why_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "INFO the store: an unreleased build\nrelay: there is no room on the disk\n"
    program = [sys.executable, "-c", f"import sys; sys.exit({said!r}.strip())"]
    monkeypatch.setattr(scratch, "command", lambda *_: program)
    with pytest.raises(BenchRefused) as refused, scratch.Scratch(2, directory=tmp_path):
        pass
    assert str(refused.value) == "the relay to measure did not start: there is no room on the disk"
