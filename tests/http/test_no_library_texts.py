"""Errors for senders are in the relay's own words: no route passes on the text of a library's error."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from relay.net.control_socket import answer
from relay.net.http.response import HttpError
from relay.net.webhooks.body import extract_text
from relay.protocol import control
from tests.support.http_relay import http_relay, read_all

TOP = Path(__file__).parents[2]
DIGITS = b"1" * 5_000
BODIES = [
    b'{"text": ' + DIGITS + b"}",
    b'{"text": ' + DIGITS + b".0}",
    b'{"text": 1e' + DIGITS + b"}",
    b'{"text": "\xff"}',
    b'{"name": "\xff"}',
    b'{"text": "x"',
    b'{"text": "\\x"}',
    b'{"text": "x",}',
    b'{"text"',
    b"{",
    b"[" * 5_000,
    b'{"a":' * 3_000,
    b'{"type":"request","id":"r","payloadType":"chats","payload":{"after":' + DIGITS + b"}}",
    b'{"type":"request","id":"r","payloadType":"import.file","payload":{"data":"%"}}',
    b'{"type":"request","id":"r","payloadType":"user.add","payload":{"id":"\xff"}}',
    b'{"type":"request","id":"r","payloadType":"user.add","payload":{"id":"\\x"}}',
    b'{"type":"request","id":' + DIGITS + b',"payloadType":"chats"}',
]
LIBRARIES = re.compile(
    r"sys\.|set_int_max|Errno|Expecting|codec can't|delimiter|Traceback|<class|recursion depth|truncated|out of range"
    r"|illegal|event|invalid character|escape|base64-encoded|trailing|Missing header|Invalid IPv6|netloc"
)
"""Words that only libraries use here."""
OURS = {"RelayError", "HttpError", "AmbiguousHead", "NotUnderstood", "RequestRefused"}
"""Exceptions whose texts are ours."""
FOR_ADMINS = {"relay.net.control_socket._store_failed"}
"""Functions that name SQLite's finding to the admin on the machine, who can look it up."""


def own(text: str) -> None:
    assert text
    assert not LIBRARIES.search(text), text


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_every_door_refuses_malformed_json_in_the_relays_own_words(tmp_path: Path, body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        try:
            extract_text(b"payload=" + body if "form" in kind else body, kind)
        except HttpError as refused:
            own(str(refused))

    async def nowhere(_line: bytes) -> None:
        """Take nothing: no request here has events."""

    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        answered = await browser.post("/session", content=body, headers={"Origin": relay.url})
        assert answered.status_code == 400
        own(answered.json()["error"]["message"])
        line = await answer(relay.relay.admin, relay.relay.clock, body, nowhere)
        own(json.loads(line)["error"]["message"])


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad header\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET http://[::1/x HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\n\r\n",
        b"POST /hooks/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"POST /session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
async def test_malformed_http_is_refused_in_the_relays_own_words(tmp_path: Path, head: bytes) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        with trio.fail_after(10):
            answered = await read_all(await relay.raw(head.replace(b"TOKEN", token.encode())))
    own(answered.partition(b"\r\n\r\n")[2].decode())
    assert b" 500 " not in answered.partition(b"\r\n")[0]


async def test_number_that_is_too_long_is_shown_as_it_came_or_ignored(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await relay.user("alarm")
        hook = await relay.ask("hook.add", control.AddHook(chat="alarm"))
        path = hook.url.partition(relay.host)[2]
        for body in (BODIES[0], b'{"text": "up", "unknown": ' + b"7" * 700 + b"}"):
            answered = await browser.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answered.status_code == 200
    assert sys.get_int_max_str_digits() != 0


def texts_passed_on(path: Path) -> Iterator[str]:
    """Find the handlers of foreign exceptions in which the exception becomes a part of an answer."""
    module = ".".join(path.relative_to(TOP).with_suffix("").parts)
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for handler in ast.walk(function):
            if not isinstance(handler, ast.ExceptHandler) or not handler.name or handler.type is None:
                continue
            kinds = {one.id for one in ast.walk(handler.type) if isinstance(one, ast.Name)}
            if kinds <= OURS:
                continue
            for call in ast.walk(handler):
                if not isinstance(call, ast.Call) or not {"RelayError", "HttpError", "NotUnderstood"} & {
                    one.id for one in ast.walk(call.func) if isinstance(one, ast.Name)
                }:
                    continue
                shown = [
                    one
                    for part in ast.walk(call)
                    for one in ([part.value] if isinstance(part, ast.FormattedValue) else [])
                    if isinstance(one, ast.Name) and one.id == handler.name
                ]
                as_text = [
                    one
                    for one in ast.walk(call)
                    if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "str"
                    and any(isinstance(given, ast.Name) and given.id == handler.name for given in one.args)
                ]  # fmt: skip
                if shown or as_text:
                    yield f"{module}.{function.name}"


def test_no_answer_is_made_of_the_text_of_a_foreign_exception() -> None:
    rooms = [*TOP.glob("relay/net/**/*.py"), *TOP.glob("relay/core/**/*.py"), *TOP.glob("relay/protocol/**/*.py")]
    rooms += TOP.glob("relay/cli/importers/**/*.py")
    assert len(rooms) > 150
    assert {one for path in rooms for one in texts_passed_on(path)} - FOR_ADMINS == set()
