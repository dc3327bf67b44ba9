"""Signing in by a password: it works, it is not stored, and guessing it is slow and delays nobody."""

import threading
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from relay.core.auth.guesses import FIRST_AT_ONCE
from relay.core.auth.passwords import Passwords
from relay.core.auth.throttle import FREE_FAILURES
from relay.core.limits.fair_lock import FairLock
from relay.keys import UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.support.http_relay import HttpRelay, http_relay
from tests.support.tunings import cheap, cheap_argon2


async def with_password(relay: HttpRelay, user_id: str = "anna", password: str = "correct horse") -> None:
    await relay.user(user_id)
    await relay.ask("user.password", control.SetPasswordRequest(id=user_id, password=password))


async def sign_in(browser: httpx.AsyncClient, user_id: str, password: str) -> httpx.Response:
    return await browser.post("/session", json={"userId": user_id, "password": password})


async def test_password_signs_in_until_it_is_removed(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        right = await sign_in(browser, "anna", "correct horse")
        wrong = await sign_in(browser, "anna", "wrong horse")
        await relay.ask("user.password", control.SetPasswordRequest(id="anna", password=""))
        taken_away = await sign_in(browser, "anna", "correct horse")
        empty = await sign_in(browser, "anna", "")
    assert (right.status_code, right.json()["userId"]) == (200, "anna")
    for answer in (wrong, taken_away, empty):
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("chosen", ["pässwörterlich", "pa\u0308sswo\u0308rterlich", "\uff50ässwörterlich"])
@pytest.mark.parametrize("typed", ["pässwörterlich", "pa\u0308sswo\u0308rterlich"])
async def test_password_is_compared_in_unicodes_normal_form(tmp_path: Path, chosen: str, typed: str) -> None:
    # matrix-org/synapse#3306, mattermost/mattermost#36877.
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay, password=chosen)
        assert (await sign_in(browser, "anna", typed)).status_code == 200
        assert (await sign_in(browser, "anna", "passworterlich")).status_code == 401


async def test_password_hashed_without_normalization_by_an_older_relay_still_works(tmp_path: Path) -> None:
    typed = "pa\u0308sswo\u0308rterlich"
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        relay.relay.state.users[UserKey(1)].password = cheap_argon2().hash(typed)
        assert (await sign_in(browser, "anna", typed)).status_code == 200


@pytest.mark.parametrize("typed", ["Anna", "ANNA", " anna "])
async def test_id_is_found_in_any_case_and_with_spaces_around(tmp_path: Path, typed: str) -> None:
    # RocketChat/Rocket.Chat#2862, element-hq/element-web#6318.
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        answer = await sign_in(browser, typed, "correct horse")
        for _ in range(FREE_FAILURES + 1):
            last = await sign_in(browser, typed, "wrong horse")
        known = await sign_in(browser, "anna", "correct horse")
    assert answer.json()["userId"] == "anna"
    assert (last.status_code, known.status_code) == (429, 429)


@pytest.mark.parametrize("user", ["müller", "mu\u0308ller"])
@pytest.mark.parametrize("typed", ["müller", "mu\u0308ller", "MÜLLER", "\uff4düller"])
async def test_id_is_found_in_any_unicode_form(tmp_path: Path, user: str, typed: str) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay, user)
        answer = await sign_in(browser, typed, "correct horse")
    assert answer.json().get("userId") == user


async def test_ids_that_differ_in_case_sign_in_only_in_exact_spelling(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay, "anna")
        await with_password(relay, "Anna", "battery staple")
        right = await sign_in(browser, "Anna", "battery staple")
        neither = await sign_in(browser, "ANNA", "battery staple")
    assert (right.json()["userId"], neither.status_code) == ("Anna", 401)


