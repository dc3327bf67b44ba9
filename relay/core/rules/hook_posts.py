"""The rule of posts through an incoming hook (PROTOCOL.md, section 11): one message for each key of the hook.

The message's client id is made of the hook and the key, so two hooks of one user, or a hook and its user's apps, may
use the same key. Receipts, exports and the apps know a message by its sender and client id, and tell these apart.
"""

from hashlib import blake2b

from relay.core.model.entities import Device
from relay.core.rules import commands
from relay.core.rules.draft import DraftBuilder, client_key
from relay.core.rules.messages import new
from relay.protocol import requests
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import ClientKey


def hook_client_id(device: Device, key: str) -> str:
    """Make the client id of a post under an idempotency key: 32 hexadecimal digits.

    The hook goes in by the hash of its token, which no hook of another relay shares: a post is never taken for a repeat
    of a message that was imported.
    """
    return blake2b(f"{device.token_hash} {key}".encode(), digest_size=16).hexdigest()


def post_by_hook(draft: DraftBuilder, command: Command, request: commands.PostByHook) -> requests.Accepted:
    """Post a message, unless the hook has posted one under this key before."""
    device = draft.state.devices[command.device]
    client_id = command.generated_id
    if request.key:
        posted = _posted_under_bare_key(draft, command, device, request)
        if posted is not None:
            return posted
        client_id = hook_client_id(device, request.key)
    message = requests.New(chat_id=request.chat_id, client_message_id=client_id, message=request.message)
    return new(draft, command, message)


def _posted_under_bare_key(
    draft: DraftBuilder, command: Command, device: Device, request: commands.PostByHook
) -> requests.Accepted | None:
    """Find what this hook posted through an older relay, whose client ids were the bare keys.

    Only a message that is still there tells who sent it. One that retention removed may be an app's, so the post is a
    new message: a repeat that appears twice is better than a post that is lost.
    """
    state = draft.state
    chat = state.chat_key(command.user, request.chat_id) or state.group_keys.get(request.chat_id)
    if chat is None:
        return None
    known = draft.fact(ClientKey(client_key(chat, command.user, request.key)))
    if known is None or known.kind != kinds.NEW or (known.chat, known.author) != (chat, command.user):
        return None
    if known.device != device.key or known.client_id != request.key:
        return None
    return requests.Accepted(message_id=known.message_id, timestamp=known.at, client_message_id=request.key)
