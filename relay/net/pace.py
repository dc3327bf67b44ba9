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

    def take(self, address: Hashable, now: float) -> float:
        """Take a token, though there may be none yet.

        Args:
            address: who asks.
            now: seconds of any clock that does not jump.

        Returns:
            After how many seconds the request may be answered.
        """
        full_at = max(self._full_at.pop(address, now), now) + 1 / RATE
        self._full_at[address] = full_at
        if len(self._full_at) > KNOWN:
            self._full_at.popitem(last=False)
        return max(0.0, full_at - now - BURST / RATE)
