"""Settings: their sources and precedence, and messages for invalid ones."""

import os
import pwd
import re
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path

import pytest
import trio
from msgspec import inspect

from relay.core.relay import open_relay
from relay.net.server import Server
from relay.net.websocket import frames
from relay.protocol import control
from relay.settings import (
    MAX_BYTES,
    MAX_DAYS,
    Loaded,
    Setting,
    WrongSettings,
    data_directory,
    declared,
    default_file,
    locations,
)
from relay.settings.locations import INSTALLED_DATA
from relay.settings.sections import SettingValue
from tests.support.command_line import run
from tests.support.sessions import Client, House, Refused


def load(
    text: str | None, tmp_path: Path, environment: dict[str, str] | None = None, **options: SettingValue
) -> Loaded:
    file = None
    if text is not None:
        file = tmp_path / "relay.toml"
        file.write_text(text)
    return Loaded(file, options=options, environment=environment or {})


def test_option_overrides_variable_and_variable_overrides_file(tmp_path: Path) -> None:
    text = 'listen = ["a:1"]\n[limits]\nconnections = 5\nburst = 6'
    loaded = load(text, tmp_path, {"RELAY_LIMITS_BURST": "7", "RELAY_LISTEN": "b:1, c:2"}, listen=["d:3"])
    values = {setting.key: (value, source) for setting, value, source in loaded.values()}
    assert values["listen"] == (["d:3"], "--listen")
    assert values["limits.connections"] == (5, str(tmp_path / "relay.toml"))
    assert values["limits.burst"] == (7, "RELAY_LIMITS_BURST")
    assert values["limits.frame_bytes"] == (262_144, "default")


_TO_CHANGE = re.compile(
    r"In\s+/etc/relay/relay\.toml, under \[(?P<section>\w+)\], take the # off this line and change it to"
    r"\n+ +(?P<key>\w+) = (?P<value>.+)\n",
    re.IGNORECASE,
)
_TOML = re.compile(r"^ +(?:\[(?P<section>[a-z]+)\]|(?P<key>[\w.]+) = .+)$", re.MULTILINE)


def test_each_setting_in_the_guide_can_be_made_in_the_packaged_file_as_printed(tmp_path: Path) -> None:
    known = {one.key for one in declared()}
    sections = {key.rpartition(".")[0] for key in known}
    found = []
    for page in sorted(files("relay").joinpath("help").iterdir(), key=lambda one: one.name):
        text = page.read_text("utf-8")
        rest = _TO_CHANGE.sub("", text)
        printed = [one[0].strip() for one in _TOML.finditer(rest) if one["section"] in sections or one["key"] in known]
        assert printed == [], f"{page.name}: these are in the packaged file already"
        for change in _TO_CHANGE.finditer(text):
            head, _, section = default_file().partition(f"\n[{change['section']}]\n")
            lines = re.sub(
                rf"^# {change['key']} = .*$",
                f"{change['key']} = {change['value']}",
                section,
                count=1,
                flags=re.MULTILINE,
            )
            loaded = load(f"{head}\n[{change['section']}]\n{lines}", tmp_path)
            found += [setting.key for setting, _, source in loaded.values() if source != "default"]
    assert found == ["auth.open", "tls.on", "retention.days"]


