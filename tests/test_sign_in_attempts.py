"""How often somebody may guess: delays that grow, per address and per user, and memory that does not."""

from relay.core.attempts import FIRST, FORGOTTEN, FREE, Attempts, network


def after(times: int, attempts: Attempts, who: str = "a", now: float = 0.0) -> float:
    for _ in range(times):
        attempts.failed(who, now)
    return attempts.wait(who, now)


def test_a_few_failures_cost_nothing():
    assert after(FREE - 1, Attempts(900)) == 0


def test_each_further_failure_doubles_the_wait_up_to_the_longest():
    attempts = Attempts(60)
    after(FREE - 1, attempts)
    waits = [after(1, attempts) for _ in range(9)]
    assert waits == [FIRST, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_wait_runs_out():
    attempts = Attempts(900)
    wait = after(FREE + 3, attempts)
    assert attempts.wait("a", wait - 0.5) == 0.5
    assert attempts.wait("a", wait) == 0


def test_failures_of_one_are_not_anothers():
    attempts = Attempts(900)
    after(FREE + 3, attempts)
    assert attempts.wait("b", 0) == 0


def test_success_and_time_forget():
    attempts = Attempts(900)
    after(FREE + 3, attempts)
    attempts.succeeded("a")
    assert attempts.wait("a", 0) == 0
    after(FREE + 3, attempts)
    assert after(1, attempts, now=FORGOTTEN + 1) == 0


def test_what_was_counted_too_early_is_taken_back():
    attempts = Attempts(900)
    after(FREE, attempts)
    attempts.forgive("a")
    assert attempts.wait("a", 0) == 0
    attempts.forgive("nobody")


def test_any_number_of_guessers_costs_no_more_memory():
    attempts = Attempts(900, kept=100)
    for number in range(10_000):
        attempts.failed(f"10.0.{number >> 8}.{number & 255}", 0)
    assert len(attempts) == 100


def test_a_network_of_ipv6_counts_as_one():
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::9")
    assert network("2001:db8:1:2::9") != network("2001:db8:1:3::9")
    assert network("fe80::1%eth0") == "fe80::"
    assert network("192.168.1.5") == "192.168.1.5"
    assert network("local") == "local"
