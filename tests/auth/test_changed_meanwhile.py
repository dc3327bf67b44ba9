"""What a request was checked against may change before its turn comes: then it is refused, and else it is undone."""

from typing import Any

import pytest

from relay.core.rules import commands
from relay.protocol import control, requests
from tests.support.memory_log import MemoryLog, code

# Commands of a user without a device: a temporary token, a message that the admin sends for them.


@pytest.mark.parametrize(
    "ask",
    [
        requests.ProfileRequest(name="Other"),
        requests.CreateChat(type="group", name="Crew", participants=["ben"]),
        requests.New(chat_id="ben", client_message_id="1", message="the first one"),
        requests.New(chat_id="anna", client_message_id="1", message="a note"),
        commands.SetPassword("anna", "hash"),
        commands.AddFile(id="f", digest="0", name="a", mimetype="text/plain", size=1, width=None, height=None, loose=1),
    ],
    ids=lambda ask: type(ask).__name__,
)
def test_a_command_of_a_user_who_was_disabled_while_it_waited_is_refused_also_without_a_device(ask: Any) -> None:
    log = MemoryLog()
    log.add_users("anna", "ben")
    log.do(None, control.ChangeUser(id="anna", disabled=True))
    before = len(log.entries)
    assert code(log.do("anna", ask)) == "forbidden"
    assert len(log.entries) == before
