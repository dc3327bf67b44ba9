"""Guessing passwords: how many guesses a user has to stand, and how long those who know theirs wait meanwhile."""

import itertools
import random
import threading
from collections import deque
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
    FIRST_SECONDS,
    FIRST_TRIES,
    MAX_NETWORKS,
    MAX_PROMISED,
    MAX_UNKNOWN,
    PAIR_WAIT_SECONDS,
    PROMISED_SECONDS,
    Attempt,
    Guesses,
)
from relay.core.auth.passwords import NOBODYS_AT_ONCE, Argon2, Passwords
from relay.core.auth.sign_in import SignIn
from relay.core.auth.throttle import FREE_FAILURES, SITE_BITS, Throttle, rate_limit_key
from relay.core.auth.tokens import token_hash
from relay.core.relay import Relay, open_relay
from relay.keys import DeviceKey, UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.support.cheap_passwords import cheap, cheap_argon2

Attempts = Callable[[], Awaitable[str]]

ANNA = UserKey(1)
HOUR = 3_600.0
MOST_AN_HOUR = 100
"""OWASP ASVS 4.0.3, 2.2.1: failed attempts at one account."""


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


async def guess(signing_in: SignIn, user_id: str, address: str, proof: str = "") -> str:
    return await attempt(signing_in, user_id, address, "a wrong one", proof)


async def attempt(
    signing_in: SignIn, user_id: str, address: str, password: str = "correct horse", proof: str = ""
) -> str:
    try:
        await signing_in.by_password(user_id, password, "phone", address, proof=proof)
    except RelayError as error:
        return error.error.code
    return "in"


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


def ask(guesses: Guesses, who: UserKey | str, network: str, now: float) -> float:
    return guesses.attempt(who, network, now).wait


class Count:
    """Attempts that were looked at, and the most of them in any hour."""

    def __init__(self) -> None:
        self.most = 0
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self._times.append(now)
        while now - self._times[0] > HOUR:
            self._times.popleft()
        self.most = max(self.most, len(self._times))


# Those who know their password.


async def test_guesses_at_other_ids_do_not_delay_users_behind_the_same_address(relay: Relay, clock: MockClock) -> None:
    signing_in = relay.service.signing_in
    for number in range(300):
        assert await guess(signing_in, f"nobody{number}", "10.0.0.1") == "unauthorized"
        clock.jump(1)
    for _ in range(30):
        await guess(signing_in, "ben", "10.0.0.1")
    assert await attempt(signing_in, "anna", "10.0.0.1") == "in"


async def test_guessed_user_signs_in_from_a_new_address_within_two_minutes(relay: Relay, clock: MockClock) -> None:
    signing_in = relay.service.signing_in

    for _ in range(360):
        for number in range(20):
            await guess(signing_in, "anna", f"192.0.2.{number}")
        clock.jump(10)
    began, came = trio.current_time(), ""
    while came != "in":
        for number in range(20):
            await guess(signing_in, "anna", f"192.0.2.{number}")
        await guess(signing_in, "anna", f"203.0.113.{round(trio.current_time() - began)}")
        came = await attempt(signing_in, "anna", "198.51.100.1")
        clock.jump(5)
    assert trio.current_time() - began < 2 * FIRST_SECONDS


@pytest.mark.parametrize("seed", range(40))
def test_a_new_network_waits_a_minute_for_itself_and_for_each_network_that_guesses(seed: int) -> None:
    dice = random.Random(seed)
    guesses, guessers = Guesses(), [f"guesser {number}" for number in range(dice.randrange(MAX_PROMISED))]
    comes_at, mistypes, often = dice.uniform(0, 5_000), dice.randrange(FIRST_TRIES), dice.choice([0.02, 0.3, 1.0])
    now, asks_at, began = 0.0, comes_at, comes_at
    waits: list[float] = []
    while len(waits) <= mistypes:
        for guesser in guessers:
            if dice.random() < often:
                ask(guesses, ANNA, guesser, now)
        if now >= asks_at:
            wait = ask(guesses, ANNA, "anna", now)
            if wait == 0:
                waits.append(now - began)
                began = now
            # People do not come back to the second.
            asks_at = now + wait + dice.uniform(0, 30)
        now += 1
    assert max(waits) <= (len(guessers) + 1) * FIRST_SECONDS + 32


def test_networks_that_failed_often_take_no_slots_of_others() -> None:
    guesses = Guesses()
    for now in range(0, 8 * 3_600, 20):
        for number in range(MAX_NETWORKS):
            ask(guesses, ANNA, f"guesser {number}", now)
    assert ask(guesses, ANNA, "anna", 8 * 3_600) == 0


