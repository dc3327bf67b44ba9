"""`relay invite`, `relay user password` and `relay tls`, as people and scripts use them."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from relay.cli.invite import drawn
from tests.support.command_line import Ran, done, run, running


@pytest.fixture(params=["running", "stopped"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "data"
    if request.param == "stopped":
        yield where
        return
    with running(where) as relay:
        yield relay.data


def failed(*arguments: str, data: Path, stdin: str = "") -> Ran:
    ran = run(*arguments, data=data, stdin=stdin)
    assert ran.code == 1, ran
    return ran


def test_an_invite_is_a_link_and_a_code_to_scan(data: Path) -> None:
    done("user", "add", "anna", data=data)
    said = done("invite", "anna", data=data).out
    (link,) = [line for line in said.splitlines() if line.startswith("http")]
    assert "/#invite=" in link
    assert "█" in said


def test_an_invite_as_json_has_url_code_and_expiry(data: Path) -> None:
    done("user", "add", "anna", data=data)
    made = json.loads(done("invite", "anna", "--json", data=data).out)
    assert made.keys() == {"url", "code", "expiresAt"}
    assert made["url"].endswith(f"/#invite={made['code']}")


def test_new_user_is_added_with_the_invite_on_request(data: Path) -> None:
    done("user", "add", "ben", data=data)
    assert "--new" in failed("invite", "anna", data=data).err
    done("invite", "anna", "--new", "--name", "Anna Berg", data=data)
    assert "Anna Berg" in done("user", "list", data=data).out
    assert "\x1b" not in done("invite", "anna", data=data).out, "in a file there are no colours"


def test_name_for_an_existing_user_is_refused(data: Path) -> None:
    done("user", "add", "anna", data=data)
    ran = run("invite", "anna", "--name", "Anna Berg", data=data)
    assert (ran.code, ran.out) == (2, "")
    assert "relay user rename anna NAME" in ran.err
    assert "Anna Berg" not in done("user", "list", data=data).out


def test_invite_to_an_unknown_chat_fails(data: Path) -> None:
    done("user", "add", "anna", data=data)
    assert "nowhere" in failed("invite", "anna", "--chat", "nowhere", data=data).err


def test_invite_accepts_the_name_of_a_group(data: Path) -> None:
    done("user", "add", "anna", data=data)
    done("chat", "create", "Ops", "anna", data=data)
    done("invite", "emil", "--new", "--chat", "Ops", data=data)
    (listed,) = open_invites(data)
    assert listed["chatId"] == done("chat", "show", "Ops", "--json", data=data).json["id"]


def open_invites(data: Path) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = done("invite", "list", "--json", data=data).json
    return listed


def test_open_invites_are_listed_without_their_links(data: Path) -> None:
    done("user", "add", "anna", data=data)
    assert "no open invites" in done("invite", "list", data=data).out
    code = done("invite", "anna", "--json", data=data).json["code"]
    (listed,) = open_invites(data)
    assert (listed["userId"], listed["madeBy"]) == ("anna", "(admin)")
    shown = done("invite", "list", data=data).out
    assert listed["id"] in shown
    assert "anna" in shown
    assert code not in shown


def test_revoked_invite_is_in_the_audit_but_not_in_the_list(data: Path) -> None:
    done("user", "add", "anna", data=data)
    done("invite", "anna", data=data)
    done("invite", "anna", data=data)
    one, other = open_invites(data)
    assert f"invite {one['id']} for anna is revoked" in done("invite", "revoke", one["id"], data=data).out
    assert open_invites(data) == [other]
    assert one["id"] in failed("invite", "revoke", one["id"], data=data).err
    (_, newest, *_) = done("audit", data=data).out.splitlines()
    assert "(admin)" in newest
    assert "revoked" in newest
    assert "anna" in newest


def test_revoking_by_user_revokes_only_that_users_invites(data: Path) -> None:
    for user in ("anna", "ben"):
        done("user", "add", user, data=data)
        done("invite", user, data=data)
    done("invite", "anna", data=data)
    assert len(done("invite", "revoke", "--all", "anna", "--json", data=data).json) == 2
    assert [one["userId"] for one in open_invites(data)] == ["ben"]
    assert "no invite that can be used" in failed("invite", "revoke", "--all", "anna", data=data).err
    assert run("invite", "revoke", data=data).code == 2


def test_list_says_why_an_invite_cannot_be_used(data: Path) -> None:
    done("user", "add", "anna", data=data)
    done("invite", "anna", data=data)
    done("user", "disable", "anna", data=data)
    assert "user disabled" in done("invite", "list", data=data).out
    (listed,) = open_invites(data)
    assert listed["state"] == "userDisabled"
    assert "is revoked" in done("invite", "revoke", listed["id"], data=data).out


def test_revoked_invite_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as relay:
        code = done("invite", "anna", "--new", "--json", data=tmp_path).json["code"]
        done("invite", "revoke", "--all", "anna", data=tmp_path)
        answer = httpx.post(f"http{relay.url[2:-3]}/session", json={"invite": code})
    assert answer.status_code == 401


def test_a_user_with_the_name_of_a_command_is_invited_by_the_long_form(data: Path) -> None:
    done("user", "add", "list", data=data)
    done("invite", "add", "list", data=data)
    assert [one["userId"] for one in open_invites(data)] == ["list"]


@pytest.mark.parametrize("size", [21, 24])
def test_qr_code_has_a_light_border(size: int) -> None:
    lines = drawn(["1" * size] * size, coloured=True)
    plain = drawn(["1" * size] * size, coloured=False)
    assert [line.replace("\x1b[30;107m", "").replace("\x1b[0m", "") for line in lines] == plain
    assert {len(line) for line in plain} == {size + 4}
    assert plain[0].strip() == ""
    assert all(line.startswith("  ") and line.endswith("  ") for line in plain)


def test_password_is_read_from_a_pipe_and_has_a_minimum_length(data: Path) -> None:
    done("user", "add", "anna", data=data)
    assert "10 to 1024 characters" in run("user", "password", "anna", data=data, stdin="short\n").err
    assert "first passwords that attackers try" in run("user", "password", "anna", data=data, stdin="password123\n").err
    assert "this password" in done("user", "password", "anna", data=data, stdin="correct horse\n").out
    assert "no password" in done("user", "password", "anna", "--none", data=data).out


def test_missing_password_changes_nothing_and_ends_no_session(data: Path) -> None:
    done("user", "add", "anna", data=data)
    done("user", "password", "anna", data=data, stdin="correct horse\n")
    done("device", "add", "anna", data=data)
    for stdin in ("", "\n"):
        ran = run("user", "password", "anna", "--sign-out", data=data, stdin=stdin)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("relay: no password was given, and nothing was changed: type one, or pipe one in.")
        assert "device revoke --all anna" in ran.err
    assert len(done("device", "list", "anna", "--json", data=data).json) == 1


def test_new_password_or_one_command_ends_all_sessions(data: Path) -> None:
    done("user", "add", "ben", data=data)
    for _ in range(2):
        done("device", "add", "ben", data=data)
    said = done("user", "password", "ben", "--sign-out", data=data, stdin="correct horse\n").out
    assert "2 of their devices have to sign in again" in said
    done("device", "add", "ben", data=data)
    assert done("device", "revoke", "--all", "ben", data=data).out == "1 devices of ben may not sign in any more\n"
    assert done("device", "list", "ben", "--json", data=data).json == []
    assert run("device", "revoke", data=data).code == 2
    assert run("device", "revoke", "1", "--all", "ben", data=data).code == 2


def test_a_certificate_is_made_once_and_shown(tmp_path: Path) -> None:
    where = tmp_path / "new"
    first = json.loads(done("tls", "init", "--name", "chat.office.lan", "--json", data=where).out)
    again = json.loads(done("tls", "init", "--json", data=where).out)
    shown = json.loads(done("tls", "show", "--json", data=where).out)
    assert first == again == shown
    assert {"chat.office.lan", "localhost", "127.0.0.1"} <= set(first["names"])
    assert len(first["fingerprint"].split(":")) == 32
    assert stat.S_IMODE((where / "tls" / "ca.key").stat().st_mode) == 0o600


def test_name_is_added_if_the_authority_may_certify_it(tmp_path: Path) -> None:
    first = json.loads(done("tls", "init", "--json", data=tmp_path).out)
    added = json.loads(done("tls", "init", "--name", "chat.localhost", "--json", data=tmp_path).out)
    assert "chat.localhost" in added["names"]
    assert added["fingerprint"] == first["fingerprint"]
    assert "--again" in failed("tls", "init", "--name", "bank.example", data=tmp_path).err
    new = json.loads(done("tls", "init", "--again", "--name", "bank.example", "--json", data=tmp_path).out)
    assert new["fingerprint"] != first["fingerprint"]
    assert "bank.example" in new["names"]


def test_a_missing_certificate_is_reported_with_advice(tmp_path: Path) -> None:
    assert "relay tls init" in failed("tls", "show", data=tmp_path).err
    serve = [sys.executable, "-m", "relay", "serve", "--tls", "--listen", "127.0.0.1:0", "--data", str(tmp_path)]
    ran = subprocess.run(serve, check=False, capture_output=True, text=True, timeout=20)
    assert ran.returncode == 1
    assert "tls init --data" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("piped", ["correct horse\n", "correct horse\r\n", "\ufeffcorrect horse\r\n", "correct horse"])
def test_password_from_a_file_is_its_first_line(piped: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "add", "anna", data=data)
    done("user", "password", "anna", data=data, stdin=piped)
    with running(data) as relay:
        credentials = {"userId": "anna", "password": "correct horse"}
        assert httpx.post(f"http{relay.url[2:-3]}/session", json=credentials).status_code == 200
