"""`relay tls`: what it makes and shows, and its messages if that is impossible."""

from pathlib import Path

import pytest

from tests.support.command_line import Ran, done, run


def failed(*arguments: str, data: Path, code: int = 1) -> str:
    ran: Ran = run("tls", *arguments, data=data)
    assert (ran.code, ran.out) == (code, ""), ran
    assert ran.err.startswith("relay: ")
    assert ran.err.count("\n") == 1
    return ran.err


@pytest.mark.parametrize("name", ["", "bad name ü", "a b", "x\nlan", "chat..lan", "[fd00::2]", "x" * 64])
@pytest.mark.parametrize("there", [False, True])
def test_an_invalid_certificate_name_is_wrong_use(name: str, there: bool, tmp_path: Path) -> None:
    if there:
        done("tls", "init", data=tmp_path)
    assert f"{name!r} is not a name or address: a name has" in failed("init", "--name", name, data=tmp_path, code=2)
    assert (tmp_path / "tls").exists() == there


def test_names_are_shown_as_people_write_them(tmp_path: Path) -> None:
    named = ("FD00:0:0::2", "fe80::1%eth0", "Chat.Office.LAN", "*.office.lan", "192.168.7.7")
    options = [word for name in named for word in ("--name", name)]
    names = done("tls", "init", *options, "--json", data=tmp_path).json["names"]
    assert names[:5] == ["fd00::2", "fe80::1", "chat.office.lan", "*.office.lan", "192.168.7.7"]
    assert done("tls", "show", "--json", data=tmp_path).json["names"] == names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("again", [(), ("--again",), ("--name", "localhost"), ("--again", "--name", "localhost")])
def test_name_given_once_stays_whatever_is_given_later(again: tuple[str, ...], tmp_path: Path) -> None:
    done("tls", "init", "--name", "chat.office.lan", data=tmp_path)
    names = done("tls", "init", *again, "--json", data=tmp_path).json["names"]
    assert {"chat.office.lan", "localhost"} <= set(names)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nMIIB\n"])
@pytest.mark.parametrize("file", ["ca.crt", "relay.crt"])
def test_damaged_certificate_is_named_with_advice(file: str, content: bytes, tmp_path: Path) -> None:
    done("tls", "init", data=tmp_path)
    (tmp_path / "tls" / file).write_bytes(content)
    said = failed("show", data=tmp_path)
    assert f"{tmp_path}/tls/{file} cannot be read as a certificate" in said
    assert "`relay tls init --again`" in said
    done("tls", "init", "--again", data=tmp_path)


@pytest.mark.parametrize("file", ["ca.crt", "ca.key"])
def test_a_damaged_authority_makes_no_certificate(file: str, tmp_path: Path) -> None:
    done("tls", "init", data=tmp_path)
    (tmp_path / "tls" / file).write_text("nonsense")
    assert "`relay tls init --again`" in failed("init", "--name", "localhost", data=tmp_path)


def test_a_missing_key_of_the_authority_is_named(tmp_path: Path) -> None:
    done("tls", "init", data=tmp_path)
    (tmp_path / "tls" / "ca.key").unlink()
    said = failed("init", "--name", "localhost", data=tmp_path)
    assert said == f"relay: {tmp_path}/tls/ca.key cannot be read: No such file or directory\n"
