"""Posts of real senders are shown as plain text or refused with a reason; each row names its bug report."""

import contextlib
import encodings
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.hooks import slack_markup
from relay.net.http.response import HttpError
from relay.net.webhooks.body import TEXT_CHARACTERS, extract_text, truncate
from tests.hooks.posts import FORM, JSON, PARTS, REFUSED, TAKEN, multipart, named


@pytest.mark.parametrize(("body", "content_type", "said"), [row[1:] for row in TAKEN], ids=[row[0] for row in TAKEN])
def test_a_real_post_is_shown_as_plain_text(body: bytes, content_type: str, said: str) -> None:
    assert extract_text(body, content_type) == said


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "status", "why"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_a_post_without_a_text_is_refused_with_a_reason(
    body: bytes, content_type: str, encoding: str, status: int, why: str
) -> None:
    with pytest.raises(HttpError) as refused:
        extract_text(body, content_type, encoding)
    assert refused.value.status == status
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"text": 5}', "5"),
        ('{"message": 21.5, "title": true}', "true\n21.5"),
        ('{"text": {"text": {"text": 0}}}', "0"),
        ('{"text": null, "msg": "x"}', "x"),
        ('{"text": 1e999, "title": -1e400}', "-1e400\n1e999"),
        (f'{{"text": {"7" * 700}, "unknown": {"8" * 5_000}}}', "7" * 700),
        ('{"attachments": {"fields": [{"title": 1, "value": 2}, {"title": "a", "value": [1]}]}}', "1: 2\na: [1]"),
        ('{"attachments": "[{\\"text\\": false}]"}', "false"),
    ],
)
def test_number_or_boolean_where_words_are_expected_is_shown_as_json(body: str, said: str) -> None:
    assert extract_text(body.encode(), JSON) == said


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"text": []}', "text: expected words, got a list"),
        ('{"title": {"a": 1}, "text": "x"}', "title: expected words, got an object"),
        ('{"text": "x", "blocks": 5}', "blocks: expected a list, got a number"),
        ('{"text": "x", "attachments": [5]}', "attachments[0]: expected an object, got a number"),
        ('{"text": "\\u200b"}', "nothing in it"),
        ('{"text": ""}', "there is nothing to show in {text}"),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, FORM, "", "text/plain", "application/octet-stream"])
def test_message_without_words_is_refused_by_the_name_of_its_field_whatever_its_content_type(
    content_type: str, body: str, why: str
) -> None:
    with pytest.raises(HttpError) as refused:
        extract_text(body.encode(), content_type)
    assert refused.value.status == 400
    assert why in str(refused.value)


def test_long_text_says_that_it_was_truncated() -> None:
    assert truncate("x" * TEXT_CHARACTERS) == "x" * TEXT_CHARACTERS
    text = truncate("x" * 70_000)
    assert len(text) == TEXT_CHARACTERS
    assert text.endswith("x\n… (cut here: 70,000 characters came, a message holds 65,536)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<http://x>", "http://x"),
        ("<http://x.org|x.org>", "http://x.org"),
        ("<mailto:a@b|a@b>, <tel:+49|call>", "a@b, call (tel:+49)"),
        ("<@U1> <@U2|ben> <@U3>", "@Anna @ben @U3"),
        ("<#C1|ops> <#C2>", "#ops #C2"),
        ("<!here> <!channel> <!everyone> <!subteam^S1|@admins> <!subteam^S2>", "@here @channel @everyone @admins @S2"),
        (
            "<!date^1392734382^{date} at {time}|Feb 18, 2014> <!date^1392734382^{date}>",
            "Feb 18, 2014 2014-02-18 14:39 UTC",
        ),
        ("<!date^soon^{date}>", "soon"),
        ("<!DOCTYPE html> <b>x</b> a < b > c <-> d", "<!DOCTYPE html> <b>x</b> a < b > c <-> d"),
        ("&lt;http://x|y&gt; &amp;amp; &quot;", "<http://x|y> &amp; &quot;"),
        ("<http://x", "<http://x"),
    ],
)
def test_slack_markup_becomes_plain_text(text: str, said: str) -> None:
    assert slack_markup.plain(text, {"U1": "Anna"}.get) == said


