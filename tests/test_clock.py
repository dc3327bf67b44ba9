"""The machine's clock jumps: what is in the log never goes backwards, and goes on."""

from pathlib import Path

from relay.core.asking import decided
from relay.core.check import check
from relay.core.commands import Command
from relay.core.relay import Relay, open_relay
from relay.protocol import control, requests

YEAR = 365 * 86_400_000


async def _say(relay: Relay, number: int) -> requests.Accepted:
    request = requests.New(chat_id="b", client_message_id=str(number), message="tick")
    return await decided(relay.log, Command(relay.clock(), 1, 0, request))


async def test_timestamps_never_go_backwards(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    async with open_relay(tmp_path, clock=lambda: now) as relay:
        for user in ("a", "b"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        first = await _say(relay, 1)
        now -= YEAR
        back = await _say(relay, 2)
        assert back.timestamp == first.timestamp
        now += 2 * YEAR
        forward = await _say(relay, 3)
        assert forward.timestamp == first.timestamp + YEAR
    # A Raspberry Pi has no clock battery: after the power cut it is 1970 again.
    now = 0
    async with open_relay(tmp_path, clock=lambda: now) as relay:
        assert (await _say(relay, 4)).timestamp == forward.timestamp
        assert (await _say(relay, 4)).message_id == 4, "a resend is the same message whatever the clock says"
    assert [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong] == []
