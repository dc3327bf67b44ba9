"""Handlers of requests about people and their devices: the directory, profiles, passwords and invites."""

import functools
from bisect import bisect_right

import trio

from relay.core.delivery import chat_views
from relay.core.delivery.subscriber import Subscriber
from relay.core.limits import fairness
from relay.core.service.answer_pages import PageMaker
from relay.core.service.dispatch import Reply, Service
from relay.keys import UserKey
from relay.outcomes import ChangedDevice, ChangedUser
from relay.protocol import control, objects, requests
from relay.protocol.errors import RelayError
from relay.text import fold, fold_query

MAX_FOLDED_NAME_CHARACTERS = 64
"""Maximum characters of a name whose folded form is cached: a character can fold to 18."""


@functools.lru_cache(maxsize=4_096)
def _kept_fold(name: str) -> str:
    return fold(name)


def folded_name(name: str) -> str:
    """Fold a name; cache the result for short ones, since a search runs for each letter typed."""
    return _kept_fold(name) if len(name) <= MAX_FOLDED_NAME_CHARACTERS else fold(name)


async def directory(
    service: Service, subscriber: Subscriber, request: requests.UsersRequest, reply: Reply[list[objects.Profile]]
) -> None:
    """Answer with a page of the directory."""
    page, most = PageMaker(service.tuning.page_bytes), service.tuning.slice_users
    last, more = None, False
    query = fold_query(request.query or "")
    if request.query and not query:
        raise RelayError.bad_field("payload.query", "the query is empty: it needs a letter, a digit or a sign")
    ids = sorted(service.state.user_keys)
    for number in range(0 if request.after is None else bisect_right(ids, request.after), len(ids)):
        if number % most == most - 1:
            service.limits.requests.charge(subscriber.user, trio.current_time(), 1)
            await fairness.wait_for_turn()
        profile = _listed(service, subscriber.user, ids[number], query)
        if profile is None:
            continue
        if len(page) >= request.count or not page.add(profile):
            more = True
            break
        last = profile.id
    reply(page.made(more=more, after=last))


def _listed(service: Service, asker: UserKey, user_id: str, query: str) -> objects.Profile | None:
    """Show a user as the directory does; None if their id and name do not contain the folded query.

    Users who share a chat with them also see when they were last online, as with `online` and `offline`.
    """
    state = service.state
    user = state.users[state.user_keys[user_id]]
    if user.disabled or user.removed or not (query in fold(user_id) or query in folded_name(user.name)):
        return None
    is_contact = asker == user.key or state.share_chat(asker, user.key)
    return chat_views.profile(user, service.hub.presence.last(user.key) if is_contact else None)


def profile(
    service: Service, subscriber: Subscriber, request: requests.ProfileRequest, reply: Reply[objects.Profile]
) -> None:
    """Change one's own name or photo."""

    def answer(outcome: ChangedUser | RelayError) -> None:
        reply(outcome if isinstance(outcome, RelayError) else chat_views.profile(service.state.users[outcome.user]))

    service.command(subscriber, request, answer)


async def devices(
    service: Service, subscriber: Subscriber, _request: requests.Nothing, reply: Reply[list[requests.DeviceItem]]
) -> None:
    """Answer with the user's devices."""
    connected = {one.device for one in service.hub.presence.subscribers.get(subscriber.user, ())}
    reply(
        [
            requests.DeviceItem(
                device_id=device.key,
                label=device.label,
                created_at=device.created_at,
                last_seen=service.log.cursors.get(device.key, (0, 0))[1] or None,
                current=device.key == subscriber.device,
                online=device.key in connected,
            )
            for device in service.state.devices.values()
            if device.user == subscriber.user and not device.revoked_at
        ]
    )


def revoke_device(
    service: Service, subscriber: Subscriber, request: requests.RevokeDeviceRequest, reply: Reply[requests.Nothing]
) -> None:
    """Sign one of the user's devices out."""

    def answer(outcome: ChangedDevice | RelayError) -> None:
        reply(outcome if isinstance(outcome, RelayError) else requests.Nothing())

    service.command(subscriber, control.RevokeDevice(device_id=request.device_id), answer)


async def password(
    service: Service, subscriber: Subscriber, request: requests.Password, reply: Reply[requests.PasswordChanged]
) -> None:
    """Change one's own password."""
    signed_out = await service.signing_in.change_password(
        subscriber.user,
        subscriber.device,
        request.old,
        request.new,
        sign_out_others=request.sign_out_others,
    )
    reply(requests.PasswordChanged(signed_out=signed_out))


async def invite(
    service: Service, subscriber: Subscriber, request: requests.InviteRequest, reply: Reply[requests.Invitation]
) -> None:
    """Make an invite."""
    reply(
        await service.signing_in.invite(
            subscriber.user,
            subscriber.device,
            user_id=request.user_id,
            name=request.name,
            chat_id=request.chat_id,
        )
    )
