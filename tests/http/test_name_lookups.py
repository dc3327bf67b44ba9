"""Unanswered name look-ups: they hold few threads, and nothing else waits for one."""

import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import relay
from relay import serve, threads
from relay.net.sockets.hostnames import lan_address
from relay.net.sockets.name_lookups import LOOKUPS, SLOW_LOOKUPS, NameLookups
from relay.settings import Loaded

ADDRESS = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The looked-up names. Names that begin with `silent` are not answered before the test ends."""
    names: list[str] = []
    over = threading.Event()

    def look_up(host: bytes | str, *_arguments: object, **_options: object) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        names.append(name)
        if name.startswith("silent"):
            over.wait(20)
        if name.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ADDRESS

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **options: (
            real(host, *rest, **options) if _numeric(rest) else look_up(host, *rest, **options)
        ),
    )
    yield names
    over.set()


def _numeric(rest: tuple[Any, ...]) -> bool:
    """Whether trio is parsing a numeric address, which it does first and without a thread."""
    return bool(rest[-1] & socket.AI_NUMERICHOST)


@pytest.fixture
async def lookups() -> AsyncIterator[NameLookups]:
    resolver = NameLookups()
    before = trio.socket.set_custom_hostname_resolver(resolver)
    yield resolver
    trio.socket.set_custom_hostname_resolver(before)


async def ask(name: str, seconds: float = 0.05) -> bool:
    """Look up a name, and return whether it was answered in time."""
    with trio.move_on_after(seconds):
        return bool(await trio.socket.getaddrinfo(name, 9))
    return False


async def test_unanswered_name_lookups_hold_few_threads_of_their_own(lookups: NameLookups, asked: list[str]) -> None:
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(ask, f"silent{number}.example")
    assert LOOKUPS < lookups.threads <= LOOKUPS + SLOW_LOOKUPS
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    with trio.fail_after(5):
        assert await threads.run(int, "7") == await threads.run_own(int, "7") == 7


async def test_answered_name_does_not_wait_for_slow_ones(lookups: NameLookups, asked: list[str]) -> None:
    for number in range(SLOW_LOOKUPS + 3):
        assert not await ask(f"silent{number}.example")
    async with trio.open_nursery() as nursery:
        for number in range(SLOW_LOOKUPS + 3):
            nursery.start_soon(ask, f"silent{number}.example", 2.0)
        assert await ask("localhost", 1.0)
        nursery.cancel_scope.cancel()


async def test_a_name_has_one_lookup_at_a_time(lookups: NameLookups, asked: list[str]) -> None:
    for _ in range(5):
        assert not await ask("silent.example")
    assert asked == ["silent.example"]
    assert lookups.threads == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ADDRESS, ADDRESS),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "not known"),
        (UnicodeEncodeError("idna", "a" * 64, 0, 64, "label too long"), "label too long"),
    ],
)
async def test_simultaneous_look_ups_of_one_name_get_results_of_their_own(
    lookups: NameLookups, monkeypatch: pytest.MonkeyPatch, answer: Any, expected: Any
) -> None:
    all_have_asked = threading.Event()
    lookups_made = 0

    def look_up(*_arguments: object) -> Any:
        nonlocal lookups_made
        lookups_made += 1
        all_have_asked.wait(5)
        if isinstance(answer, Exception):
            raise answer
        return answer

    results: list[Any] = []

    async def one() -> None:
        try:
            results.append(await lookups.getaddrinfo(b"two.example", 9))
        except Exception as error:  # noqa: BLE001 - checked below
            results.append(error)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
        await wait_all_tasks_blocked()
        all_have_asked.set()
    assert lookups_made == 1
    assert len({id(result) for result in results}) == 3
    for result in results:
        if isinstance(answer, Exception):
            assert type(result) is type(answer)
            assert expected in str(result)
        else:
            assert result == expected


async def test_unknown_host_name_is_an_error_each_time(lookups: NameLookups, asked: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="not known"):
            await trio.socket.getaddrinfo("unknown.example", 9)
    assert lookups.threads == 0


def test_every_thread_of_the_relay_comes_from_a_named_pool() -> None:
    where = Path(relay.__file__).parent
    # Nobody waits for the command line; the write-ahead log is the relay's own work.
    known = {"threads.py", "cli/control_client.py"}
    found = {
        str(path.relative_to(where))
        for path in where.rglob("*.py")
        if re.search(r"to_thread\.run_sync\(", path.read_text("utf-8"))
    }
    assert found <= known


def test_the_relays_own_address_is_found_without_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconnected(socket.socket):
        def connect(self, _address: Any) -> None:
            raise OSError("no route")

    def silent(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a name was looked up, which may take a minute")

    monkeypatch.setattr(socket, "socket", Unconnected)
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    assert lan_address()


async def test_serve_installs_the_name_resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def listen(_addresses: object) -> None:
        raise Reached

    monkeypatch.setattr(serve, "open_listeners", listen)
    with pytest.raises(Reached):
        await serve.serve(tmp_path, Loaded(None, options={}, environment={}))
    assert isinstance(trio.socket.set_custom_hostname_resolver(None), NameLookups)