def test_a_variable_may_be_a_list(tmp_path: Path) -> None:
    assert load(None, tmp_path, {"RELAY_LISTEN": "b:1, c:2"}).settings.listen == ["b:1", "c:2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nconections = 3", "limits.conections is unknown: did you mean limits.connections?"),
        ("[limit]\nconnections = 3", "limit.connections is unknown: did you mean limits.connections?"),
        ("[limit]\nrequests = 3", "limit.requests is unknown: did you mean limits.requests_per_second?"),
        ("[limit]\nx = 3", "limit.x is unknown: did you mean [limits]?"),
        ("[limit]", "limit is unknown: did you mean [limits]?"),
        ("[limits]\nrate = 3", "limits.rate is unknown; `relay config show` names all"),
        ("[limit]\nopen = true", "limit.open is unknown: did you mean auth.open?"),
        ("[file]\nuser = 3", "file.user is unknown: did you mean files.user_bytes?"),
        ("[retension]\nday = 3", "retension.day is unknown: did you mean retention.days?"),
        ('[server]\nlisten = "a:1"', "server.listen is unknown: did you mean listen?"),
        ('lisen = "a:1"', "lisen is unknown: did you mean listen?"),
        ("connections = 3", "connections is unknown: did you mean limits.connections?"),
        ("qqq = 3", "qqq is unknown; `relay config show` names all"),
        ("limits = 3", "limits is a table: write [limits] and its settings below it"),
        ('listen = "a:1"', 'listen: must be a list, not "a:1"'),
        ("listen = [5]", "listen: must be a text, not [5]"),
        ("[limits]\nconnections = 0", "limits.connections: must be a whole number >= 1, not 0"),
        ('[limits]\nconnections = "5"', 'limits.connections: must be a whole number, not "5"'),
        ('[log]\nlevel = "loud"', 'log.level: must be one of those that its description names, not "loud"'),
        ("[limits", "is not valid TOML at its end: a quote, a bracket or a line break is missing"),
    ],
)
def test_a_wrong_setting_is_reported_in_one_line_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WrongSettings) as error:
        load(text, tmp_path)
    assert str(error.value).startswith(str(tmp_path / "relay.toml"))
    assert str(error.value).endswith(said)
    assert "\n" not in str(error.value)


NUMBERS = [setting for setting in declared() if isinstance(setting.kind, (inspect.IntType, inspect.FloatType))]


def ends_of(setting: Setting) -> tuple[float, float]:
    """Give the smallest and the largest value of a number; a float that is above 0 is a second of an hour at least."""
    kind = setting.kind
    assert isinstance(kind, (inspect.IntType, inspect.FloatType))
    low = kind.ge if kind.ge is not None else None if kind.gt is None else 1 / 3_600
    assert low is not None, f"{setting.key} has no lower bound"
    assert kind.le is not None, f"{setting.key} has no upper bound"
    return low, kind.le


@pytest.mark.parametrize("key", [setting.key for setting in NUMBERS])
def test_a_number_that_cannot_be_counted_with_is_refused_in_one_line(key: str, tmp_path: Path) -> None:
    setting = next(one for one in NUMBERS if one.key == key)
    section, _, name = key.rpartition(".")
    low, high = ends_of(setting)
    wrong = ["-1", str(round(high) + 1), str(10**17), str(10**30), "nan", "inf", "-inf"]
    for said in wrong:
        with pytest.raises(WrongSettings) as error:
            load(f"[{section}]\n{name} = {said}", tmp_path)
        assert str(error.value).startswith(f"{tmp_path / 'relay.toml'}: {key}: must be ")
        assert "\n" not in str(error.value)
        with pytest.raises(WrongSettings):
            load(None, tmp_path, {setting.variable: said})
    assert isinstance(setting.default, (int, float))
    assert low <= setting.default <= high


async def reconnected(stack: AsyncExitStack, opened: House, user: str) -> Client | None:
    """Connect a device; None while its last connection, the only one that is allowed, has not ended yet."""
    try:
        return await stack.enter_async_context(opened.device(user))
    except Refused:
        return None


