"""Bodies that programs post to hooks, each with the resulting plain text or the reason for its refusal.

One table, longer than other modules, so that similar bodies are next to each other.
"""

import json
from typing import Any
from urllib.parse import quote, quote_plus

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=------------------------07831de27f153cbe"


def multipart(*parts: tuple[str, str], line: str = "\r\n") -> bytes:
    """Join parts like curl; each part has headers and content."""
    boundary = "--------------------------07831de27f153cbe"
    pieces = [f"{boundary}{line}{head}{line}{line}{content}{line}" for head, content in parts]
    return ("".join(pieces) + f"{boundary}--{line}").encode()


def named(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


def slack(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


AZURE = {
    "color": "good",
    "fields": [
        {"title": "Requested by", "value": "Normal Paulk", "short": True},
        {"title": "Duration", "value": "00:02:03", "short": True},
    ],
    "pretext": "Build <http://ci/7|7> succeeded",
    "mrkdwn_in": ["pretext"],
    "fallback": "Build succeeded",
}
ZULIP_BLOCKS = [
    {"type": "header", "text": {"type": "plain_text", "text": "New request"}},
    {
        "type": "section",
        "fields": [
            {"type": "mrkdwn", "text": "*Type:*\nPaid Time Off"},
            {"type": "mrkdwn", "text": "*Created by:*\n<example.com|Fred Enriquez>"},
        ],
    },
    {"type": "divider"},
    {"type": "section", "text": {"type": "mrkdwn", "text": "<https://example.com|View request>"}},
]
ALERTS = {
    "version": "4",
    "status": "firing",
    "receiver": "chat",
    "groupLabels": {},
    "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull", "instance": "web1", "severity": "critical"},
            "annotations": {"summary": "disk is full", "runbook": "http://wiki/disk"},
            "startsAt": "2024-01-01T00:00:00Z",
        },
        {"status": "resolved", "labels": {"alertname": "Load"}, "annotations": {"description": "calm again"}},
    ],
}
RICH = [
    {
        "type": "rich_text",
        "elements": [
            {
                "type": "rich_text_section",
                "elements": [
                    {"type": "user", "user_id": "U1"},
                    {"type": "text", "text": " look at ", "style": {"bold": True}},
                    {"type": "link", "url": "http://x/1", "text": "this"},
                    {"type": "text", "text": " a < b &amp; "},
                    {"type": "emoji", "name": "fire", "unicode": "1f525"},
                    {"type": "emoji", "name": "rafflecop"},
                    {"type": "broadcast", "range": "here"},
                ],
            },
            {
                "type": "rich_text_list",
                "style": "ordered",
                "elements": [
                    {"type": "rich_text_section", "elements": [{"type": "text", "text": "one"}]},
                    {"type": "rich_text_section", "elements": [{"type": "text", "text": "two"}]},
                ],
            },
            {
                "type": "rich_text_list",
                "style": "bullet",
                "indent": 1,
                "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "dot"}]}],
            },
            {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "x = 1\n"}]},
            {"type": "rich_text_quote", "elements": [{"type": "text", "text": "so\nsaid"}]},
        ],
    }
]
TAKEN: list[tuple[str, bytes, str, str]] = [
    # Fields.
    (
        "zulip/zulip#21944 Azure DevOps: pretext and fields",
        slack(attachments=[AZURE]),
        JSON,
        "Build 7 (http://ci/7) succeeded\nRequested by: Normal Paulk\nDuration: 00:02:03",
    ),
    (
        "mattermost/mattermost#1156 attachments beside a text",
        slack(text="push", attachments=[{"text": "3 commits", "color": "#fff"}]),
        JSON,
        "push\n3 commits",
    ),
    (
        "mattermost/mattermost#4000 VSTS: a field whose value is null",
        slack(attachments=[{"fields": [{"title": "Old", "value": None}, {"title": "New", "value": "Jamal"}]}]),
        JSON,
        "Old: -\nNew: Jamal",
    ),
    (
        "mattermost/mattermost#6873 TFS: null in the list of fields",
        slack(attachments=[{"fields": [{"title": "Source", "value": "`dev`", "short": True}, None]}]),
        JSON,
        "Source: `dev`",
    ),
    (
        "mattermost-mobile#5162 a field whose value is a number",
        slack(attachments=[{"fields": [{"title": "Killing", "value": 101}, {"title": "Up", "value": True}]}]),
        JSON,
        "Killing: 101\nUp: true",
    ),
    (
        "eyewitness/eye#46 fields that are a JSON text, and an object",
        slack(attachments=[{"fields": '{"cpu": 3}'}, {"fields": {"title": "T", "value": "V"}}]),
        JSON,
        "cpu: 3\nT: V",
    ),
    ("mattermost#1434 an empty text in an attachment", slack(text="bla", attachments=[{"text": ""}]), JSON, "bla"),
    (
        "YelpArchive/elastalert#1053 all that an attachment can have",
        slack(
            attachments=[
                {
                    "fallback": "plain",
                    "pretext": "above",
                    "author_name": "Bobby",
                    "author_link": "http://flickr/b",
                    "author_icon": "http://flickr/b.jpg",
                    "title": "API",
                    "title_link": "https://api/",
                    "text": "within",
                    "fields": [{"title": "Priority", "value": "High", "short": False}],
                    "image_url": "http://x/image.jpg",
                    "thumb_url": "http://x/thumb.png",
                    "footer": "Slack API",
                    "footer_icon": "http://x/icon.png",
                    "ts": 123456789,
                }
            ]
        ),
        JSON,
        "above\nBobby (http://flickr/b)\nAPI (https://api/)\nwithin\nPriority: High\nhttp://x/image.jpg\nSlack API",
    ),
    ("huginn#1051 a title alone", slack(attachments=[{"fallback": "f", "title": "t", "title_link": None}]), JSON, "t"),
    ("fallback where there is nothing else", slack(attachments=[{"fallback": "f", "color": "#f00"}]), JSON, "f"),
    ("one attachment that is in no list", slack(attachments={"text": "alone"}), JSON, "alone"),
    # Nulls.
    (
        "zulip/zulip#21466 Vuls: attachments null",
        slack(attachments=None, channel="#Vuls", icon_emoji=":ghost:", text="\n[Reboot] 171\n", username="X"),
        JSON,
        "[Reboot] 171",
    ),
    (
        "zulip/zulip#22738 everything in an attachment null",
        slack(text="t", attachments=[{"title": None, "fields": None, "pretext": None, "text": None}, None]),
        JSON,
        "t",
    ),
    ("mattermost#28280 NUL within a text", b'{"text": "test\\u0000"}', JSON, "test"),
    # Blocks.
    (
        "zulip/zulip#22228 Slack's own example: blocks with fields",
        slack(text="Message", blocks=ZULIP_BLOCKS),
        JSON,
        (
            "Message\nNew request\n*Type:*\nPaid Time Off\n*Created by:*\nFred Enriquez (example.com)\n"
            "View request (https://example.com)"
        ),
    ),
    (
        "louislam/uptime-kuma#247 the text only names the alert, the blocks tell it; 5564: no text at all",
        slack(
            text="Uptime Kuma Alert",
            attachments=[
                {
                    "color": "#e01e5a",
                    "blocks": [
                        {"type": "header", "text": {"type": "plain_text", "text": "Uptime Kuma Alert"}},
                        {
                            "type": "section",
                            "fields": [
                                {"type": "mrkdwn", "text": "*Message*\n[web] down"},
                                {"type": "mrkdwn", "text": "*Time (UTC)*\n2022"},
                            ],
                        },
                        {
                            "type": "actions",
                            "elements": [
                                {
                                    "type": "button",
                                    "text": {"type": "plain_text", "text": "Visit"},
                                    "value": "Uptime-Kuma",
                                    "url": "https://kuma/5",
                                },
                                {"type": "button", "text": {"type": "plain_text", "text": "Ack"}, "action_id": "a"},
                            ],
                        },
                    ],
                }
            ],
        ),
        JSON,
        "Uptime Kuma Alert\nUptime Kuma Alert\n*Message*\n[web] down\n*Time (UTC)*\n2022\nVisit (https://kuma/5)",
    ),
    (
        "slackapi/slack-github-action#193 text and blocks; the same words come once",
        slack(text="Failed", blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "*Tests* Failed"}}]),
        JSON,
        "*Tests* Failed",
    ),
    (
        "pooza/mulukhiya-toot-proxy#4178 context and picture",
        slack(
            blocks=[
                {
                    "type": "context",
                    "elements": [
                        {"type": "image", "image_url": "http://x/i.png", "alt_text": "icon"},
                        {"type": "mrkdwn", "text": "by *CI*"},
                    ],
                },
                {"type": "image", "image_url": "http://x/graph.png", "alt_text": "graph"},
                {"type": "markdown", "text": "**m**"},
                {"type": "file", "external_id": "1", "source": "remote"},
            ]
        ),
        JSON,
        "icon by *CI*\ngraph (http://x/graph.png)\n**m**\n(a block of the kind 'file' cannot be shown here)",
    ),
    (
        "42wim/matterbridge#2062 rich text",
        slack(text="", blocks=RICH),
        JSON,
        "@U1 look at this (http://x/1) a < b &amp; 🔥:rafflecop:@here\n1. one\n2. two\n  • dot\nx = 1\n> so\n> said",
    ),
    (
        "Slack's table block, with a rich text in a cell, and a picture beside a text",
        slack(
            blocks=[
                {
                    "type": "table",
                    "rows": [
                        [{"type": "raw_text", "text": "Job"}, {"type": "raw_text", "text": "Who"}],
                        [
                            {"type": "raw_text", "text": "deploy"},
                            {
                                "type": "rich_text",
                                "elements": [
                                    {
                                        "type": "rich_text_section",
                                        "elements": [
                                            {"type": "usergroup", "usergroup_id": "S1"},
                                            {"type": "text", "text": " in "},
                                            {"type": "channel", "channel_id": "C1"},
                                        ],
                                    }
                                ],
                            },
                        ],
                    ],
                },
                {
                    "type": "section",
                    "text": {"type": "mrkdwn", "text": "Load"},
                    "accessory": {"type": "image", "image_url": "http://x/load.png", "alt_text": "graph"},
                },
            ]
        ),
        JSON,
        "Job | Who\ndeploy | @S1 in #C1\nLoad\ngraph (http://x/load.png)",
    ),
    # Marked-up words.
    (
        "go-gitea/gitea#9195 a link with a label",
        slack(text="[org/repo] Issue submitted\n\n<https://host/pulls/1|#1 to do this>"),
        JSON,
        "[org/repo] Issue submitted\n\n#1 to do this (https://host/pulls/1)",
    ),
    (
        "mattermost#1868 VSTS: links in pretext and fields",
        slack(
            attachments=[
                {
                    "pretext": "Vu pushed to <https://v/#version=GBfix%2Fengine|fix/engine>",
                    "fields": [{"title": "Commits (1)", "value": "<https://v/c/6e|6e646e4> works now\r\n"}],
                }
            ]
        ),
        JSON,
        "Vu pushed to fix/engine (https://v/#version=GBfix%2Fengine)\nCommits (1): 6e646e4 (https://v/c/6e) works now",
    ),
    (
        "YelpArchive/elastalert#660 entities",
        slack(text="a &lt;b&gt; &amp;&amp; c &amp;lt; &copy=1"),
        JSON,
        "a <b> && c &lt; &copy=1",
    ),
    ("what only looks like markup stays", slack(text="if a<b and c>d; <stdio.h>"), JSON, "if a<b and c>d; <stdio.h>"),
    # Forms.
    (
        "turt2live/matrix-appservice-webhooks#13 a form",
        b"payload=" + quote_plus('{"text": "one\\ntwo & three"}').encode(),
        FORM,
        "one\ntwo & three",
    ),
    (
        "mattermost#2278 line breaks within JSON, curl --data-urlencode",
        b"payload=" + quote('{"channel": "#jltest", "text": "whatever\ntest\n\t123"}').encode(),
        FORM,
        "whatever\ntest\n\t123",
    ),
    ("mattermost#3502 a semicolon, curl -d", b'payload={"text":";"}', FORM, ";"),
    ("an ampersand that curl -d does not escape", b'payload={"text":"a & b + c"}', FORM, "a & b + c"),
    ("MeshCentral#5569 curl -d without a type", b'{"username": "pi", "text": "hot"}', FORM, "hot"),
    ("curl --data-urlencode of JSON", quote_plus('{"text": "x y"}').encode(), FORM, "x y"),
    ("curl -d text=", b"text=disk+full&username=pi", FORM, "disk full"),
    ("curl -d of words", b"disk full: use=90%", FORM, "disk full: use=90%"),
    ("a form in Latin-1", b"payload=%7B%22text%22:%22T%FCr%22%7D", f"{FORM}; charset=ISO-8859-1", "Tür"),
    # Several parts.
    (
        "mattermost#7172 curl -F payload=",
        multipart((named("payload"), '{"text": "several\nparts"}')),
        PARTS,
        "several\nparts",
    ),
    (
        "adnanh/webhook#372 payload as a file, and another file",
        multipart(
            (named("payload", '; filename="payload.json"') + "\r\nContent-Type: application/json", '{"text": "j"}'),
            (named("config", '; filename="hooks.yaml"') + "\r\nContent-Type: text/plain", "- id: redeploy"),
        ),
        PARTS,
        "j\n(file: hooks.yaml)",
    ),
    ("n8n-io/n8n#54 a payload that is no JSON", multipart((named("payload"), "something")), PARTS, "something"),
    (
        "a file beside the words, called as curl writes it",
        multipart((named("text"), "see"), (named("file", '; filename="Tür \\"1\\".txt"'), "content")),
        PARTS,
        'see\n(file: Tür "1".txt)',
    ),
    (
        "a file called as RFC 8187 writes it",
        multipart((named("file", "; filename=T.txt; filename*=UTF-8''T%C3%BCr.txt"), "content")),
        PARTS,
        "(file: Tür.txt)",
    ),
    (
        "a charset of one part",
        multipart((named("text") + "\r\nContent-Type: text/plain; charset=utf-7", "+APw-")),
        PARTS,
        "ü",
    ),
    ("parts with bare line feeds", multipart((named("text"), "lf"), line="\n"), PARTS, "lf"),
    # Characters.
    ("jellyfin-plugin-webhook#395 BOM", b"\xef\xbb\xbf" + slack(text="Fantus"), JSON, "Fantus"),
    ("stablyai/orca#21437 two BOMs", b"\xef\xbb\xbf" * 2 + slack(text="x"), f"{JSON}; charset=utf-8", "x"),
    ("UTF-16 with a BOM", '{"text": "Tür"}'.encode("utf-16"), JSON, "Tür"),
    ("PSSlack#85, OctopusDeploy#673 Windows says no charset", '{"text": "Atenção"}'.encode("latin-1"), JSON, "Atenção"),
    ("text/plain in Latin-1", b"T\xfcr offen", "text/plain; charset=iso-8859-1", "Tür offen"),
    ("text/plain in Windows' own", b"\x84T\xfcr\x93 10 \x80", "text/plain; charset=windows-1252", "„Tür“ 10 €"),
    ("PSSlack#101 Cyrillic", "склад".encode("koi8-r"), "text/plain; charset=KOI8-R", "склад"),
    ("a charset in quotes", "Tür".encode(), 'text/plain; charset="UTF-8"', "Tür"),
    ("broken UTF-8 under its name", b'{"text": "T\xfcr"}', f"{JSON}; charset=utf-8", "T\ufffdr"),
    (
        "PerformanceMonitor#3622 half a character",
        b'{"text": "cut \\ud83d, whole \\ud83d\\ude00"}',
        JSON,
        "cut \ufffd, whole 😀",
    ),
    # Other tools.
    (
        "Grafana's Slack contact point",
        slack(
            channel="#ops",
            username="Grafana",
            text=None,
            blocks=None,
            attachments=[
                {
                    "title": "[FIRING:1] Load",
                    "title_link": "http://grafana/alerting/list",
                    "text": "**Firing**\n\nValue: B=22",
                    "fallback": "[FIRING:1] Load",
                    "fields": [],
                    "footer": "Grafana v11",
                    "footer_icon": "https://grafana/icon.png",
                    "color": "#D63232",
                    "ts": 1711111111,
                    "actions": None,
                }
            ],
        ),
        JSON,
        "[FIRING:1] Load (http://grafana/alerting/list)\n**Firing**\n\nValue: B=22\nGrafana v11",
    ),
    (
        "Grafana's webhook",
        slack(**{**ALERTS, "title": "[FIRING:1]", "message": "**Firing**", "state": "alerting"}),
        JSON,
        "[FIRING:1]\n**Firing**",
    ),
    (
        "Alertmanager's Slack receiver",
        slack(
            channel="#a",
            username="Alertmanager",
            attachments=[
                {
                    "title": "[FIRING:1] Up",
                    "title_link": "http://am/#/alerts",
                    "text": "",
                    "fallback": "[FIRING:1] Up | http://am",
                    "callback_id": "",
                    "footer": "",
                    "color": "danger",
                    "mrkdwn_in": ["fallback", "pretext", "text"],
                }
            ],
        ),
        JSON,
        "[FIRING:1] Up (http://am/#/alerts)",
    ),
    (
        "Alertmanager's webhook",
        slack(**ALERTS),
        JSON,
        (
            "[FIRING] DiskFull: disk is full\nrunbook: http://wiki/disk\ninstance=web1, severity=critical\n"
            "[RESOLVED] Load: calm again"
        ),
    ),
    ("home-assistant/core#35283 RESTful notify", slack(message="test", title="test2"), JSON, "test2\ntest"),
    (
        "Home Assistant by form",
        b"message=Door+open&title=Home&target=x",
        FORM,
        "Home\nDoor open",
    ),
    (
        "RocketChat#27544 Uptime Kuma's Rocket.Chat format",
        slack(
            text="Uptime Kuma Alert",
            username="HealthCheck",
            icon_emoji="",
            attachments=[{"title": "Uptime Kuma Alert *Time (UTC)*\n2022", "text": "*Message*\n[🔴 Down]"}],
        ),
        JSON,
        "Uptime Kuma Alert\nUptime Kuma Alert *Time (UTC)*\n2022\n*Message*\n[🔴 Down]",
    ),
    ("Uptime Kuma's webhook", slack(heartbeat=None, monitor=None, msg="[web] up"), JSON, "[web] up"),
    (
        "containrrr/shoutrrr#325 plain words that say they are JSON's text",
        b"UNKNOWN HOST",
        "text/plain",
        "UNKNOWN HOST",
    ),
    (
        "go-gitea/gitea: Slack type",
        slack(
            channel="#dev",
            text="[<http://git/r|r>] Pull request opened: <http://git/r/1|#1 a &lt; b>",
            username="Gitea",
            icon_url="",
            unfurl_links=0,
            link_names=0,
            attachments=[
                {"fallback": "", "color": "#0f0", "title": "a &lt; b", "title_link": "http://git/r/1", "text": ""}
            ],
        ),
        JSON,
        "[r (http://git/r)] Pull request opened: #1 a < b (http://git/r/1)\na < b (http://git/r/1)",
    ),
    ("JSON by another name", slack(text="v"), "application/vnd.api+json", "v"),
    ("JSON as plain text", slack(text="sns"), "text/plain; charset=UTF-8", "sns"),
    ("a JSON text", b'"only words"', JSON, "only words"),
    ("a braces' text", b"{not json", "text/plain", "{not json"),
    ("a text of bytes", "Tür".encode(), "application/octet-stream", "Tür"),
]
REFUSED: list[tuple[str, bytes, str, str, int, str]] = [
    ("TwiN/gatus#73 JSON that is none", b'{"text": "a" "b"}', JSON, "", 400, "JSON is malformed"),
    ("an empty body", b"", JSON, "", 400, "it is empty"),
    ("an empty text", b" \n", "text/plain", "", 400, "nothing in it"),
    ("null", b"null", JSON, "", 400, "expected an object, got null"),
    ("a list", b"[1]", JSON, "", 400, "expected an object, got a list"),
    ("a number", b"7", JSON, "", 400, "expected an object, got a number"),
    (
        "netalertx/NetAlertX#96 no_text: an object of another program",
        slack(repository={"id": 1}, commits=[]),
        JSON,
        "",
        400,
        "nothing to show in {commits, repository}",
    ),
    ("only what can be clicked", slack(blocks=[{"type": "actions", "elements": []}]), JSON, "", 400, "nothing to show"),
    ("only nulls", slack(text=None, attachments=None, blocks=None), JSON, "", 400, "nothing to show"),
    ("a list for a text", slack(text=["a"]), JSON, "", 400, "text: expected words, got a list"),
    ("a number for attachments", slack(attachments=5), JSON, "", 400, "attachments: expected a list, got a number"),
    ("words for a block", slack(blocks=["x"]), JSON, "", 400, "blocks[0]: expected an object, got words"),
    ("words that look nested for ever", b'{"text":' * 100_000, JSON, "", 400, "nested too deeply"),
    ("OpenFn/lightning#3937 gzip", b"\x1f\x8b\x08", JSON, "gzip", 415, "Content-Encoding: 'gzip' is not taken"),
    ("a picture", b"\x89PNG", "image/png", "", 415, "Content-Type: 'image/png' is not taken"),
    ("XML", b"<a/>", "application/xml", "", 415, "'application/xml' is not taken"),
    ("bytes that are no text", b"\xff\xfe\xfd"[::-1], "application/octet-stream", "", 415, "this is not UTF-8"),
    ("an unknown charset", b"x", "text/plain; charset=klingon", "", 415, "charset 'klingon' is not known"),
    ("a codec that is no charset", b"eJw=", "text/plain; charset=base64", "", 415, "charset 'base64' is not known"),
    ("parts without a boundary", b"--x", "multipart/form-data", "", 400, "the boundary of the parts is missing"),
    ("parts without a part", b"nothing", PARTS, "", 400, "nothing to show"),
]
