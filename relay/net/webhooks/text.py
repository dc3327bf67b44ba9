"""The plain text of programs' posts to a hook: Slack's and Mattermost's formats, and those of alerting tools.

All text is shown. Colours, icons, the sender's name and channel, and elements that can only be clicked are left out. A
body without text, or with a value of the wrong type, is refused.
"""

import json
from collections.abc import Iterable, Iterator

from relay.core.hooks import slack_markup
from relay.net.http.response import HttpError
from relay.protocol.base import JsonValue
from relay.protocol.codec import whole_characters

TEXTS = ("text", "message", "msg", "content")
"""The fields in which senders put their text: Slack; Home Assistant, Grafana and Gotify; Uptime Kuma; Discord."""
_TITLES = ("title", "subject")
FIELDS = frozenset({*TEXTS, *_TITLES, "attachments", "blocks", "alerts"})
"""The fields of a message. An object with one of them is meant as a message."""
_NOT_SHOWN = frozenset({"divider", "actions", "input"})
"""Blocks without text, and those that can only be clicked."""
_KNOWN = frozenset({"section", "header", "markdown", "image", "video"})
"""Blocks that are shown. A block of another kind without text is mentioned."""
_ALERT_TEXTS = ("summary", "description", "message")


def body_text(body: JsonValue) -> str:
    """Return the text of a decoded body.

    Raises:
        HttpError: it has no text, or a value of the wrong type.
    """
    if isinstance(body, str):
        return body
    if not isinstance(body, dict):
        raise _wrong("body", body, "an object")
    blocks = blocks_text(body.get("blocks"))
    text = next((said for key in TEXTS if (said := _text(body.get(key), key))), "")
    title = next((said for key in _TITLES if (said := _text(body.get(key), key))), "")
    # If there are blocks, `text` is for notifications, and mostly repeats the blocks.
    first = [part for part in (title, text) if part not in blocks]
    said = _lines([*first, blocks, attachments_text(body.get("attachments"))])
    said = said or _lines(_alerts(body.get("alerts")))
    if not said.strip():
        known = ", ".join(sorted(map(str, body))[:12])[:200]
        raise HttpError(
            400,
            "bad_request",
            f'body: there is nothing to show in {{{known}}}: send {{"text": "..."}}, attachments, blocks or plain text',
        )
    return said


def blocks_text(value: JsonValue) -> str:
    """Return the text of blocks; empty without any.

    Raises:
        HttpError: they have a value of the wrong type.
    """
    return whole_characters(_lines(_blocks(value, "blocks")))


def attachments_text(value: JsonValue) -> str:
    """Return the text of attachments; empty without any.

    Raises:
        HttpError: they have a value of the wrong type.
    """
    return whole_characters(_lines(_attachments(value)))


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if part)


def _wrong(field: str, value: JsonValue, right: str) -> HttpError:
    name = {dict: "an object", list: "a list", str: "words", type(None): "null", bool: "true or false"}
    return HttpError(400, "bad_request", f"{field}: expected {right}, got {name.get(type(value), 'a number')}")


def _text(value: JsonValue, field: str) -> str:
    """Return a text, or the text of Slack's text object; numbers as in JSON."""
    while isinstance(value, dict) and "text" in value:
        value = value["text"]
    if value is None:
        return ""
    if isinstance(value, str):
        return slack_markup.plain(value).strip("\n")
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise _wrong(field, value, "words")


def _listed(value: JsonValue, field: str) -> list[JsonValue]:
    """Return a list. A single value counts as a list of one, and some senders encode their list twice."""
    if isinstance(value, str):
        try:
            value = json.loads(value, strict=False)
        except ValueError:
            return [value]
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return [one for one in value if one is not None]
    raise _wrong(field, value, "a list")


# Attachments: https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments


def _attachments(value: JsonValue) -> Iterator[str]:
    for number, one in enumerate(_listed(value, "attachments")):
        yield _attachment(one, f"attachments[{number}]")


def _attachment(one: JsonValue, where: str) -> str:
    if isinstance(one, str):
        return slack_markup.plain(one)
    if not isinstance(one, dict):
        raise _wrong(where, one, "an object")

    def say(key: str) -> str:
        return _text(one.get(key), f"{where}.{key}")

    main = _lines(
        [
            say("pretext"),
            slack_markup.link(say("author_link"), say("author_name")),
            slack_markup.link(say("title_link"), say("title")),
            say("text"),
            *_fields(one.get("fields"), f"{where}.fields"),
            *_blocks(one.get("blocks"), f"{where}.blocks"),
            *_buttons(one.get("actions"), f"{where}.actions"),
            say("image_url"),
        ]
    )
    return _lines([main or say("fallback"), say("footer")])


def _fields(value: JsonValue, where: str) -> Iterator[str]:
    for number, field in enumerate(_listed(value, where)):
        place = f"{where}[{number}]"
        if not isinstance(field, dict):
            yield _text(field, place)
        elif field.keys() & {"title", "value", "name"}:
            yield _field(_text(field.get("title") or field.get("name"), f"{place}.title"), field.get("value"), place)
        else:
            # Some senders post an object in place of the list.
            for title, content in field.items():
                yield _field(title, content, place)


def _field(title: str, content: JsonValue, place: str) -> str:
    if isinstance(content, (dict, list)):
        content = json.dumps(content, ensure_ascii=False)
    said = _text(content, f"{place}.value")
    if not title:
        return said
    return f"{title}:\n{said}" if "\n" in said else f"{title}: {said or '-'}"