@pytest.mark.parametrize("end", [0, 1])
async def test_a_relay_runs_with_every_number_at_its_smallest_or_largest(end: int, tmp_path: Path) -> None:
    """A relay with a retention of 10**15 days ended at each start, and one with endless invites could make none."""
    lines = ["[http]"]
    for setting in NUMBERS:
        section, _, name = setting.key.rpartition(".")
        lines += [f"[{section}]"] * (f"[{section}]" not in lines) + [f"{name} = {ends_of(setting)[end]!r}"]
    settings = load("\n".join(lines), tmp_path).settings
    async with (
        open_relay(tmp_path, frame=frames.encode_text, settings=settings) as relay,
        trio.open_nursery() as nursery,
    ):
        opened = House(relay, Server(relay), nursery)
        await opened.add_user("anna")
        async with opened.device("anna") as anna:
            said = await anna.request("new", chatId="anna", clientMessageId="1", message="hello")
            assert said["messageId"] == 1
        # The device was away, so that `auth.device_days` counts.
        async with AsyncExitStack() as stack:
            with trio.fail_after(10):
                while not (again := await reconnected(stack, opened, "anna")):
                    await trio.sleep(0.01)
            assert len(await again.request("chats")) == 1
        for name, asked in (
            ("invite", control.AddInvite(user_id="ben", new=True)),
            ("invite.list", control.Empty()),
            ("prune", control.Prune()),
            ("prune", control.Prune(days=MAX_DAYS, max_bytes=MAX_BYTES)),
            ("status.show", control.Empty()),
        ):
            assert await relay.admin.handle(name, asked) is not None
        with trio.move_on_after(0.2):
            await relay.retention.run()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "RELAY_LIMIT_CONNECTIONS",
            "7",
            "the variable RELAY_LIMIT_CONNECTIONS is unknown: did you mean RELAY_LIMITS_CONNECTIONS?",
        ),
        ("RELAY_LIMIT_X", "7", "the variable RELAY_LIMIT_X is unknown: did you mean RELAY_LIMITS_…?"),
        ("RELAY_LISTENS", "a:1", "the variable RELAY_LISTENS is unknown: did you mean RELAY_LISTEN?"),
        ("RELAY_QQQ", "1", "the variable RELAY_QQQ is unknown; `relay config show` names all"),
        ("RELAY_LIMITS_BURST", "x", 'RELAY_LIMITS_BURST: limits.burst: must be a whole number, not "x"'),
    ],
)
def test_invalid_environment_variable_is_reported_too(variable: str, value: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WrongSettings) as error:
        load(None, tmp_path, {variable: value})
    assert str(error.value) == said


def test_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="there is no settings file"):
        Loaded(tmp_path / "none.toml", options={}, environment={})


def test_default_file_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    loaded = load(default_file(), tmp_path)
    assert all(source == "default" for _, _, source in loaded.values())


def test_default_file_with_all_lines_in_force_is_valid(tmp_path: Path) -> None:
    lines = default_file().splitlines()
    text = "\n".join(line.removeprefix("# ") if " = " in line else line for line in lines)
    loaded = load(text, tmp_path)
    for setting, value, source in loaded.values():
        assert value == setting.default
        assert source != "default"


def test_every_setting_has_a_description() -> None:
    assert [setting.key for setting in declared() if not setting.description] == []


def test_reload_applies_changes_and_names_those_that_wait(tmp_path: Path) -> None:
    loaded = load("[limits]\nburst = 5", tmp_path)
    limits = loaded.settings.limits
    (tmp_path / "relay.toml").write_text('listen = ["x:1"]\n[limits]\nburst = 6')
    assert loaded.reload() == (["limits.burst"], ["listen"])
    assert limits.burst == 6
    assert loaded.settings.listen == ["0.0.0.0:8765"]


def test_a_wrong_file_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    loaded = load("[limits]\nburst = 5", tmp_path)
    (tmp_path / "relay.toml").write_text("[limits]\nburst = 6\nfoo = 1")
    with pytest.raises(WrongSettings):
        loaded.reload()
    assert loaded.settings.limits.burst == 5


@pytest.mark.parametrize("key", [setting.key for setting in declared()])
def test_misspelled_section_gets_a_hint_of_the_same_setting(key: str, tmp_path: Path) -> None:
    section, _, name = key.rpartition(".")
    if not section:
        return
    with pytest.raises(WrongSettings, match=f"did you mean {key}\\?"):
        load(f"[{section[:-1]}]\n{name} = 1", tmp_path)