def test_promised_slot_is_kept_and_one_network_too_many_gets_no_promise() -> None:
    guesses = Guesses()
    for number in range(FIRST_AT_ONCE):
        assert ask(guesses, ANNA, f"first {number}", 0) == 0
    waits = [ask(guesses, ANNA, f"guesser {number}", 0) for number in range(MAX_PROMISED)]
    assert waits == [FIRST_SECONDS * (number + 1) for number in range(MAX_PROMISED)]
    assert ask(guesses, ANNA, "one more", 0) == FIRST_SECONDS
    assert ask(guesses, ANNA, "guesser 4", 100) == 5 * FIRST_SECONDS - 100
    assert ask(guesses, ANNA, "guesser 4", 5 * FIRST_SECONDS + PROMISED_SECONDS) == 0


async def test_known_browser_is_slowed_only_by_its_own_failures(relay: Relay) -> None:
    signing_in = relay.service.signing_in
    entered = await signing_in.by_password("anna", "correct horse", "phone", "10.0.0.1")
    proof = signing_in.proof(entered.token)
    await signing_in.sign_out(UserKey(1), DeviceKey(1))
    for _ in range(FREE_FAILURES + 1):
        last = await guess(signing_in, "anna", "10.0.0.1")
    assert last == "rate_limited"
    assert await attempt(signing_in, "anna", "10.0.0.1", proof=proof) == "in"
    guesses = [await guess(signing_in, "anna", f"192.0.2.{number}", proof) for number in range(FREE_FAILURES + 1)]
    assert guesses == ["unauthorized"] * FREE_FAILURES + ["rate_limited"]


async def test_a_password_is_changed_however_much_others_guess_at_it(relay: Relay) -> None:
    signing_in = relay.service.signing_in
    entered = await signing_in.by_password("anna", "correct horse", "phone", "10.0.0.1")
    for number in range(20):
        await guess(signing_in, "anna", f"192.0.2.{number}")
    device = relay.state.device_keys[token_hash(entered.token)]

    async def change(old: str) -> str:
        try:
            await signing_in.change_password(UserKey(1), device, old, "correct battery staple", sign_out_others=False)
        except RelayError as error:
            return error.error.code
        return "changed"

    assert await change("correct horse") == "changed"
    wrong = [await change("a wrong one") for _ in range(FREE_FAILURES + 1)]
    assert wrong == ["unauthorized"] * FREE_FAILURES + ["rate_limited"]


