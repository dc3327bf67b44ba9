"""Limits on guessing: growing delays per address and per user, in bounded memory."""

from pathlib import Path

import pytest

from relay.core.auth.throttle import (
    FIRST_WAIT_SECONDS,
    FORGET_SECONDS,
    FORGIVE_SECONDS,
    FREE_FAILURES,
    Throttle,
    rate_limit_key,
)
from relay.core.relay import open_relay
from relay.core.tuning import SignInTuning, Tuning
from relay.protocol.errors import RelayError
from relay.settings import AuthSection, Settings


def after(times: int, attempts: Throttle, who: str = "a", now: float = 0.0) -> float:
    for _ in range(times):
        attempts.failed(who, now)
    return attempts.wait(who, now)


def test_a_few_failures_cost_nothing() -> None:
    assert after(FREE_FAILURES - 1, Throttle(900)) == 0


def test_each_further_failure_doubles_the_wait_up_to_the_longest() -> None:
    attempts = Throttle(60)
    after(FREE_FAILURES - 1, attempts)
    waits = [after(1, attempts) for _ in range(9)]
    assert waits == [FIRST_WAIT_SECONDS, 2, 4, 8, 16, 32, 60, 60, 60]


def test_wait_runs_out() -> None:
    attempts = Throttle(900)
    wait = after(FREE_FAILURES + 3, attempts)
    assert attempts.wait("a", wait - 0.5) == 0.5
    assert attempts.wait("a", wait) == 0


def test_failures_of_one_key_do_not_count_for_another() -> None:
    attempts = Throttle(900)
    after(FREE_FAILURES + 3, attempts)
    assert attempts.wait("b", 0) == 0


def test_success_and_time_forget() -> None:
    attempts = Throttle(900)
    after(FREE_FAILURES + 3, attempts)
    attempts.succeeded("a")
    assert attempts.wait("a", 0) == 0
    after(FREE_FAILURES + 3, attempts)
    assert after(1, attempts, now=FORGET_SECONDS + 1) == 0


def test_failure_that_was_counted_too_early_is_taken_back() -> None:
    attempts = Throttle(900)
    after(FREE_FAILURES, attempts)
    attempts.forgive("a")
    assert attempts.wait("a", 0) == 0
    attempts.forgive("nobody")


def test_number_of_guessers_does_not_affect_memory() -> None:
    attempts = Throttle(900, kept=100)
    for number in range(10_000):
        attempts.failed(f"10.0.{number >> 8}.{number & 255}", 0)
    assert len(attempts) == 100


def test_a_network_of_ipv6_counts_as_one() -> None:
    assert rate_limit_key("2001:db8:1:2:3:4:5:6") == rate_limit_key("2001:db8:1:2::9")
    assert rate_limit_key("2001:db8:1:2::9") != rate_limit_key("2001:db8:1:3::9")
    assert rate_limit_key("fe80::1%eth0") == "fe80::"
    assert rate_limit_key("192.168.1.5") == "192.168.1.5"
    assert rate_limit_key("local") == "local"


async def test_ipv6_network_gets_a_bounded_number_of_sign_ups_at_once(tmp_path: Path) -> None:
    # If a kit's own WLAN has IPv6, all phones share one network: the sixth waited for seconds, then minutes.
    near = 20
    tuning = Tuning(sign_in=SignInTuning(network_free_sign_ups=near))
    async with open_relay(tmp_path, settings=Settings(auth=AuthSection(open=True)), tuning=tuning) as relay:
        signing_in = relay.service.signing_in

        async def come(address: str) -> str:
            try:
                return (await signing_in.by_name(f"Guest {len(relay.state.users)}", "", address)).user_id
            except RelayError as error:
                return error.error.code

        for number in range(near - FREE_FAILURES):
            assert (await come(f"fd00::{number:x}")).startswith("Guest")
        of_one = [await come("fd00::ffff") for _ in range(FREE_FAILURES + 1)]
        assert of_one[-1] == "rate_limited"
        assert "rate_limited" not in of_one[:-1]
        assert await come("fd00::fffe") == "rate_limited", "a network has more addresses than a relay has room for"
        assert (await come("192.0.2.1")).startswith("Guest")


def test_failures_are_forgiven_one_by_one_over_time() -> None:
    attempts = Throttle(60)
    assert after(FREE_FAILURES + 5, attempts) == 32
    assert after(1, attempts, now=4 * FORGIVE_SECONDS) == 4


async def test_taken_name_does_not_delay_others_behind_the_address(tmp_path: Path) -> None:
    settings = Settings(auth=AuthSection(open=True))
    async with open_relay(tmp_path, settings=settings) as relay:
        signing_in = relay.service.signing_in
        await signing_in.by_name("Anna", "phone", "10.0.0.1")
        for _ in range(FREE_FAILURES + 3):
            with pytest.raises(RelayError) as refused:
                await signing_in.by_name("Anna", "phone", "10.0.0.1")
            assert refused.value.error.code == "conflict"
        assert (await signing_in.by_name("Ben", "phone", "10.0.0.1")).user_id == "Ben"