def test_file_saved_on_windows_is_read(tmp_path: Path) -> None:
    # oauth2-proxy/oauth2-proxy#2551, influxdata/telegraf#1378.
    file = tmp_path / "relay.toml"
    file.write_bytes(b"\xef\xbb\xbf[limits]\r\nconnections = 50\r\n")
    assert Loaded(file, options={}, environment={}).settings.limits.connections == 50


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_file_in_another_encoding_is_refused_with_advice(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_bytes("# Büro\n".encode(encoding))
    with pytest.raises(WrongSettings, match="is not in UTF-8, as TOML must be: save it so"):
        Loaded(file, options={}, environment={})


def test_the_data_directory_may_have_a_colon_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/relay:/var/lib/relay/backups")
    assert data_directory() == Path("/var/lib/relay")
    monkeypatch.setenv("RELAY_DATA", "/srv/10:30")
    assert data_directory() == Path("/srv/10:30")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove everything that names a data directory; return the path of the package's."""
    for name in ("RELAY_DATA", "STATE_DIRECTORY", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "package"


def test_own_program_uses_the_users_data_if_the_packages_is_not_writable(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare.mkdir()
    monkeypatch.setenv("HOME", "/home/ben")
    assert data_directory(package=bare) == bare
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert data_directory(package=bare) == Path("/home/ben/.local/share/chat-relay")
    assert data_directory(package=bare, program=Path(locations.__file__).parent) == bare


def account(monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    """Make the password database return this home."""

    def found(_uid: int) -> pwd.struct_passwd:
        if home is None:
            raise KeyError
        return pwd.struct_passwd(("anna", "x", 1, 1, "", home, "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwuid", found)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "/home/anna/.local/share/chat-relay"),
        ({"HOME": ""}, "/home/anna/.local/share/chat-relay"),
        ({"HOME": "somewhere"}, "/home/anna/.local/share/chat-relay"),
        ({"HOME": "/home/ben"}, "/home/ben/.local/share/chat-relay"),
        ({"HOME": "/home/ben", "XDG_DATA_HOME": "data"}, "/home/ben/.local/share/chat-relay"),
        ({"HOME": "/home/ben", "XDG_DATA_HOME": "/srv"}, "/srv/chat-relay"),
    ],
)
def test_users_own_directory_does_not_depend_on_the_working_directory(
    bare: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], found: str
) -> None:
    account(monkeypatch, "/home/anna")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert data_directory(package=bare) == Path(found)


@pytest.mark.parametrize("home", [None, "", "anna"])
def test_user_without_a_home_must_name_the_directory(
    bare: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    account(monkeypatch, home)
    with pytest.raises(WrongSettings, match="name a directory with --data"):
        data_directory(package=bare)
    assert data_directory(Path("/srv")) == Path("/srv")
    if not INSTALLED_DATA.exists():
        ran = run("user", "list")
        assert (ran.code, ran.err.count("\n")) == (1, 1)
        assert "name a directory with --data" in ran.err


@pytest.mark.parametrize("uid", [0, 1000])
def test_every_command_of_a_packaged_relay_uses_the_packages_directory(
    bare: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("HOME", "/home/anna")
    bare.mkdir()
    assert data_directory(package=bare) == bare, "though there is no store in it, which a restore would bring"
    bare.rmdir()
    bare.symlink_to("not-mounted")
    assert data_directory(package=bare) == bare
    bare.unlink()
    assert data_directory(package=bare) == Path("/home/anna/.local/share/chat-relay")


def test_an_installed_settings_file_that_is_a_dangling_link_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.symlink_to("not-mounted.toml")
    with pytest.raises(WrongSettings) as error:
        Loaded(options={}, environment={}, installed=file)
    assert str(error.value) == f"{file} is a link to {tmp_path / 'not-mounted.toml'}, which is not there"


def test_a_pipe_in_place_of_the_settings_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    os.mkfifo(file)
    with pytest.raises(WrongSettings, match="not a regular file"):
        Loaded(file, options={}, environment={})
    assert Loaded(Path(os.devnull), options={}, environment={}).settings.listen
