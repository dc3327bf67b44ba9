"""Guessing passwords: how many guesses a user's account allows, and how long users who know theirs wait meanwhile."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.auth.guesses import (
    FIRST_AT_ONCE,
    FIRST_SECONDS,
    FIRST_TRIES,
    MAX_NETWORKS,
    MAX_PROMISED,
    MAX_UNKNOWN,
    PAIR_WAIT_SECONDS,
    PROMISED_SECONDS,
    Guesses,
)
from relay.core.auth.throttle import FREE_FAILURES, SITE_BITS, Throttle, rate_limit_key
from relay.core.auth.tokens import token_hash
from relay.core.relay import Relay, open_relay
from relay.keys import DeviceKey, UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.auth.guessing import ANNA, HOUR, MOST_AN_HOUR, Count, ask, attempt, guess
from tests.support.tunings import cheap


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


# Users who know their password.


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
def test_new_network_waits_a_minute_for_itself_and_each_guessing_network(seed: int) -> None:
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
            # People do not come back on the exact second.
            asks_at = now + wait + dice.uniform(0, 30)
        now += 1
    assert max(waits) <= (len(guessers) + 1) * FIRST_SECONDS + 32


def test_networks_that_failed_often_take_no_slots_from_others() -> None:
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


async def test_password_change_is_not_delayed_by_guesses(relay: Relay) -> None:
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


async def test_foreign_or_forged_device_proof_is_ignored(relay: Relay) -> None:
    signing_in = relay.service.signing_in
    entered = await signing_in.by_password("ben", "correct horse", "phone", "10.0.0.1")
    of_ben = signing_in.proof(entered.token)
    for number in range(FIRST_AT_ONCE):
        await guess(signing_in, "anna", f"192.0.2.{number}")
    for proof in (of_ben, of_ben[:-1], f"2{of_ben[1:]}", "1.", "1.é", "9" * 5_000 + ".x", "²."):
        assert await attempt(signing_in, "anna", "198.51.100.1", proof=proof) == "rate_limited"


# Guessers.


@pytest.mark.parametrize("seed", range(12))
def test_user_gets_at_most_a_hundred_guesses_in_any_hour(seed: int) -> None:
    # Guessers come from many networks, all the time or as late as possible, in order to save up promised slots.
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


def test_guessers_that_save_up_promised_slots_get_at_most_a_hundred_checks_an_hour() -> None:
    # Half of them move to a new network after every three tries. All save up promised slots until the third hour.
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


def test_right_password_frees_no_slot_for_guesses_from_elsewhere() -> None:
    guesses, count = Guesses(), Count()
    for now in range(0, 4 * 3_600, 5):
        for number in range(40):
            if ask(guesses, ANNA, f"guesser {number}", now) == 0:
                count.add(now)
                if now % 3 == 0:
                    guesses.succeeded(ANNA, f"guesser {number}")
    assert count.most <= MOST_AN_HOUR


def test_unknown_ids_are_limited_like_users() -> None:
    dice = random.Random(7)
    guesses, now = Guesses(), 0.0
    for _ in range(5_000):
        now += dice.choice([0.0, 0.5, 30.0, 200.0])
        network = f"guesser {dice.randrange(12)}"
        assert ask(guesses, ANNA, network, now) == ask(guesses, "nobody", network, now)


def test_flood_of_ids_costs_no_memory_and_forgives_no_user() -> None:
    guesses = Guesses()
    for _ in range(FREE_FAILURES):
        ask(guesses, ANNA, "guesser", 0)
    for number in range(5 * MAX_UNKNOWN):
        ask(guesses, f"nobody{number}", f"guesser {number % 500}", 0)
        ask(guesses, ANNA, f"guesser {number}", 0)
        ask(guesses, "nobody", f"guesser {number}", 0)
    assert len(guesses) < MAX_UNKNOWN + 200
    assert ask(guesses, ANNA, "guesser", 0) > 0


def test_users_without_recent_guesses_are_forgotten() -> None:
    guesses = Guesses()
    for key in range(1, 1_000):
        ask(guesses, UserKey(key), "guesser", 0)
    ask(guesses, UserKey(1_000), "guesser", 2 * HOUR)
    assert len(guesses) < 10


def test_ipv6_site_counts_as_one_network() -> None:
    assert rate_limit_key("2001:db8:1:2::1", SITE_BITS) == rate_limit_key("2001:db8:1:3::1", SITE_BITS)
    assert rate_limit_key("2001:db8:1:2::1", SITE_BITS) != rate_limit_key("2001:db8:2:2::1", SITE_BITS)
