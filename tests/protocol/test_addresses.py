"""Web addresses: what is one, on the relay as on the page (`tests/web/text.test.mjs` has the same table)."""

import json
from pathlib import Path

import pytest

from relay.unicode import addresses

CASES = json.loads((Path(__file__).parents[1] / "data/addresses.json").read_text("utf-8"))


@pytest.mark.parametrize("url", CASES["taken"])
def test_absolute_address_is_parsed(url: str) -> None:
    assert addresses.parse(url) is not None


@pytest.mark.parametrize("url", [*CASES["refused"], "https://a.example/\ud800", "https://\udfff.example/"])
def test_text_that_is_not_an_absolute_address_is_none(url: str) -> None:
    assert addresses.parse(url) is None


def test_parsed_address_has_a_host_of_one_form_and_a_port() -> None:
    assert addresses.parse("HTTPS://Kit.Lan.:0443/x") == ("https", "kit.lan", "443")
    assert addresses.parse("http://anna:pw@[0:0::1]/x") == ("http", "::1", "")
