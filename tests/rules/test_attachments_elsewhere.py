"""Attachments with an outside address: passed on unchanged, and not stored (PROTOCOL.md, section 8)."""

from pathlib import Path
from typing import Any

import pytest

from relay.core.maintenance.check import check
from relay.keys import NO_DEVICE
from relay.protocol.errors import RelayError
from tests.support.sessions import house


def named(url: str, id_: str = "doc-7") -> dict[str, Any]:
    return {
        "type": "image",
        "id": id_,
        "filename": "plan.png",
        "url": url,
        "meta": {"mimetype": "image/png", "size": 7},
    }


async def test_outside_attachment_is_unchanged_live_replayed_and_in_history(tmp_path: Path) -> None:
    sent = named("https://files.example/plan.png")
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        async with made.device("bob") as bob:
            await alice.request("new", chatId="bob", clientMessageId="c1", attachments=[sent])
            assert (await bob.until("new"))["payload"]["attachments"] == [sent]
        async with made.device("bob") as bob:
            assert (await bob.until("new"))["payload"]["attachments"] == [sent]
            assert (await bob.request("messages", chatId="alice"))[0]["attachments"] == [sent]
    assert not [one for one in await check(tmp_path, lambda _what: None) if one.wrong]


async def test_id_of_an_outside_attachment_opens_no_file_of_the_relay(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob", "carol") as made, made.device("bob") as bob:
        keys, content = made.relay.state.user_keys, [b"", b"secret"]

        async def piece() -> bytes:
            return content.pop()

        secret = await made.relay.files.receive(keys["alice"], NO_DEVICE, "secret.txt", 6, piece)
        await bob.request(
            "new", chatId="carol", clientMessageId="c1", attachments=[named("http://a.example/", secret.id)]
        )
        for who in ("bob", "carol"):
            with pytest.raises(RelayError, match="no such file"):
                await made.relay.files.find(keys[who], secret.id)


@pytest.mark.parametrize("url", ["/files/none", "/files/"])
async def test_a_file_of_the_relay_that_is_not_there_is_refused(tmp_path: Path, url: str) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        refused = await alice.refused("new", chatId="bob", clientMessageId="c1", attachments=[named(url)])
        assert refused["code"] == "not_found"


async def test_invalid_web_address_is_refused_by_the_name_of_its_field(tmp_path: Path) -> None:
    urls = ["javascript:alert(1)", "ftp://a.example/x", "//a.example/x", "x", "https:///x", "https://a b.example/",
            "https://a.example/\nx", "https://user@/x", "https://a.example:99999/", "https://[::1/x",
            "https://a.example/\u202egnp.exe", "https://a.example/\ud800"]  # fmt: skip
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        await alice.request("new", chatId="bob", clientMessageId="c0", message="x")
        for number, url in enumerate(urls):
            for what, more in (("new", {"clientMessageId": f"c{number}x"}), ("edit", {"originalMessageId": 1})):
                refused = await alice.refused(what, chatId="bob", attachments=[named("/files/x"), named(url)], **more)
                assert refused["code"] == "not_found"
                refused = await alice.refused(what, chatId="bob", attachments=[named(url)], **more)
                assert refused["code"] == "bad_request"
                assert refused["message"].startswith("payload.attachments[0].url: `/files/ID` of an uploaded file")


@pytest.mark.parametrize("field", ["id", "extension", "mimetype"])
async def test_text_of_an_outside_attachment_that_turns_others_is_refused(tmp_path: Path, field: str) -> None:
    sent = named("https://a.example/x")
    (sent if field == "id" else sent["meta"])[field] = "x\u202ey"
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        refused = await alice.refused("new", chatId="bob", clientMessageId="c1", attachments=[sent])
    assert refused["code"] == "bad_request"
    assert f"{field}: one line without hidden characters is expected" in refused["message"]


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\r\nb.png", "a b.png"),
        ("\u200b", "file"),
        ("\u0645\u06cc\u200c\u062e.pdf", "\u0645\u06cc\u200c\u062e.pdf"),
        (" a  b:c/d.png", " a  b:c/d.png"),
    ],
)
async def test_name_of_an_outside_attachment_is_in_one_line_without_hidden_characters(
    tmp_path: Path, filename: str, shown: str
) -> None:
    sent = {**named("HTTPS://Files.example/plan.png"), "filename": filename}
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice, made.device("bob") as bob:
        await alice.request("new", chatId="bob", clientMessageId="c1", attachments=[sent])
        assert (await bob.until("new"))["payload"]["attachments"] == [{**sent, "filename": shown}]


async def test_setting_refuses_outside_attachments_in_messages_and_edits(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        made.relay.service.settings.files.elsewhere = False
        sent = [named("https://files.example/plan.png")]
        await alice.request("new", chatId="bob", clientMessageId="c1", message="x")
        for what, more in (("new", {"clientMessageId": "c2"}), ("edit", {"originalMessageId": 1, "message": "y"})):
            refused = await alice.refused(what, chatId="bob", attachments=sent, **more)
            assert refused["code"] == "forbidden"
            assert "upload them" in refused["message"]


async def test_two_outside_files_of_one_id_are_both_kept_and_the_same_one_once(tmp_path: Path) -> None:
    one, two = named("https://a.example/1", "x"), named("https://a.example/2", "x")
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice, made.device("bob") as bob:
        await alice.request("new", chatId="bob", clientMessageId="c1", attachments=[one, two, one])
        assert (await bob.until("new"))["payload"]["attachments"] == [one, two]


async def test_edit_to_another_address_under_the_same_id_names_another_file(tmp_path: Path) -> None:
    before, after = named("https://a.example/1", "x"), named("https://a.example/2", "x")
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        await alice.request("new", chatId="bob", clientMessageId="c1", attachments=[before])
        for bad in ("javascript:alert(1)", "https://x y/"):
            refused = await alice.refused("edit", chatId="bob", originalMessageId=1, attachments=[named(bad, "x")])
            assert refused["message"].startswith("payload.attachments[0].url: ")
        await alice.request("edit", chatId="bob", originalMessageId=1, attachments=[after])
        assert (await alice.request("messages", chatId="bob"))[0]["attachments"] == [after]
        await alice.request("edit", chatId="bob", originalMessageId=1, attachments=[after, before])
        assert (await alice.request("messages", chatId="bob"))[0]["attachments"] == [after, before]
