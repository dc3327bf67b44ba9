"""Hooks: posts become messages in their chat, and events of a chat are posted, signed, until they are accepted."""

import base64
import hashlib
import hmac
import http.client
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
import trio
import trio.testing

from relay.core.model.changes import Hook
from relay.net.http.response import HttpError
from relay.net.webhooks import outgoing
from relay.net.webhooks.body import extract_text
from relay.protocol import control
from tests.support.command_line import Running, done, run, running
from tests.support.sessions import house


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("hooks") / "data") as relay:
        for user in ("anna", "ben"):
            done("user", "add", user, data=relay.data)
        done("chat", "create", "ops", "ben", "--owner", "anna", data=relay.data)
        yield relay


def post(relay: Running, address: str, body: str | bytes, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(relay.url).netloc, timeout=10)
    connection.request("POST", urlsplit(address).path, body, headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    return answer.status, said


def messages(relay: Running, chat: str = "ops") -> int:
    count: int = done("chat", "show", chat, "--json", data=relay.data).json["messages"]
    return count


def test_post_becomes_a_message_of_the_hooks_bot(relay: Running) -> None:
    before = messages(relay)
    made = done("hook", "add", "ops", "--name", "Grafana", "--json", data=relay.data).json
    assert set(made) == {"deviceId", "userId", "name", "chat", "url", "secret", "direction", "createdAt", "problem"}
    assert post(relay, made["url"], '{"text": "disk full"}', **{"Content-Type": "application/json"}) == (200, "ok")
    assert post(relay, made["url"], "plain words", **{"Content-Type": "text/plain"}) == (200, "ok")
    assert messages(relay) == before + 2
    assert done("user", "show", made["userId"], "--json", data=relay.data).json["bot"] is True


def test_a_text_padded_with_nul_is_kept_whole(relay: Running) -> None:
    address = done("hook", "add", "ops", "--name", "PLC", data=relay.data).out.strip()
    assert post(relay, address, "valve 7\0open\0\0") == (200, "ok")
    export = done("export", data=relay.data).out.splitlines()
    assert any('"text":"valve 7open"' in line for line in export)


def test_repeated_key_posts_once(relay: Running) -> None:
    address = done("hook", "add", "ops", data=relay.data).out.strip()
    before = messages(relay)
    for _ in range(2):
        assert post(relay, address, "once", **{"Idempotency-Key": "k1"})[0] == 200
    assert messages(relay) == before + 1


def test_hook_may_write_to_a_single_user(relay: Running) -> None:
    address = done("hook", "add", "anna", data=relay.data).out.strip()
    assert post(relay, address, "hello anna")[0] == 200


def test_a_hook_may_post_in_a_channel(relay: Running) -> None:
    done("chat", "create", "news", "ben", "--owner", "anna", "--type", "channel", data=relay.data)
    address = done("hook", "add", "news", data=relay.data).out.strip()
    assert post(relay, address, "extra")[0] == 200


def test_a_removed_hook_accepts_no_posts_and_is_not_listed(relay: Running) -> None:
    made = done("hook", "add", "ops", "--json", data=relay.data).json
    listed = done("hook", "list", "--json", data=relay.data).json
    mine = next(one for one in listed if one["deviceId"] == made["deviceId"])
    assert mine == {**made, "url": None}
    assert str(made["deviceId"]) in done("hook", "list", data=relay.data).out
    done("hook", "remove", made["deviceId"], data=relay.data)
    assert post(relay, made["url"], "too late")[0] == 404
    assert made["deviceId"] not in [one["deviceId"] for one in done("hook", "list", "--json", data=relay.data).json]


def test_device_cannot_be_removed_as_a_hook(relay: Running) -> None:
    device = done("device", "add", "anna", "--json", data=relay.data).json["deviceId"]
    ran = run("hook", "remove", str(device), data=relay.data)
    assert (ran.code, ran.err) == (1, f"relay: there is no hook {device}: `relay hook list` shows all\n")
    assert device in [one["deviceId"] for one in done("device", "list", "anna", "--json", data=relay.data).json]


def test_hook_token_does_not_sign_in(relay: Running) -> None:
    token = done("hook", "add", "ops", data=relay.data).out.strip().rpartition("/")[2]
    connection = http.client.HTTPConnection(urlsplit(relay.url).netloc, timeout=10)
    connection.request("GET", "/session", headers={"Authorization": f"Bearer {token}"})
    assert connection.getresponse().status == 401
    connection.close()
    assert post(relay, f"/hooks/{done('device', 'add', 'anna', data=relay.data).out.strip()}", "x")[0] == 404
    assert token not in relay.log.read_text()


@pytest.mark.parametrize("body", ["", "{}", '{"text": ""}', "   "])
def test_an_empty_post_is_refused(body: str, relay: Running) -> None:
    address = done("hook", "add", "ops", data=relay.data).out.strip()
    assert post(relay, address, body, **{"Content-Type": "application/json"})[0] == 400


def test_hook_without_a_chat_is_refused(relay: Running) -> None:
    assert run("hook", "add", "nowhere", data=relay.data).code == 1
    assert run("hook", "add", "ops", "--to", "ftp://x", data=relay.data).code == 2


@pytest.mark.parametrize(
    "address", ["http://", "http://a:99999/", "http://b cher/", "http://bücher.example/", "http://[::1/"]
)
def test_an_unusable_url_is_refused(address: str, relay: Running) -> None:
    ran = run("hook", "add", "ops", "--to", address, data=relay.data)
    assert (ran.code, "cannot be posted to: a host, a port" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        ('{"text": "a"}', "application/json", "a"),
        ('{"text": "a", "channel": "#x", "blocks": []}', "application/json; charset=utf-8", "a"),
        ('{"attachments": [{"title": "t", "text": "b"}, {"fallback": "f"}]}', "application/json", "t\nb\nf"),
        ("payload=" + quote('{"text": "from a form"}'), "application/x-www-form-urlencoded", "from a form"),
        ('{"text": "curl -d"}', "application/x-www-form-urlencoded", "curl -d"),
        ("a=b", "application/x-www-form-urlencoded", "a=b"),
        ('{"text": "no type"}', "", "no type"),
        ("{not json", "", "{not json"),
        ("grüße", "text/plain", "grüße"),
    ],
)
def test_the_formats_of_common_tools_are_understood(body: str, content_type: str, said: str) -> None:
    assert extract_text(body.encode(), content_type) == said