async def test_sign_in_answers_alike_for_unknown_and_known_users(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        await relay.user("ben")
        answers = [await sign_in(browser, user, "guess") for user in ("anna", "ben", "nobody")]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1


async def test_store_has_no_password(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay:
        await with_password(relay)
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        assert (await sign_in(browser, "anna", "correct horse")).status_code == 200
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"argon2id" in stored
    assert b"correct horse" not in stored


async def test_disabled_user_cannot_sign_in_by_password(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        await relay.ask("user.change", control.ChangeUser(id="anna", disabled=True))
        assert (await sign_in(browser, "anna", "correct horse")).status_code == 401


async def test_repeated_guesses_wait_longer_even_with_the_right_password(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        for _ in range(FREE_FAILURES):
            assert (await sign_in(browser, "anna", "guess")).status_code == 401
        limited = await sign_in(browser, "anna", "correct horse")
        other = await sign_in(browser, "ben", "guess")
    assert limited.status_code == 429
    error = limited.json()["error"]
    assert error["code"] == "rate_limited"
    assert 0 < error["retryAfter"] <= 1_001
    assert limited.headers["retry-after"] == "1"
    assert other.status_code == 401


async def test_right_passwords_never_count_as_guesses(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        statuses = [(await sign_in(browser, "anna", "correct horse")).status_code for _ in range(FREE_FAILURES + 2)]
        wrong = [(await sign_in(browser, "anna", "wrong horse")).status_code for _ in range(FREE_FAILURES + 1)]
    assert len(set(statuses)) == 1
    assert statuses[0] < 300
    assert wrong == [401] * FREE_FAILURES + [429]


async def test_mistyped_passwords_lock_out_no_colleague_behind_the_address(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        await with_password(relay, "ben")
        for _ in range(FREE_FAILURES + 1):
            last = await sign_in(browser, "ben", "guess")
        invites = [(await browser.post("/session", json={"invite": "made-up"})).status_code for _ in range(30)]
        code = await relay.invite("cleo", new=True)
        invited = await browser.post("/session", json={"invite": code})
        right = await sign_in(browser, "anna", "correct horse")
    assert last.status_code == 429
    assert invites[0] == 401
    assert invites[-1] == 429
    assert (invited.status_code, right.status_code) == (200, 200)


async def test_simultaneous_attempts_are_limited_like_successive_ones(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        await with_password(relay)
        statuses = []

        async def guess() -> None:
            statuses.append((await sign_in(browser, "anna", "guess")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(guess)
    assert statuses.count(401) == FREE_FAILURES
    assert statuses.count(429) == 30 - FREE_FAILURES


class SlowHasher:
    """Makes a hash on a signal."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()

    def hash(self, _password: str) -> str:
        self.begun.set()
        assert self.ended.wait(30)
        return ""

    def matches(self, hashed: str, password: str) -> bool:
        return self.hash(password) == hashed


async def test_hashing_does_not_stall_the_loop() -> None:
    hasher = SlowHasher()
    hashes = Passwords(hasher)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hashes.hash, "correct horse", "anna")
        while not hasher.begun.is_set():
            await trio.sleep(0.001)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert (len(hashes.lock), hashes.lock.held) == (0, True)
        hasher.ended.set()
    assert not hashes.lock.held


async def test_hashes_beyond_the_waiting_limit_are_rate_limited() -> None:
    hasher = SlowHasher()
    hashes, refused = Passwords(hasher, most_waiting=2), []

    async def one() -> None:
        try:
            await hashes.hash("correct horse", "anna")
        except RelayError as error:
            refused.append(error.error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(one)
        while len(refused) < 3:
            await trio.sleep(0.001)
        hasher.ended.set()
    assert refused == ["rate_limited"] * 3


async def test_newest_hash_of_the_largest_waiter_is_dropped_when_full() -> None:
    lock, ended, all_there = FairLock(4), [], trio.Event()

    async def one(owner: str, number: int) -> None:
        try:
            async with lock.turn(owner):
                await all_there.wait()
                ended.append(f"{owner} {number}")
        except RelayError as error:
            ended.append(f"{owner} {number}: {error.error.code}")

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(one, "guesser", number)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(one, "guesser", 5)
        nursery.start_soon(one, "anna", 0)
        await trio.testing.wait_all_tasks_blocked()
        all_there.set()
    assert sorted(ended[:2]) == ["guesser 4: rate_limited", "guesser 5: rate_limited"]
    assert ended[2:] == ["guesser 0", "guesser 1", "anna 0", "guesser 2", "guesser 3"]


@pytest.mark.parametrize("early", [True, False])
async def test_abandoned_hash_delays_no_other(*, early: bool) -> None:
    lock, ended = FairLock(4), []
    scope = trio.CancelScope()

    async def one(owner: str) -> None:
        async with lock.turn(owner):
            ended.append(owner)

    async def cancelled() -> None:
        with scope:
            await one("gone")

    async with trio.open_nursery() as nursery:
        async with lock.turn("first"):
            nursery.start_soon(cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(one, "anna")
            await trio.testing.wait_all_tasks_blocked()
            if early:
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert ended in (["anna"], ["gone", "anna"])
    assert (len(lock), lock.held) == (0, False)


async def test_guesses_from_elsewhere_do_not_lock_out_a_known_network(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay:
        await with_password(relay)
        signing_in = relay.relay.service.signing_in
        await signing_in.by_password("anna", "correct horse", "phone", "10.0.0.1")
        for number in range(FIRST_AT_ONCE):
            with pytest.raises(RelayError):
                await signing_in.by_password("anna", "guess", "x", f"192.0.2.{number}")
        assert (await signing_in.by_password("anna", "correct horse", "tablet", "10.0.0.1")).user_id == "anna"
        with pytest.raises(RelayError) as refused:
            await signing_in.by_password("anna", "correct horse", "x", "192.0.2.99")
        assert refused.value.error.code == "rate_limited"


async def test_signed_out_browser_signs_in_while_others_guess_from_its_address(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser, relay.browser() as other:
        await with_password(relay)
        await sign_in(browser, "anna", "correct horse")
        await browser.delete("/session")
        for _ in range(FREE_FAILURES):
            await sign_in(other, "anna", "guess")
        new = await sign_in(other, "anna", "correct horse")
        known = await sign_in(browser, "anna", "correct horse")
        proof = known.cookies["relay_device"]
        alone = await browser.get("/session", headers={"Cookie": f"relay_device={proof}"})
    assert (new.status_code, known.status_code, alone.status_code) == (429, 200, 401)


async def test_browser_signed_in_before_there_were_proofs_gets_one(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        token = await relay.user("anna")
        shown = await browser.get("/session", headers={"Cookie": f"relay_session={token}"})
        by_program = await browser.get("/session", headers={"Authorization": f"Bearer {token}"})
    assert shown.cookies["relay_device"] == relay.relay.service.signing_in.proof(token)
    assert "set-cookie" not in by_program.headers
