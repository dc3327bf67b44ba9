"""An admin sees and revokes every invite that is open or may open again."""

from pathlib import Path
from typing import Any

import pytest

from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import UseInvite
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.store.command import Command

HOUR = 3_600_000


class Clock:
    """A wall clock that the test sets, Unix milliseconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


async def invites(relay: Relay) -> dict[str | None, str]:
    """The listed state of each invite, by its user."""
    listed: Any = await relay.admin.handle("invite.list", control.Empty())
    return {one.user_id: one.state for one in listed}


async def change(relay: Relay, user: str, **changed: Any) -> None:
    await relay.admin.handle("user.change", control.ChangeUser(id=user, **changed))


async def revoke(relay: Relay, **named: str) -> list[control.InviteInfo]:
    revoked: Any = await relay.admin.handle("invite.revoke", control.InviteRevocation(**named))
    return [*revoked]


async def enters(relay: Relay, code: str) -> bool:
    try:
        await relay.service.signing_in.by_invite(code, "phone", "10.0.0.1")
    except RelayError:
        return False
    return True


async def invite_by_ben(relay: Relay) -> str:
    """Let ben, an admin of the relay, invite anna; return the code."""
    for user in ("anna", "ben"):
        await relay.admin.handle("user.add", control.AddUser(id=user))
    await change(relay, "ben", admin=True)
    made = await relay.service.signing_in.invite(relay.state.user_keys["ben"], user_id="anna")
    return made.code


@pytest.mark.parametrize(
    ("user", "away", "back", "state"),
    [
        ("anna", {"disabled": True}, {"disabled": False}, "userDisabled"),
        ("ben", {"disabled": True}, {"disabled": False}, "makerMayNot"),
        ("ben", {"admin": False}, {"admin": True}, "makerMayNot"),
    ],
)
@pytest.mark.parametrize("revoked", [True, False])
async def test_unusable_invite_is_listed_and_can_be_revoked(
    tmp_path: Path, user: str, away: dict[str, bool], back: dict[str, bool], state: str, *, revoked: bool
) -> None:
    async with open_relay(tmp_path) as relay:
        code = await invite_by_ben(relay)
        assert await invites(relay) == {"anna": "open"}
        await change(relay, user, **away)
        assert await invites(relay) == {"anna": state}
        assert not await enters(relay, code)
        if revoked:
            assert [one.user_id for one in await revoke(relay, user_id="anna")] == ["anna"]
            assert await invites(relay) == {}
        await change(relay, user, **back)
        assert await invites(relay) == ({} if revoked else {"anna": "open"})
        assert await enters(relay, code) is not revoked


async def test_used_and_expired_invites_are_neither_listed_nor_revoked(tmp_path: Path) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        code = await invite_by_ben(relay)
        assert await enters(relay, code)
        await relay.service.signing_in.invite(relay.state.user_keys["ben"], user_id="ben")
        assert await invites(relay) == {"ben": "open"}
        clock.now += 24 * 7 * HOUR
        assert await invites(relay) == {}
        for user in ("anna", "ben"):
            with pytest.raises(RelayError) as refused:
                await revoke(relay, user_id=user)
            assert refused.value.error.code == "not_found"


async def test_revoke_does_not_claim_an_invite_that_was_just_used(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await invite_by_ben(relay)
        (code_hash,) = relay.state.invites
        answers: list[object] = []
        use = Command(relay.clock(), UserKey(0), NO_DEVICE, UseInvite(code_hash, "phone", "token"))
        # The use waits in the queue while the revocation looks the invite up.
        relay.log.append(use, answers.append)
        with pytest.raises(RelayError) as refused:
            await revoke(relay, id=code_hash[:8])
        assert refused.value.error.code == "conflict"
        assert not isinstance(answers[0], RelayError)


async def test_revoking_several_invites_names_those_revoked(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await invite_by_ben(relay)
        (used,) = relay.state.invites
        await relay.service.signing_in.invite(relay.state.user_keys["ben"], user_id="anna")
        (other,) = relay.state.invites.keys() - {used}
        use = Command(relay.clock(), UserKey(0), NO_DEVICE, UseInvite(used, "phone", "token"))
        relay.log.append(use, lambda _answer: None)
        assert [one.id for one in await revoke(relay, user_id="anna")] == [other[:8]]
