"""The use of a user's devices: which are connected, and when the others last were. Reads memory only."""

from relay.core.delivery.presence import Presence
from relay.core.model.state import State
from relay.keys import UserKey
from relay.store.entry import DeviceUses
from relay.store.log.schedule import Cursors


def device_uses(state: State, cursors: Cursors, presence: Presence, user: UserKey) -> DeviceUses:
    """Describe the use of a user's devices, for the rule that signs in another one.

    Args:
        state: the state.
        cursors: every device's cursor, on disk or not yet.
        presence: all connections.
        user: the user's key.
    """
    return DeviceUses(
        frozenset(one.device for one in presence.subscribers.get(user, ())),
        {
            device.key: cursors[device.key][1]
            for device in state.devices.values()
            if device.user == user and not device.revoked_at and device.key in cursors
        },
    )