async def test_a_proof_of_another_user_or_a_made_up_one_helps_nobody(relay: Relay) -> None:
    signing_in = relay.service.signing_in
    entered = await signing_in.by_password("ben", "correct horse", "phone", "10.0.0.1")
    of_ben = signing_in.proof(entered.token)
    for number in range(FIRST_AT_ONCE):
        await guess(signing_in, "anna", f"192.0.2.{number}")
    for proof in (of_ben, of_ben[:-1], f"2{of_ben[1:]}", "1.", "1.é", "9" * 5_000 + ".x", "²."):
        assert await attempt(signing_in, "anna", "198.51.100.1", proof=proof) == "rate_limited"


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
async def test_attempts_that_were_never_checked_keep_nobody_from_signing_in(
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
async def test_attempts_that_were_never_checked_keep_nobody_from_changing_their_password(
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


async def test_a_guess_that_was_checked_counts_although_its_client_has_gone(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_given_back_slot_stays_its_networks_for_five_minutes(who: UserKey | str) -> None:
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
    before = len(guesses)
    for number in range(5 * MAX_UNKNOWN):
        ask(guesses, f"nobody{number}", "guesser", PROMISED_SECONDS + 1)
    assert len(guesses) <= before + MAX_UNKNOWN, "what was given back is counted"


@pytest.mark.parametrize("seed", range(6))
def test_given_back_attempts_leave_at_most_a_hundred_checks_an_hour(seed: int) -> None:
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


# Those who guess.


@pytest.mark.parametrize("seed", range(12))
def test_user_gets_at_most_a_hundred_guesses_in_any_hour(seed: int) -> None:
    # Guessers come from many networks, all the time or as late as they may, to save up what they are promised.
    dice = random.Random(seed)
    guesses, count = Guesses(), Count()
    networks = [f"guesser {number}" for number in range(dice.choice([1, 5, 30, 100, 2_000]))]
    patience = dice.choice([0.0, 0.0, PROMISED_SECONDS, PROMISED_SECONDS / 2])
    due: dict[str, float] = {}
    now = 0.0
    while now < 4 * HOUR:
        asking = networks if len(networks) < 50 else dice.sample(networks, 30)
        for network in asking:
            if due.get(network, 0.0) > now:
                continue
            wait = ask(guesses, ANNA, network, now)
            if wait == 0:
                count.add(now)
            due[network] = now + (wait + patience if wait else 0.0)
        now += dice.choice([1.0, 5.0, 20.0])
        if dice.random() < 0.001:
            now += 2 * HOUR
    assert count.most <= MOST_AN_HOUR


def test_guessers_that_save_up_promised_turns_get_at_most_a_hundred_checks_an_hour() -> None:
    # Half of them move to a new network after each three tries. All keep what they are promised until the third hour.
    guesses, count = Guesses(), Count()
    tries, due = [0] * 20, [0.0] * 20
    for now in range(4 * 3_600):
        for number in range(20):
            if due[number] > now:
                continue
            network = f"guesser {number} {tries[number] // FIRST_TRIES if number < 10 else 0}"
            wait = ask(guesses, ANNA, network, now)
            if wait == 0:
                count.add(now)
                tries[number] += 1
            elif now + wait <= 3 * HOUR <= now + wait + PROMISED_SECONDS:
                due[number] = 3 * HOUR
            else:
                due[number] = now + wait
    assert MOST_AN_HOUR - 15 <= count.most <= MOST_AN_HOUR


def test_networks_that_let_slots_pass_take_no_more_than_guessing_ones() -> None:
    guesses, holders = Guesses(), [f"holder {number}" for number in range(MAX_PROMISED)]
    for number in range(FIRST_AT_ONCE):
        ask(guesses, ANNA, f"guesser {number}", 0)
    due = dict.fromkeys(holders, 0.0)
    for now in range(0, 4 * 3_600, 10):
        for holder in holders:
            if due[holder] <= now:
                due[holder] = now + ask(guesses, ANNA, holder, now) + PROMISED_SECONDS + 1
    assert ask(guesses, ANNA, "anna", 4 * 3_600) == 0


def test_network_gets_eighteen_checks_of_one_user_an_hour() -> None:
    guesses, count = Guesses(), Count()
    for now in range(3 * 3_600):
        if ask(guesses, ANNA, "guesser", now) == 0:
            count.add(now)
    assert count.most <= 18


def test_network_with_a_signed_in_user_gets_eighteen_checks_an_hour() -> None:
    failures, count = Throttle(PAIR_WAIT_SECONDS), Count()
    for now in range(3 * 3_600):
        if failures.wait("anna", now) == 0:
            failures.failed("anna", now)
            count.add(now)
    assert count.most <= 18


def test_a_right_password_makes_no_room_for_guesses_from_elsewhere() -> None:
    guesses, count = Guesses(), Count()
    for now in range(0, 4 * 3_600, 5):
        for number in range(40):
            if ask(guesses, ANNA, f"guesser {number}", now) == 0:
                count.add(now)
                if now % 3 == 0:
                    guesses.succeeded(ANNA, f"guesser {number}")
    assert count.most <= MOST_AN_HOUR


def test_ids_that_nobody_has_are_limited_as_those_of_users() -> None:
    dice = random.Random(7)
    guesses, now = Guesses(), 0.0
    for _ in range(5_000):
        now += dice.choice([0.0, 0.5, 30.0, 200.0])
        network = f"guesser {dice.randrange(12)}"
        assert ask(guesses, ANNA, network, now) == ask(guesses, "nobody", network, now)


def test_no_flood_of_ids_costs_memory_or_forgives_a_user() -> None:
    guesses = Guesses()
    for _ in range(FREE_FAILURES):
        ask(guesses, ANNA, "guesser", 0)
    for number in range(5 * MAX_UNKNOWN):
        ask(guesses, f"nobody{number}", f"guesser {number % 500}", 0)
        ask(guesses, ANNA, f"guesser {number}", 0)
        ask(guesses, "nobody", f"guesser {number}", 0)
    assert len(guesses) < MAX_UNKNOWN + 200
    assert ask(guesses, ANNA, "guesser", 0) > 0


def test_users_whom_nobody_guesses_at_any_more_are_forgotten() -> None:
    guesses = Guesses()
    for key in range(1, 1_000):
        ask(guesses, UserKey(key), "guesser", 0)
    ask(guesses, UserKey(1_000), "guesser", 2 * HOUR)
    assert len(guesses) < 10


def test_a_site_of_ipv6_is_one_network_to_guess_from() -> None:
    assert rate_limit_key("2001:db8:1:2::1", SITE_BITS) == rate_limit_key("2001:db8:1:3::1", SITE_BITS)
    assert rate_limit_key("2001:db8:1:2::1", SITE_BITS) != rate_limit_key("2001:db8:2:2::1", SITE_BITS)


# What guessing costs the relay.


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


async def test_a_password_of_one_network_is_checked_after_one_of_another_however_many_wait(
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


async def test_a_site_of_ipv6_has_one_turn_however_many_of_its_networks_guess(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
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
