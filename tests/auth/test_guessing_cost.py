"""The cost of guessing, the users that it delays, and attempts whose password was never checked."""

import itertools
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from argon2 import PasswordHasher
from trio.testing import MockClock

from relay import threads
from relay.core.auth.guesses import (
    FIRST_AT_ONCE,
    PROMISED_SECONDS,
    Attempt,
    Guesses,
)
from relay.core.auth.passwords import NOBODYS_AT_ONCE, Argon2, Passwords
from relay.core.auth.sign_in import SignIn
from relay.core.auth.throttle import FREE_FAILURES
from relay.core.relay import Relay, open_relay
from relay.keys import DeviceKey, UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.auth.guessing import ANNA, HOUR, MOST_AN_HOUR, Count, ask, attempt, guess
from tests.support.tunings import cheap, cheap_argon2

Attempts = Callable[[], Awaitable[str]]


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[Relay]:
    async with open_relay(tmp_path, tuning=cheap()) as opened:
        for name in ("anna", "ben"):
            await opened.admin.handle("user.add", control.AddUser(id=name))
            await opened.admin.handle("user.password", control.SetPasswordRequest(id=name, password="correct horse"))
        yield opened


def note_order(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], threading.Event]:
    """Note the passwords in the order in which they are checked, once the gate is open."""
    order: list[str] = []
    gate = threading.Event()

    def matches(_hasher: Argon2, _hashed: str, password: str) -> bool:
        assert gate.wait(10)
        order.append(password)
        return False

    monkeypatch.setattr(Argon2, "matches", matches)
    return order, gate


# Attempts whose password was never checked.

UNCHECKED = 20


async def unchecked(signing_in: SignIn, why: str, monkeypatch: pytest.MonkeyPatch, attempts: Attempts) -> list[str]:
    """Make attempts while no password can be checked, for one of three reasons."""
    with monkeypatch.context() as patched:
        if why == "no thread":

            async def no_thread(*_: object, **__: object) -> None:
                raise threads.NoThreads

            patched.setattr(threads, "run", no_thread)
            return [await attempts() for _ in range(UNCHECKED)]
        full = Passwords(cheap_argon2(), most_waiting=1 if why == "client gone" else 0)
        patched.setattr(signing_in, "passwords", full)
        async with full.lock.turn("somebody"):
            if why == "no room":
                return [await attempts() for _ in range(UNCHECKED)]
            for _ in range(UNCHECKED):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(attempts)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
            return []


@pytest.mark.parametrize("why", ["no thread", "no room", "client gone"])
@pytest.mark.parametrize("known", [True, False])
async def test_unchecked_attempts_do_not_block_signing_in(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, why: str, *, known: bool
) -> None:
    signing_in = relay.service.signing_in
    entered = await signing_in.by_password("anna", "correct horse", "phone", "10.0.0.1")
    proof = signing_in.proof(entered.token) if known else ""
    seen = await unchecked(
        signing_in, why, monkeypatch, lambda: attempt(signing_in, "anna", "198.51.100.1", proof=proof)
    )
    assert set(seen) <= {"unavailable", "rate_limited"}
    assert await attempt(signing_in, "anna", "198.51.100.1", proof=proof) == "in"
    assert await attempt(signing_in, "anna", "203.0.113.1") == "in"


