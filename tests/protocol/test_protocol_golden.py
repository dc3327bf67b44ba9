"""Every frame of the protocol, byte for byte: the files in `golden` were written by hand from PROTOCOL.md."""

from typing import Any

import msgspec
import pytest

from relay.protocol import codec, envelopes, events, objects, requests
from relay.protocol.errors import RelayError
from tests.support.golden import GOLDEN

NOW = 1_767_225_600_000
CLIENT_ID = "5e2f1c1e-8a43-4c5b-9d0e-2f1b6a7c8d90"
FILE = objects.Attachment(
    type="file", id="f1", filename="plan.pdf", url="/files/f1", meta=objects.AttachmentMeta(extension="pdf", size=1024)
)
IMAGE = objects.Attachment(
    type="image",
    id="f2",
    filename="cat.png",
    url="/files/f2",
    meta=objects.AttachmentMeta(mimetype="image/png", width=640, height=480, size=2048),
)
VIDEO = objects.Attachment(
    type="video",
    id="f3",
    filename="cat.mp4",
    url="/files/f3",
    meta=objects.AttachmentMeta(mimetype="video/mp4", width=640, height=480, duration=1.5, size=4096),
)
NEW = events.NewEvent(
    chat_id="User1",
    sender="User1",
    sender_name="User One",
    message_id=7,
    client_message_id=CLIENT_ID,
    message="Hello",
    attachments=[FILE, IMAGE, VIDEO],
    reply_to=objects.ReplyTo(
        message_id=3,
        client_message_id="0b8c6a9e-3c55-4f0e-8e0f-6f7d1a2b3c4d",
        message="Hi",
        sender="User2",
        created_at=NOW - 100_000,
    ),
    timestamp=NOW,
    missed=2,
    status="unread",
)
DELETED = msgspec.structs.replace(NEW, message=None, attachments=None, reply_to=None, missed=0, status="deleted")
MARK: dict[str, Any] = {
    "chat_id": "User2",
    "user_id": "User2",
    "message_id": 7,
    "client_message_id": CLIENT_ID,
    "timestamp": NOW,
}
DIALOG = objects.ChatListItem(
    type="dialog",
    id="User2",
    name="User Two",
    photo_url="/files/p1",
    last_message_text="Hello",
    last_message_time=NOW,
    last_message_author="User2",
    last_message_status="unread",
    last_message_id=7,
    missed=2,
    first_missed=CLIENT_ID,
    verified=True,
    is_mine=False,
    last_seen=NOW - 10_000,
)
EMPTY_GROUP = objects.ChatListItem(
    type="group",
    id="g-0123456789abcdef",
    name="Crew",
    last_message_text="",
    last_message_time=NOW - 200_000,
    last_message_status="read",
    last_message_id=0,
    is_mine=False,
)

