"""Texts of which nothing can be seen: the same at every door (PROTOCOL.md, section 5, "Blank texts")."""

import json
from pathlib import Path

import pytest

from relay.net.http.response import HttpError
from relay.net.webhooks.body import extract_text
from relay.unicode.unseen import is_blank
from tests.support.command_line import done, run
from tests.support.sessions import house

BLANK = ["", " ", "  \n", "\u200b", "\u2060\u200d", "\u3164", "\u2800\u00a0", "\u202e", "\ufe0f", "\U000e0041"]
SHOWN = ["x", ".", "\u200bx", "\U0001f469\u200d\U0001f680", "\uf8ff", "\U00012e70", "\u0640", "\u0301", "\ufffd"]
LINK = {"type": "file", "id": "e1", "filename": "a.pdf", "url": "https://a.example/", "meta": {"size": 1}}


@pytest.mark.parametrize("text", SHOWN)
def test_text_with_something_to_see_is_not_blank(text: str) -> None:
    assert not is_blank(text)


async def test_blank_text_without_attachments_is_refused_in_messages_and_edits(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        await alice.request("new", chatId="bob", clientMessageId="c0", message="x")
        for number, text in enumerate(BLANK):
            for what, more in (("new", {"clientMessageId": f"c{number}x"}), ("edit", {"originalMessageId": 1})):
                refused = await alice.refused(what, chatId="bob", message=text, **more)
                assert refused["code"] == "bad_request", repr(text)
                assert refused["message"].startswith("payload.message: a message needs attachments, or a text")
        for number, text in enumerate(SHOWN):
            await alice.request("new", chatId="bob", clientMessageId=f"s{number}", message=text)
        assert [one["message"] for one in await alice.request("messages", chatId="bob")] == ["x", *SHOWN]


async def test_blank_text_beside_attachments_is_none(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        await alice.request("new", chatId="bob", clientMessageId="c1", message="\u200b ", attachments=[LINK])
        await alice.request("new", chatId="bob", clientMessageId="c2", message="see", attachments=[LINK])
        await alice.request("edit", chatId="bob", originalMessageId=2, message="\u2060")
        found = await alice.request("messages", chatId="bob")
    assert [("message" in one, len(one["attachments"])) for one in found if one["type"] == "new"] == [
        (False, 1),
        (False, 1),
    ]


@pytest.mark.parametrize("text", BLANK)
def test_hook_refuses_a_blank_text(text: str) -> None:
    for body, kind in ((json.dumps({"text": text}), "application/json"), (text, "text/plain")):
        with pytest.raises(HttpError, match="nothing") as refused:
            extract_text(body.encode(), kind)
        assert refused.value.status == 400


def test_command_refuses_a_blank_text(tmp_path: Path) -> None:
    for user in ("anna", "ben"):
        done("user", "add", user, data=tmp_path)
    ran = run("send", "--as", "anna", "ben", "\u200b", data=tmp_path)
    assert (ran.code, "nothing that can be seen" in ran.err) == (2, True)
    done("send", "--as", "anna", "ben", "\u200bx", data=tmp_path)


def test_import_keeps_a_blank_text_as_it_is(tmp_path: Path) -> None:
    people = ["anna", "ben"]
    message = {"participants": people, "sender": "anna", "clientMessageId": "c1", "text": "\u200b"}
    lines = [{"type": "relay", "at": 1, "format": 2}]
    lines += [{"type": "user", "at": 1, "id": user, "name": user} for user in people]
    lines += [{"type": "chat", "at": 1, "kind": "dialog", "participants": people}]
    lines += [{"type": "message", "at": 2, **message}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done("import", tmp_path / "x.jsonl", data=tmp_path / "one")
    out = done("export", "-", data=tmp_path / "one").out.splitlines()
    assert [one["text"] for one in map(json.loads, out) if one["type"] == "message"] == ["\u200b"]