def test_long_idempotency_keys_that_differ_at_the_end_are_distinct(relay: Running) -> None:
    address = done("hook", "add", "ops", data=relay.data).out.strip()
    before = messages(relay)
    for key in ("k" * 200 + "1", "k" * 200 + "2", "k" * 200 + "2"):
        assert post(relay, address, "long key", **{"Idempotency-Key": key})[0] == 200
    assert messages(relay) == before + 2


def test_long_text_is_cut_with_a_notice(relay: Running) -> None:
    address = done("hook", "add", "ops", data=relay.data).out.strip()
    body = ("ü" * 70_000).encode()
    assert post(relay, address, body, **{"Content-Type": "text/plain; charset=utf-8"}) == (200, "ok")
    assert "üü\\n… (cut here: 70,000 characters came" in done("export", data=relay.data).out


def test_unparsable_body_is_refused_with_a_reason(relay: Running) -> None:
    address = done("hook", "add", "ops", data=relay.data).out.strip()
    before = messages(relay)
    status, said = post(relay, address, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert (status, "send the body as it is" in said) == (415, True)
    status, said = post(relay, address, b"\x89PNG", **{"Content-Type": "image/png"})
    assert (status, "send JSON, a form" in said) == (415, True)
    assert messages(relay) == before


def test_a_slash_at_the_end_of_the_url_is_ignored(relay: Running) -> None:
    address = done("hook", "add", "ops", data=relay.data).out.strip()
    assert post(relay, f"{address}/", "slashed") == (200, "ok")


ENDS = {
    "removed": ("hook remove {device}",),
    "its bot disabled": ("user disable {bot}",),
    "its bot removed": ("user remove {bot} --yes",),
    "its chat deleted": ("chat delete {chat} --yes",),
    "its bot taken out of the chat": ("chat remove {chat} {bot}",),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_running_post_ends_within_a_second_when_its_hook_loses_its_right(
    relay: Running, end: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    name = f"room-{request.node.callspec.id.replace(' ', '-')}"
    done("chat", "create", name, "ben", "--owner", "anna", data=relay.data)
    made = done("hook", "add", name, "--json", data=relay.data).json
    before = messages(relay, name)
    url = urlsplit(relay.url)
    with socket.create_connection((url.hostname, url.port), timeout=8) as connection:
        head = f"POST {urlsplit(made['url']).path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"half of it")
        time.sleep(0.1)
        for line in end:
            done(*line.format(device=made["deviceId"], bot=made["userId"], chat=name).split(), data=relay.data)
        ended = time.monotonic()
        answer = connection.recv(65_536)
        assert time.monotonic() - ended < 1.0
    # A sender retries posts to a paused hook, and gives up on a removed one.
    status = 503 if "disable" in end[0] else 404
    assert b" %d " % status in answer.split(b"\r\n")[0]
    assert post(relay, made["url"], "afterwards")[0] == status
    if "chat delete" not in end[0]:
        assert messages(relay, name) == before


def test_broken_json_is_refused() -> None:
    with pytest.raises(HttpError):
        extract_text(b"{", "application/json")


class Receiver:
    """A receiver that refuses as often as told, and keeps accepted posts."""

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.taken: list[tuple[dict[str, str], Any]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.refusals.pop(0) if receiver.refusals else 204
                if status == 204:
                    receiver.taken.append((dict(self.headers), body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in?x=1"

    def texts(self) -> list[str]:
        return [msgspec.json.decode(body)["payload"].get("message", "") for _, body in self.taken]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 15
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def test_events_are_posted_in_order_signed_and_again_after_a_failure(relay: Running, receiver: Receiver) -> None:
    hook = done("hook", "add", "ops", "--to", receiver.url, "--json", data=relay.data).json
    assert len(hook["secret"]) >= 43
    receiver.refusals = [503]
    for number in range(5):
        done("send", "--as", "anna", "ops", f"the {number}th to come", data=relay.data)
    wait_for(lambda: len(receiver.taken) >= 5)
    assert receiver.texts() == [f"the {number}th to come" for number in range(5)]
    headers, body = receiver.taken[0]
    event = msgspec.json.decode(body)
    assert (event["type"], event["eventType"], event["payload"]["sender"]) == ("event", "new", "anna")
    assert headers["X-Relay-Event-Id"] == str(event["id"])
    signed = headers["X-Relay-Timestamp"].encode() + b"." + body
    expected = hmac.new(hook["secret"].encode(), signed, hashlib.sha256).hexdigest()
    assert headers["X-Relay-Signature"] == f"sha256={expected}"
    assert hook["secret"] not in relay.log.read_text()
    assert hook["secret"] not in done("audit", "--json", data=relay.data).out


def test_credentials_in_the_url_are_sent_as_basic_authentication(relay: Running, receiver: Receiver) -> None:
    address = receiver.url.replace("http://", "http://me:p%40ss@")
    made = done("hook", "add", "ops", "--to", address, "--json", data=relay.data).json
    done("send", "--as", "anna", "ops", "with a password", data=relay.data)
    wait_for(lambda: receiver.taken)
    headers, _ = receiver.taken[0]
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert "me" not in headers["Host"]
    done("hook", "remove", made["deviceId"], data=relay.data)


def test_list_names_the_problem_of_a_hook(relay: Running, receiver: Receiver) -> None:
    def problem(made: Any) -> str:
        listed = done("hook", "list", "--json", data=relay.data).json
        return str(next(one["problem"] for one in listed if one["deviceId"] == made["deviceId"]))

    made = done("hook", "add", "ops", "--to", receiver.url, "--json", data=relay.data).json
    assert problem(made) == "None"
    receiver.refusals = [500]
    done("send", "--as", "anna", "ops", "with trouble", data=relay.data)
    wait_for(lambda: problem(made).startswith("the answer is 500; tried once, event "))
    wait_for(lambda: problem(made) == "None")
    assert f"hook {made['deviceId']}: events are accepted again; one had failed once\n" in relay.log.read_text()
    done("chat", "remove", "ops", made["userId"], data=relay.data)
    assert problem(made) == f"{made['userId']} is not in the chat, or it is gone"
    done("user", "disable", made["userId"], data=relay.data)
    assert problem(made) == f"{made['userId']} is disabled"
    assert "problem" in done("hook", "list", data=relay.data).out


def test_a_permanently_refused_event_does_not_block_the_next_ones(relay: Running, receiver: Receiver) -> None:
    done("hook", "add", "ops", "--to", receiver.url, data=relay.data)
    receiver.refusals = [422]
    done("send", "--as", "anna", "ops", "bad", data=relay.data)
    done("send", "--as", "anna", "ops", "good", data=relay.data)
    wait_for(lambda: receiver.texts() == ["good"])


def test_events_during_an_outage_of_the_relay_or_the_receiver_are_posted_later(
    tmp_path: Path, receiver: Receiver
) -> None:
    data = tmp_path / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=data)
    done("chat", "create", "ops", "ben", "--owner", "anna", data=data)
    hook = done("hook", "add", "ops", "--to", receiver.url, "--json", data=data).json
    done("send", "--as", "anna", "ops", "first", data=data)
    with running(data):
        wait_for(lambda: receiver.texts() == ["first"])
    done("send", "--as", "anna", "ops", "while down", data=data)
    with running(data):
        wait_for(lambda: receiver.texts() == ["first", "while down"])
        done("hook", "remove", hook["deviceId"], data=data)
        done("send", "--as", "anna", "ops", "after", data=data)
        time.sleep(0.3)
    assert receiver.texts() == ["first", "while down"]


async def test_hook_of_a_disabled_user_pauses_until_they_are_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post, posted = trio.open_memory_channel[str](10)

    async def take(_hook: Hook, payload: bytes, _event_id: int, _at: int, _skipped: int) -> None:
        await post.send(msgspec.json.decode(payload)["payload"]["message"])

    monkeypatch.setattr(outgoing, "post", take)
    async with house(tmp_path, "anna", "bot") as relay, trio.open_nursery() as nursery:
        ask = relay.relay.admin.handle
        nursery.start_soon(outgoing.OutgoingHooks(relay.relay).run)
        room = await ask("chat.create", control.MakeChat(name="ops", owner="anna", participants=["bot"]))
        assert isinstance(room, control.ChatInfo)
        await ask("hook.add", control.AddHook(chat="ops", url="http://bot.example/", user_id="bot"))
        async with relay.device("anna") as anna:

            async def say(text: str) -> None:
                await anna.request("new", chatId=room.id, clientMessageId=text, message=text)

            async def heard() -> str:
                with trio.fail_after(5):
                    return await posted.receive()

            await say("first")
            assert await heard() == "first"
            await ask("user.change", control.ChangeUser(id="bot", disabled=True))
            await say("while disabled")
            await relay.add_device("anna", "phone")
            with trio.fail_after(5):
                await trio.testing.wait_all_tasks_blocked()
            bot = relay.relay.state.user("bot")
            assert bot is not None
            assert bot.key not in relay.relay.hub.presence.subscribers
            for disabled in (False, True, False):
                await ask("user.change", control.ChangeUser(id="bot", disabled=disabled))
            await say("enabled again")
            assert [await heard(), await heard()] == ["while disabled", "enabled again"]
        nursery.cancel_scope.cancel()