EVENTS: dict[str, tuple[str, int | None, Any]] = {
    "event-new": ("new", 23, NEW),
    "event-new-deleted": ("new", 23, DELETED),
    "event-chats": ("chats", 24, [DIALOG, EMPTY_GROUP]),
    "event-edit": (
        "edit",
        25,
        events.EditEvent(
            chat_id="User1",
            message_id=8,
            original_message_id=7,
            client_message_id=CLIENT_ID,
            message="Hello again",
            attachments=[FILE],
            timestamp=NOW,
        ),
    ),
    "event-delete": ("delete", 26, events.DeleteEvent(chat_id="User1", message_id=9, original_message_id=7)),
    "event-online": ("online", None, events.Online(user_id="User1")),
    "event-offline": ("offline", None, events.Offline(user_id="User1")),
    "event-typing": ("typing", None, events.Typing(user_id="User1", chat_id="User1")),
    "event-typing-stop": ("typing", None, events.Typing(user_id="User1", chat_id="User1", stop=True)),
    "event-dlvrd": ("dlvrd", 27, events.Delivered(**MARK)),
    "event-read": ("read", 28, events.Read(**MARK)),
    "event-chat": ("chat", 29, events.ChatChanged(item=EMPTY_GROUP)),
    "event-chat-gone": ("chatGone", 30, events.ChatGone(chat_id="User2")),
    "event-chat-gone-removed": (
        "chatGone",
        30,
        events.ChatGone(chat_id="g-5f0c", title="Crew", by="User1", by_name="User One", reason="removed"),
    ),
    "event-chats-stale": ("chatsStale", 31, events.ChatsStale()),
    "event-device": (
        "device",
        None,
        events.DeviceSignedIn(device_id=7, label="Firefox on Linux", timestamp=NOW),
    ),
    "event-read-own": ("read", 28, events.Read(**{**MARK, "chat_id": "User1"}, missed=0)),
}
ACCEPTED = requests.Accepted(message_id=7, timestamp=NOW, client_message_id=CLIENT_ID)
RESPONSES = {
    "response-new": codec.response("req001", NOW, ACCEPTED),
    "response-page": codec.response("req001", NOW, codec.Page([requests.Nothing()], "s12", more=True)),
    "response-nothing": codec.response("req001", NOW, requests.Marked()),
    "response-error": codec.refusal("req001", NOW, RelayError.no_chat("User9").error),
    "response-rate-limited": codec.refusal("req001", NOW, RelayError.rate_limited(250).error),
    "error": codec.error_frame(NOW, RelayError.bad_field("type", "this field is required").error),
    "pong": codec.PONG,
}
CLIENT_FRAMES: dict[str, tuple[msgspec.Struct, msgspec.Struct | None]] = {
    "request-new": (
        envelopes.Request(id="req001", timestamp=NOW, payload_type="new"),
        requests.New(chat_id="User2", client_message_id=CLIENT_ID, message="Hello", reply_to=3),
    ),
    "client-typing": (
        envelopes.ClientEvent(timestamp=NOW, event_type="typing"),
        events.ClientTyping(chat_id="User2", stop=True),
    ),
    "ack": (envelopes.Ack(id=23), None),
}


def test_every_event_has_a_golden_file() -> None:
    assert {name for name, _, _ in EVENTS.values()} == set(events.SERVER_EVENTS)
    assert set(GOLDEN) == {*EVENTS, *RESPONSES, *CLIENT_FRAMES}


@pytest.mark.parametrize("golden", EVENTS)
def test_an_event_is_encoded_as_specified(golden: str) -> None:
    name, event_id, payload = EVENTS[golden]
    assert codec.event(name, NOW, payload, event_id) == GOLDEN[golden]


@pytest.mark.parametrize("golden", EVENTS)
def test_encoded_event_is_decoded_to_the_same_value(golden: str) -> None:
    name, event_id, payload = EVENTS[golden]
    frame = codec.decode_server_frame(GOLDEN[golden])
    assert isinstance(frame, envelopes.Event)
    assert (frame.event_type, frame.id, frame.timestamp) == (name, event_id, NOW)
    assert codec.decode_event(frame) == payload


@pytest.mark.parametrize("golden", RESPONSES)
def test_a_response_is_encoded_as_specified(golden: str) -> None:
    assert RESPONSES[golden] == GOLDEN[golden]


@pytest.mark.parametrize("golden", CLIENT_FRAMES)
def test_frames_of_a_client_are_decoded(golden: str) -> None:
    envelope, payload = CLIENT_FRAMES[golden]
    frame = codec.decode_client_frame(GOLDEN[golden])
    if isinstance(frame, envelopes.Request):
        assert codec.decode_request(frame) == payload
    elif isinstance(frame, envelopes.ClientEvent):
        assert codec.decode_client_event(frame.event_type or "", frame.payload) == payload
    whole = (
        envelope if payload is None else msgspec.structs.replace(envelope, payload=msgspec.Raw(codec.encode(payload)))
    )
    assert codec.encode(whole) == GOLDEN[golden]


def test_only_durable_events_have_an_id() -> None:
    with_id = {name for name, event_id, _ in EVENTS.values() if event_id is not None}
    assert with_id == events.DURABLE_EVENTS