PART = b"--b\r\nContent-Disposition: form-data"


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "' + b"<" * 250_000 + b'"}',
        b'{"text": "<' + b"a.|" * 80_000 + b'"}',
        b'{"text": "<a|' + b"<a|b" * 60_000 + b'"}',
        b'{"attachments": [' + b'{"fields":[{}]},' * 15_000 + b"{}]}",
        b"&" * 260_000,
        b"payload=" + b"%" * 250_000,
        PART + b';a="' + b";" * 250_000,
        PART + b";a=b" * 60_000,
        PART + b';a="\\"' * 30_000,
        PART + b"; =" * 80_000,
        PART + b";" + b" " * 250_000,
        PART + b"".join(b";a*%d=b" % number for number in range(20_000)),
        b"--b\r\n" + b"a: b\r\n" * 40_000,
        b"\r\n--b" * 50_000,
    ],
)
def test_every_body_is_parsed_quickly(body: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(HttpError):
        extract_text(body, "multipart/form-data; boundary=b" if b"--b" in body[:8] else FORM)
    # It takes some hundredths of a second; non-linear code takes minutes.
    assert time.process_time() - began < 2.0


def test_unknown_charsets_are_not_cached() -> None:
    before = len(encodings._cache)
    for number in range(100):
        part = f"{named('text')}\r\nContent-Type: text/plain; charset=utf-no{number}"
        for body, kind in ((b"x", f"text/plain; charset=utf-{number}-no"), (multipart((part, "x")), PARTS)):
            with pytest.raises(HttpError):
                extract_text(body, kind)
    assert len(encodings._cache) <= before + 2


@pytest.mark.parametrize(
    "name",
    [
        "utf-8",
        "UTF8",
        "utf-16",
        "utf-16le",
        "utf_8_sig",
        "us-ascii",
        "iso-8859-1",
        "latin1",
        "ISO8859-15",
        "windows-1252",
        "windows-1251",
        "cp1250",
        "koi8-r",
        "KOI8-U",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "big5-hkscs",
        "shift_jis",
        "Shift-JIS",
        "sjis",
        "euc-jp",
        "EUC-KR",
        "iso-2022-jp",
        "ks_c_5601-1987",
    ],
)
def test_charsets_named_by_senders_are_known(name: str) -> None:
    codec = "utf-8" if name == "us-ascii" else name
    assert extract_text("ab".encode(codec), f"text/plain; charset={name}") == "ab"


WORDS = """text message title blocks attachments fields value type elements url alerts labels annotations rows
accessory description style indent offset unicode timestamp fallback image_url actions author_name footer"""
KINDS_OF_BLOCKS = """section header context rich_text rich_text_list rich_text_quote rich_text_section table actions
image link emoji date"""
NAMES = st.sampled_from(WORDS.split())
KINDS = st.sampled_from(KINDS_OF_BLOCKS.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | KINDS
JSONS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=30
)


@given(st.dictionaries(NAMES, JSONS, max_size=6) | JSONS)
def test_any_json_is_shown_or_refused_with_a_reason(body: object) -> None:
    with contextlib.suppress(HttpError):
        said = extract_text(json.dumps(body).encode(), JSON)
        assert said.strip()
        said.encode()


@given(st.binary(max_size=200), st.text(max_size=60), st.sampled_from(["", JSON, FORM, PARTS, "text/plain"]))
def test_any_bytes_are_shown_or_refused_with_a_reason(body: bytes, more: str, kind: str) -> None:
    with contextlib.suppress(HttpError):
        assert extract_text(body, f"{kind}; {more}" if more else kind).strip()
