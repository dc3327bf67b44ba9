"""Password attempts, for tests of the limits on guessing."""

from collections import deque

from relay.core.auth.guesses import (
    Guesses,
)
from relay.core.auth.sign_in import SignIn
from relay.keys import UserKey
from relay.protocol.errors import RelayError

ANNA = UserKey(1)
HOUR = 3_600.0
MOST_AN_HOUR = 100
"""OWASP ASVS 4.0.3, 2.2.1: failed attempts at one account."""


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


def ask(guesses: Guesses, who: UserKey | str, network: str, now: float) -> float:
    return guesses.attempt(who, network, now).wait


class Count:
    """Checked attempts, and their maximum in any hour."""

    def __init__(self) -> None:
        self.most = 0
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self._times.append(now)
        while now - self._times[0] > HOUR:
            self._times.popleft()
        self.most = max(self.most, len(self._times))
