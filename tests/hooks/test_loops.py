"""The limit on bots that answer each other, before any message is written."""

from relay.core.hooks.loops import LoopBrake
from tests.support.memory_log import MemoryLog


def test_two_programs_may_send_the_first_message_at_the_same_time() -> None:
    log = MemoryLog()
    log.add_users("anna", "first", "second")
    for bot in ("first", "second"):
        log.state.users[log.state.user_keys[bot]].bot = True
    log.group("anna", "first", "second")
    answering = LoopBrake(log.state)
    # The first one's message is not on disk yet, or was refused.
    for bot in ("first", "second", "first"):
        answering.check(log.state.user_keys[bot], "g-1", 1.0)
