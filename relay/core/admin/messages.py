"""The admin request of `relay send`: a message of a user, sent from the machine itself."""

from relay.core.admin.lookup import Lookup
from relay.core.clock.clock import Clock
from relay.core.model.state import State
from relay.core.submit import submit
from relay.keys import NO_DEVICE
from relay.protocol import control, requests
from relay.store.command import Command
from relay.store.log.log import Log


class MessageAdmin:
    """Sends users' messages without a device of theirs."""

    def __init__(self, state: State, log: Log, clock: Clock) -> None:
        self._find = Lookup(state)
        self._log = log
        self._clock = clock

    async def say(self, request: control.Say) -> requests.Accepted:
        """Send a user's message from the machine itself."""
        user = self._find.enabled_user(request.user_id)
        chat_id = self._find.chat_of(user, request.chat_id)
        message = requests.New(chat_id=chat_id, client_message_id=request.client_message_id, message=request.message)
        return await submit(self._log, Command(self._clock(), user.key, NO_DEVICE, message))