@pytest.mark.parametrize("why", ["no thread", "no room", "client gone"])
async def test_unchecked_attempts_do_not_block_a_password_change(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    signing_in, anna = relay.service.signing_in, relay.state.user("anna")
    assert anna is not None

    async def change() -> str:
        try:
            await signing_in.change_password(
                anna.key, DeviceKey(1), "correct horse", "another horse", sign_out_others=False
            )
        except RelayError as error:
            return error.error.code
        return "changed"

    await unchecked(signing_in, why, monkeypatch, change)
    assert await change() == "changed"


async def test_checked_guess_counts_even_if_its_client_is_gone(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    signing_in = relay.service.signing_in
    order, gate = note_order(monkeypatch)
    async with trio.open_nursery() as nursery:
        for number in range(UNCHECKED):
            nursery.start_soon(attempt, signing_in, "anna", "198.51.100.1", f"guess {number}")
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        gate.set()
    assert len(order) == 1
    left = [await guess(signing_in, "anna", "198.51.100.1") for _ in range(FREE_FAILURES)]
    assert left == ["unauthorized"] * (FREE_FAILURES - 1) + ["rate_limited"]


@pytest.mark.parametrize("who", [ANNA, "nobody"])
def test_returned_slot_is_kept_for_its_network_for_five_minutes(who: UserKey | str) -> None:
    guesses = Guesses()
    attempts = [guesses.attempt(who, f"guesser {number}", 0) for number in range(FIRST_AT_ONCE)]
    guesses.give_back(who, "guesser 3", attempts[3])
    assert ask(guesses, who, "another", 1) > 0
    while ask(guesses, who, f"new {len(guesses)}", PROMISED_SECONDS) == 0:
        pass
    again = guesses.attempt(who, "guesser 3", PROMISED_SECONDS)
    assert again.wait == 0
    guesses.give_back(who, "guesser 3", again)
    assert ask(guesses, who, "guesser 3", PROMISED_SECONDS + 1) > 0


@pytest.mark.parametrize("seed", range(4))
def test_unknown_ids_are_limited_and_counted_like_users(seed: int) -> None:
    """The count of users is computed each time, that of unknown ids is stored."""
    dice = random.Random(seed)
    users, unknown, now = Guesses(), Guesses(), 0.0
    under_way: list[tuple[str, Attempt, Attempt]] = []
    for _ in range(2_000):
        now += dice.choice([0.0, 1.0, 30.0, 200.0])
        network = f"guesser {dice.randrange(50)}"
        both = users.attempt(ANNA, network, now), unknown.attempt("nobody", network, now)
        assert both[0] == both[1]
        if both[0].wait == 0:
            under_way.append((network, *both))
        if under_way and dice.random() < 0.2:
            network, by_user, by_unknown = under_way.pop(dice.randrange(len(under_way)))
            users.give_back(ANNA, network, by_user)
            unknown.give_back("nobody", network, by_unknown)
        assert len(users) == len(unknown)


@pytest.mark.parametrize("seed", range(6))
def test_returned_attempts_leave_at_most_a_hundred_checks_an_hour(seed: int) -> None:
    dice = random.Random(seed)
    guesses, count, now = Guesses(), Count(), 0.0
    under_way: list[tuple[float, str, Attempt]] = []
    networks = [f"guesser {number}" for number in range(dice.choice([3, 30, 300]))]
    while now < 4 * HOUR:
        for network in dice.sample(networks, min(30, len(networks))):
            made = guesses.attempt(ANNA, network, now)
            if made.wait == 0:
                under_way.append((now + dice.choice([0.0, 1.0, 30.0]), network, made))
        for one in [one for one in under_way if one[0] <= now]:
            under_way.remove(one)
            if dice.random() < 0.6:
                guesses.give_back(ANNA, one[1], one[2])
            else:
                count.add(now)
        now += dice.choice([1.0, 5.0, 20.0])
    assert 10 < count.most <= MOST_AN_HOUR


# The cost of guessing.


async def test_unknown_ids_are_hashed_once_a_second_and_otherwise_take_as_long(
    monkeypatch: pytest.MonkeyPatch, clock: MockClock
) -> None:
    made = 0

    def matches(_hasher: Argon2, _hashed: str, _password: str) -> bool:
        nonlocal made
        made += 1
        return False

    monkeypatch.setattr(Argon2, "matches", matches)
    # Each hash takes an eighth of a second by this timer.
    checks = Passwords(cheap_argon2(), timer=itertools.count(0, 0.125).__next__)
    await checks.check(None, "guess", "guesser", known=True)
    for _ in range(NOBODYS_AT_ONCE):
        await checks.check(None, "guess", "guesser", known=False)
    hashed = made
    before = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(lambda: checks.check(None, "guess", "guesser", known=False))
    assert made - hashed <= 1
    assert trio.current_time() - before >= 0.125
    clock.jump(1)
    await checks.check(None, "guess", "guesser", known=False)
    assert made > hashed


async def test_networks_take_turns_at_password_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks, (order, gate) = Passwords(cheap_argon2()), note_order(monkeypatch)

    async def check(password: str, network: str) -> None:
        await checks.check("a hash", password, network)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(check, f"guess {number}", "guesser")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(check, "right", "office")
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert len(order) == 51
    assert order.index("right") == 2


async def add_guessed_users(relay: Relay, count: int) -> None:
    for number in range(count):
        await relay.admin.handle("user.add", control.AddUser(id=f"guessed{number}"))


async def test_ipv6_site_has_one_turn_for_all_its_networks(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    signing_in = relay.service.signing_in
    await add_guessed_users(relay, 20)
    order, gate = note_order(monkeypatch)
    async with trio.open_nursery() as nursery:
        for number in range(100):
            address = f"2001:db8:1:{number:x}::1"
            nursery.start_soon(attempt, signing_in, f"guessed{number // 5}", address, "a guess")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(attempt, signing_in, "anna", "2001:db8:2::1", "of anna")
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert (len(order), order.index("of anna")) == (101, 2)


@pytest.mark.parametrize("sites", [1, 400])
async def test_guesses_that_fill_the_queue_do_not_delay_known_browsers_or_the_admin(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, sites: int
) -> None:
    signing_in = relay.service.signing_in
    entered = await signing_in.by_password("anna", "correct horse", "phone", "10.0.0.1")
    proof, ben = signing_in.proof(entered.token), relay.state.user("ben")
    assert ben is not None
    await add_guessed_users(relay, 80)
    order, gate = note_order(monkeypatch)
    outcomes: list[str] = []
    hashed = PasswordHasher.hash

    def note_hash(hasher: PasswordHasher, password: str) -> str:
        order.append(password)
        return hashed(hasher, password)

    monkeypatch.setattr(PasswordHasher, "hash", note_hash)

    async def known() -> None:
        outcomes.append(await attempt(signing_in, "anna", "203.0.113.9", "of anna", proof))

    async def change() -> None:
        with pytest.raises(RelayError, match="not the current password"):
            await signing_in.change_password(ben.key, DeviceKey(2), "of ben", "another horse", sign_out_others=False)

    async def set_password() -> None:
        await signing_in.set_password("ben", "of the admin")

    async with trio.open_nursery() as nursery:
        for number in range(400):
            address = f"2001:db8:{number % sites:x}:{number:x}::1"
            nursery.start_soon(attempt, signing_in, f"guessed{number // 5}", address, "a guess")
        await trio.testing.wait_all_tasks_blocked()
        for task in (known, change, set_password):
            nursery.start_soon(task)
            await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert outcomes == ["unauthorized"]
    assert max(map(order.index, ("of anna", "of ben", "of the admin"))) <= 7


async def test_unknown_id_and_known_user_are_answered_in_the_order_they_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks, (order, gate) = Passwords(cheap_argon2()), note_order(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checks.check, "a hash", "first", "guesser")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: checks.check(None, "nobody", "guesser", known=False))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(checks.check, "a hash", "anna", "guesser")
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert order == ["first", "nobody", "anna"]