def _buttons(value: JsonValue, where: str) -> Iterator[str]:
    """Return links for buttons with an address; other buttons would call back the sender, which is not supported."""
    for number, one in enumerate(_listed(value, where)):
        if isinstance(one, dict) and one.get("url"):
            address = _text(one["url"], f"{where}[{number}].url")
            yield slack_markup.link(address, _text(one.get("text"), f"{where}[{number}].text"))


# Blocks: https://docs.slack.dev/reference/block-kit/blocks


def _blocks(value: JsonValue, where: str) -> Iterator[str]:
    for number, block in enumerate(_listed(value, where)):
        if not isinstance(block, dict):
            raise _wrong(f"{where}[{number}]", block, "an object")
        yield _block(block, f"{where}[{number}]")


def _block(block: dict[str, JsonValue], where: str) -> str:
    kind = str(block.get("type"))
    if kind == "rich_text":
        return _lines(_rich(one) for one in _listed(block.get("elements"), f"{where}.elements"))
    if kind == "context":
        elements = _listed(block.get("elements"), f"{where}.elements")
        return " ".join(filter(None, (_element(one, f"{where}.elements") for one in elements)))
    if kind == "table":
        rows = [_listed(row, f"{where}.rows") for row in _listed(block.get("rows"), f"{where}.rows")]
        return _lines(" | ".join(_cell(cell, where) for cell in row) for row in rows)
    if kind in _NOT_SHOWN:
        return _lines(_buttons(block.get("elements"), f"{where}.elements"))
    said = _lines(
        [
            _image(block, where),
            _text(block.get("text"), f"{where}.text"),
            *(_text(field, f"{where}.fields") for field in _listed(block.get("fields"), f"{where}.fields")),
            _text(block.get("description"), f"{where}.description"),
            *_accessory(block.get("accessory"), f"{where}.accessory"),
        ]
    )
    return said or ("" if kind in _KNOWN else f"(a block of the kind {kind[:64]!r} cannot be shown here)")


def _image(block: dict[str, JsonValue], where: str) -> str:
    """Return the title and address of a picture or a video."""
    address = next((block[key] for key in ("title_url", "video_url", "image_url") if block.get(key)), None)
    title = _text(block.get("title"), f"{where}.title") or _text(block.get("alt_text"), f"{where}.alt_text")
    return slack_markup.link(_text(address, f"{where}.image_url"), title)


def _element(one: JsonValue, where: str) -> str:
    if isinstance(one, dict) and one.get("type") == "image":
        return _text(one.get("alt_text"), where)
    return _text(one, where)


def _accessory(one: JsonValue, where: str) -> Iterator[str]:
    if isinstance(one, dict):
        if one.get("type") == "image":
            yield _image(one, where)
        yield from _buttons(one, where)


def _cell(cell: JsonValue, where: str) -> str:
    if isinstance(cell, dict) and cell.get("type") == "rich_text":
        return _block(cell, where)
    return _text(cell, where)


def _rich(element: JsonValue) -> str:
    """Return the text of a part of a rich text. It is not interpreted as markup."""
    if not isinstance(element, dict):
        return ""
    parts = _listed(element.get("elements"), "elements")
    match element.get("type"):
        case "rich_text_list":
            first, indent = _whole(element.get("offset")) + 1, "  " * min(_whole(element.get("indent")), 8)
            numbered = element.get("style") == "ordered"
            return "\n".join(
                f"{indent}{f'{number}.' if numbered else '•'} {_rich(part)}" for number, part in enumerate(parts, first)
            )
        case "rich_text_quote":
            return "\n".join(f"> {line}" for line in _inline(parts).splitlines())
        case _:
            return _inline(parts)


def _whole(value: JsonValue) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _inline(parts: Iterable[JsonValue]) -> str:
    return "".join(_inline_part(part) for part in parts if isinstance(part, dict)).strip("\n")


def _inline_part(part: dict[str, JsonValue]) -> str:
    def raw(key: str) -> str:
        value = part.get(key)
        return value if isinstance(value, str) else ""

    match part.get("type"):
        case "link":
            return slack_markup.link(raw("url"), raw("text"))
        case "user":
            return f"@{raw('user_id')}"
        case "usergroup":
            return f"@{raw('usergroup_id')}"
        case "broadcast":
            return f"@{raw('range')}"
        case "channel":
            return f"#{raw('channel_id')}"
        case "emoji":
            return _emoji(raw("unicode")) or f":{raw('name')}:"
        case "date":
            return slack_markup.date(part.get("timestamp"), raw("fallback"))
        case "color":
            return raw("value")
        case _:
            return raw("text")


def _emoji(code: str) -> str:
    """Return an emoji from its code points, which Slack writes in hexadecimal, joined by dashes."""
    try:
        return "".join(chr(int(number, 16)) for number in code.split("-"))
    except (ValueError, OverflowError):
        return ""


# Alerts: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config


def _alerts(value: JsonValue) -> Iterator[str]:
    """Return alerts in the format of Prometheus' Alertmanager, without their times and addresses."""
    for number, alert in enumerate(_listed(value, "alerts")):
        if not isinstance(alert, dict):
            raise _wrong(f"alerts[{number}]", alert, "an object")
        labels, notes = _string_values(alert.get("labels")), _string_values(alert.get("annotations"))
        status = _text(alert.get("status"), f"alerts[{number}].status").upper()
        title = " ".join(filter(None, [f"[{status}]" if status else "", labels.pop("alertname", "")]))
        summary = next((notes.pop(key) for key in _ALERT_TEXTS if notes.get(key)), "")
        yield ": ".join(filter(None, [title, summary]))
        yield _lines(f"{key}: {said}" for key, said in notes.items())
        yield ", ".join(f"{key}={said}" for key, said in labels.items())


def _string_values(value: JsonValue) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: said if isinstance(said, str) else json.dumps(said) for key, said in value.items()}
