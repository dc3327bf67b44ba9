"""Settings that are refused in words of our own: web addresses, host names, and files that are not TOML."""

import re
import tomllib
from pathlib import Path

import pytest

from relay.settings import Loaded, WrongSettings


def load(text: str, tmp_path: Path) -> Loaded:
    file = tmp_path / "relay.toml"
    file.write_text(text)
    return Loaded(file, options={}, environment={})


@pytest.mark.parametrize(
    "url",
    ["http://a b", "http://x..", "http://x:99999", "http://\u202ex", "http://x/chat", "http://u@x", "ftp://x", "x"],
)
def test_public_address_that_browsers_do_not_open_is_refused_in_words(url: str) -> None:
    with pytest.raises(WrongSettings, match=r"http\.public_url: must be an address that browsers open, as in"):
        Loaded(None, options={}, environment={"RELAY_HTTP_PUBLIC_URL": url})


@pytest.mark.parametrize(
    "url", ["", "HTTPS://Chat.example", "http://x:65535", "https://bücher.example", "http://[::1]:80"]
)
def test_public_address_that_browsers_open_is_accepted(url: str) -> None:
    assert Loaded(None, options={}, environment={"RELAY_HTTP_PUBLIC_URL": url}).settings.http.public_url == url


@pytest.mark.parametrize("host", ["http://x", "x:80", "", "a b", "x..", "*.", "\u200d", "*.*"])
def test_host_that_no_request_can_name_is_refused_in_words(host: str, tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match=r"http\.hosts: must be host names as in"):
        load(f'http.hosts = ["chat.example", "{host}"]', tmp_path)


@pytest.mark.parametrize(
    "host", ["*", "*.example.org", "Chat.Example", "kit_2.lan", "10.0.0.1", "::1", "[::1]", "bücher"]
)
def test_host_that_a_request_can_name_is_accepted(host: str, tmp_path: Path) -> None:
    assert load(f'http.hosts = ["{host}"]', tmp_path).settings.http.hosts == [host]


MISTAKES = ("[limits]\n[limits]", "a=1\na=2", "a=", "a", 'a="x', "a=[1", "=1", "a=1 b=2", "a={x=1,x=2}",
            r'a="\q"', "a=tru", 'a="\x01"', "[a", "a=1979-99-99", "a=0x", "a.b=1\na=2", "a = 1__2",
            r'a="\ud800"')  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_file_that_is_not_toml_is_refused_without_the_words_of_the_library(text: str, tmp_path: Path) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as theirs:
        tomllib.loads(text)
    with pytest.raises(WrongSettings) as ours:
        load(text, tmp_path)
    assert str(theirs.value).partition(" (at ")[0] not in str(ours.value)
    assert re.search(r"is not valid TOML at (line \d+|its end): .", str(ours.value))
    assert "mistake" not in str(ours.value)
