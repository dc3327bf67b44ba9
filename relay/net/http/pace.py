"""How many requests a second an address may make that nobody has signed in from: more of them wait. Pure."""

from collections import OrderedDict
from collections.abc import Hashable

RATE = 100.0
"""Requests a second of one address. A page's first visit asks for less than thirty things, a later one for three."""
BURST = 400.0
"""Requests at once."""
KNOWN = 4_096
"""Addresses that are remembered at a time; the one that asked least lately is forgotten."""


class AddressPace:
    """A token bucket of each address, of which the time is kept at which it will be full again."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: Hashable, now: float, longest: float) -> float | None:
        """Take a token, though there may be none yet.

        A request that would wait for too long takes none: else others behind the same address would pay for a flood
        long after it has ended.

        Args:
            address: who asks.
            now: seconds of any clock that does not jump.
            longest: how many seconds a request may wait.

        Returns:
            After how many seconds the request may be answered; None where that is too long.
        """
        full_at = max(self._full_at.pop(address, now), now)
        wait = max(0.0, full_at + 1 / RATE - now - BURST / RATE)
        self._full_at[address] = full_at if wait > longest else full_at + 1 / RATE
        if len(self._full_at) > KNOWN:
            self._full_at.popitem(last=False)
        return None if wait > longest else wait
