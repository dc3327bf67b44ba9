"""The settings: one Struct holds every name, type, unit and default. Reads a file and the environment, nothing else.

Whoever needs a setting keeps the section it is in and reads it when it matters, so that `Loaded.reload` can
change it under them. A setting that is only read at the start says so (`AT_START`).
"""

import difflib
import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, inspect

INSTALLED = Path("/etc/relay/relay.toml")
"""The settings file that is read when it is there and no other is named."""
INSTALLED_DATA = Path("/var/lib/relay")
"""The data directory of the package; it exists wherever the package is installed, or was and has left data."""
INSTALLED_SOCKET = Path("/run/relay/relay.sock")
PREFIX = "RELAY_"
NO_SETTINGS = {"RELAY_DATA", "RELAY_CONFIG"}
"""Variables that say where things are and are no settings."""

AT_START = {"atStart": True}
"""For a setting that takes effect at the next start only."""

Count = Annotated[int, Meta(ge=1)]
NETWORKS = {"networks": True}
"""For a list of addresses and networks."""


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class LimitsSection(Section):
    """How much one relay and one user may use."""

    connections: Annotated[
        int, Meta(ge=1, description="Connections at a time; further ones get HTTP 503.", extra={"unit": "connections"})
    ] = 4_000
    connections_per_user: Annotated[
        int,
        Meta(
            ge=1,
            description="Connections of one user at a time; further ones get HTTP 503.",
            extra={"unit": "connections"},
        ),
    ] = 32
    frame_bytes: Annotated[
        int,
        Meta(ge=1_024, description="The largest message a client may send in one frame.", extra={"unit": "bytes"}),
    ] = 262_144
    requests_per_second: Annotated[
        float,
        Meta(
            ge=0,
            description="Requests that one user may make, on average; 0 for no limit. One that asks or causes much"
            " counts as several.",
            extra={"unit": "requests/s"},
        ),
    ] = 2_000.0
    burst: Annotated[
        int, Meta(ge=1, description="Requests that one user may make at once.", extra={"unit": "requests"})
    ] = 4_000
    groups_per_day: Annotated[
        int,
        Meta(
            ge=0,
            description="Groups and channels that one user may make in a day; 0 for no limit.",
            extra={"unit": "groups"},
        ),
    ] = 100


class HttpSection(Section):
    """The web page and who may reach it."""

    public_url: Annotated[
        str,
        Meta(
            description="Where browsers reach the relay, for links: https://chat.example.org;"
            " empty for the machine's address.",
            pattern=r"^$|^https?://[^/]+$",
        ),
    ] = ""
    hosts: Annotated[
        list[str],
        Meta(
            description="Names of this relay beside the machine's own: others are refused, since a strange page"
            " could be behind them. *.example.org for all within, * for any.",
            extra=AT_START,
        ),
    ] = msgspec.field(default_factory=list)
    metrics_from: Annotated[
        list[str],
        Meta(description="Networks that may read /metrics.", extra=AT_START | NETWORKS),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Addresses of reverse proxies in front of the relay: of their X-Forwarded-For the rightmost"
            " address that is none of theirs counts as the visitor's. 127.0.0.1 for one on this machine.",
            extra=AT_START | NETWORKS,
        ),
    ] = msgspec.field(default_factory=list)


class FilesSection(Section):
    """How much may be uploaded."""

    file_bytes: Annotated[int, Meta(ge=0, description="The largest file.", extra={"unit": "bytes"})] = 2**30
    user_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="What one user's files may have together; each counts for 4096 at least.",
            extra={"unit": "bytes"},
        ),
    ] = 10 * 2**30
    elsewhere: Annotated[
        bool,
        Meta(description="Whether a message may name a file that lies elsewhere, by its http(s) address."),
    ] = True
    total_bytes: Annotated[
        int, Meta(ge=0, description="What all files may have together.", extra={"unit": "bytes"})
    ] = 100 * 2**30
    free_bytes: Annotated[
        int, Meta(ge=0, description="What uploads must leave free on the disk.", extra={"unit": "bytes"})
    ] = 512 * 2**20


class TlsSection(Section):
    """Encrypted connections."""

    on: Annotated[bool, Meta(description="Whether to speak TLS.", extra=AT_START)] = False
    certificate: Annotated[
        str,
        Meta(
            description="A certificate file (PEM, with its chain); empty for that of `relay tls init`.", extra=AT_START
        ),
    ] = ""
    key: Annotated[
        str, Meta(description="Its private key; empty where that is in the certificate file.", extra=AT_START)
    ] = ""
    names: Annotated[
        list[str],
        Meta(description="Names and addresses that the relay's own certificate is for, beside the machine's."),
    ] = msgspec.field(default_factory=list)
    redirect: Annotated[
        bool, Meta(description="Whether who comes without TLS is sent to https://; else they are served as they come.")
    ] = True


class AuthSection(Section):
    """How people sign in."""

    open: Annotated[
        bool, Meta(description="Whether anybody who reaches the relay may pick a name and is in: for a field kit.")
    ] = False
    invite_hours: Annotated[
        float, Meta(gt=0, description="How long an invite is good for.", extra={"unit": "hours"})
    ] = 72.0
    device_days: Annotated[
        int,
        Meta(
            ge=0,
            description="A device that was not here for so long has to sign in again; 0 for never.",
            extra={"unit": "days"},
        ),
    ] = 0


class RetentionSection(Section):
    """How long what was said is kept. 0 keeps it for ever."""

    days: Annotated[
        int,
        Meta(ge=0, description="Messages older than this are removed; 0 keeps all.", extra={"unit": "days"}),
    ] = 0
    max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="The oldest messages go when the store is larger; 0 for any size.",
            extra={"unit": "bytes"},
        ),
    ] = 0


class ClockSection(Section):
    """When the machine's clock is believed."""

    plausible_days: Annotated[
        int,
        Meta(
            ge=1,
            description="How far from the log's last time the machine's clock is believed where neither NTP nor a"
            " real-time clock vouches for it; beyond, nothing is deleted or ends by time (relay clock trust).",
            extra={"unit": "days"},
        ),
    ] = 7


class StoreSection(Section):
    """The disk that the store is on."""

    reserve_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Set aside on the disk, a quarter of it at most, so that a full one can still be read and"
            " pruned; 0 for nothing.",
            extra={"unit": "bytes"} | AT_START,
        ),
    ] = 16 * 2**20


class LogSection(Section):
    """What the relay says about itself. Never what people say, and never a token."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least that is logged: debug, info, warning or error."),
    ] = "info"


class Settings(Section):
    """What may be set in `relay.toml`."""

    listen: Annotated[
        list[str],
        Meta(min_length=1, description="Where to listen, HOST:PORT each; [::]:PORT for IPv6 and IPv4.", extra=AT_START),
    ] = msgspec.field(default_factory=lambda: ["0.0.0.0:8765"])
    http: HttpSection = msgspec.field(default_factory=HttpSection)
    tls: TlsSection = msgspec.field(default_factory=TlsSection)
    auth: AuthSection = msgspec.field(default_factory=AuthSection)
    files: FilesSection = msgspec.field(default_factory=FilesSection)
    limits: LimitsSection = msgspec.field(default_factory=LimitsSection)
    retention: RetentionSection = msgspec.field(default_factory=RetentionSection)
    clock: ClockSection = msgspec.field(default_factory=ClockSection)
    store: StoreSection = msgspec.field(default_factory=StoreSection)
    log: LogSection = msgspec.field(default_factory=LogSection)


class WrongSettings(Exception):
    """What is wrong in the settings, and where, in one line for a person."""


class Setting(NamedTuple):
    """One setting as the Struct declares it."""

    key: str
    """With its section: `limits.connections`."""
    kind: inspect.Type
    default: Any
    description: str
    unit: str
    at_start: bool
    """Whether a change takes effect at the next start only."""
    networks: bool = False
    """Whether it lists addresses and networks."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.replace(".", "_").upper()


def declared(section: type[msgspec.Struct] = Settings, within: str = "") -> Iterator[Setting]:
    """Every setting there is, in the Struct's order."""
    info = inspect.type_info(section)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        key = within + field.name
        kind = field.type
        if isinstance(kind, inspect.StructType):
            yield from declared(kind.cls, f"{key}.")
            continue
        described: dict[str, Any] = {}
        while isinstance(kind, inspect.Metadata):
            described |= (kind.extra_json_schema or {}) | (kind.extra or {})
            kind = kind.type
        default: Any = field.default
        if default is msgspec.NODEFAULT:
            default = field.default_factory()
        yield Setting(
            key,
            kind,
            default,
            described.get("description", ""),
            described.get("unit", ""),
            described.get("atStart", False),
            described.get("networks", False),
        )


class Loaded:
    """The settings in force, and where each comes from."""

    def __init__(self, file: Path | None = None, *, options: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Read them.

        Args:
            file: the settings file; the installed one, if it is there, where None is given.
            options: what the command line says, by key: it goes before all else.
            environment: the process's variables: they go before the file.

        Raises:
            WrongSettings: an unknown name or a value that cannot be.
        """
        self._options = {key: value for key, value in options.items() if value is not None}
        self._environment = environment
        named = file or (Path(environment["RELAY_CONFIG"]) if environment.get("RELAY_CONFIG") else None)
        self.file = named or (INSTALLED if INSTALLED.exists() else None)
        self.settings, self.sources = self._read()

    def reload(self) -> tuple[list[str], list[str]]:
        """Read all again and let what may change do so, in the same Structs.

        Returns:
            The keys that changed, and those that wait for the next start.

        Raises:
            WrongSettings: nothing was changed then.
        """
        fresh, self.sources = self._read()
        changed, waiting = [], []
        for setting in declared():
            section, name = _place(self.settings, setting.key)
            value = getattr(_place(fresh, setting.key)[0], name)
            if value != getattr(section, name):
                if setting.at_start:
                    waiting.append(setting.key)
                else:
                    setattr(section, name, value)
                    changed.append(setting.key)
        return changed, waiting

    def values(self) -> Iterator[tuple[Setting, Any, str]]:
        """Each setting, its value, and where that comes from."""
        for setting in declared():
            section, name = _place(self.settings, setting.key)
            yield setting, getattr(section, name), self.sources.get(setting.key, "default")

    def _read(self) -> tuple[Settings, dict[str, str]]:
        known = {setting.key: setting for setting in declared()}
        layers: list[tuple[dict[str, Any], Callable[[str], str]]] = [
            (_from_file(self.file, known) if self.file else {}, self._file_name),
            (_from_environment(self._environment, known), lambda key: known[key].variable),
            (self._options, lambda key: f"--{key}"),
        ]
        tree: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for values, name in layers:
            for key, value in values.items():
                sources[key] = name(key)
                *sections, last = key.split(".")
                node = tree
                for section in sections:
                    node = node.setdefault(section, {})
                node[last] = value
        for key, source in sources.items():
            value = _check(key, tree, source, strict=source == str(self.file))
            if known[key].networks:
                _check_networks(key, value, source)
        return msgspec.convert(tree, Settings, strict=False), sources

    def _file_name(self, _key: str) -> str:
        return str(self.file)


def _place(settings: Settings, key: str) -> tuple[Any, str]:
    *sections, last = key.split(".")
    node: Any = settings
    for section in sections:
        node = getattr(node, section)
    return node, last


LIKE = 0.6
"""How much a name must have in common with the one that was meant (difflib's ratio)."""
VERY_LIKE = 0.8
"""The same, where the section is another one."""
PART = 3
"""Characters from which on a part of a name stands for it."""


def _nearest(key: str, known: Iterable[str]) -> str:
    """Name the setting, or at least the section, that was meant; empty where it cannot be told.

    The section decides first: what keys have in common with their section would make any of them near.
    """
    sections: dict[str, list[str]] = {}
    for one in known:
        section, _, name = one.rpartition(".")
        sections.setdefault(section, []).append(name)
    section, _, name = key.rpartition(".")
    meant = section if section in sections else _closest(section, sections, LIKE)
    if meant is not None:
        names = sections[meant]
        found = _closest(name, names, LIKE) or next((one for one in names if _is_part(name, one)), None)
        if found is not None:
            return f"{meant}.{found}".lstrip(".")
    for other, names in sections.items():
        if (found := _closest(name, names, VERY_LIKE)) is not None:
            return f"{other}.{found}".lstrip(".")
    table = _closest(key, sections, LIKE) if not section else meant if meant != section else None
    return f"[{table}]" if table else ""


def _closest(name: str, names: Iterable[str], least: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, [one for one in names if one], 1, least)), None)


def _is_part(name: str, other: str) -> bool:
    return min(len(name), len(other)) >= PART and (name in other or other in name)


def _hint(meant: str) -> str:
    return f": did you mean {meant}?" if meant else "; `relay config show` names all"


def _from_file(path: Path, known: Mapping[str, Setting]) -> dict[str, Any]:
    import tomllib

    try:
        # Editors on Windows put a mark before the text, and save it in another encoding.
        tree = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise WrongSettings(f"there is no settings file {path}") from None
    except OSError as error:
        raise WrongSettings(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongSettings(f"{path} is no TOML: it is not in UTF-8, save it so") from None
    except tomllib.TOMLDecodeError as error:
        raise WrongSettings(f"{path} is no TOML: {error}") from None
    found: dict[str, Any] = {}
    _flatten(tree, "", known, found, path)
    return found


def _flatten(
    tree: dict[str, Any], within: str, known: Mapping[str, Setting], found: dict[str, Any], path: Path
) -> None:
    for name, value in tree.items():
        key = within + name
        if isinstance(value, dict) and any(one.startswith(f"{key}.") for one in known):
            _flatten(value, f"{key}.", known, found, path)
        elif key in known:
            found[key] = value
        elif any(one.startswith(f"{key}.") for one in known):
            raise WrongSettings(f"{path}: {key} is a table: write [{key}] and its settings below it")
        else:
            wrong = f"{key}.{next(iter(value))}" if isinstance(value, dict) and value else key
            raise WrongSettings(f"{path}: {wrong} is unknown{_hint(_nearest(wrong, known))}")


def _from_environment(environment: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, Any]:
    variables = {setting.variable: setting for setting in known.values()}
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name in NO_SETTINGS:
            continue
        setting = variables.get(name)
        if setting is None:
            # The first word is the section: none has two.
            meant = _nearest(name.removeprefix(PREFIX).lower().replace("_", ".", 1), known)
            variable = known[meant].variable if meant in known else meant and PREFIX + meant.strip("[]").upper() + "_…"
            raise WrongSettings(f"the variable {name} is unknown{_hint(variable)}")
        several = isinstance(setting.kind, inspect.ListType)
        found[setting.key] = [part.strip() for part in text.split(",")] if several else text
    return found


def _check_networks(key: str, networks: list[str], source: str) -> None:
    for one in networks:
        try:
            ipaddress.ip_network(one, strict=False)
        except ValueError:
            if one != "local":
                raise WrongSettings(
                    f"{source}: {key}: must be addresses and networks as in 192.168.1.0/24, not {one!r}"
                ) from None


def _check(key: str, tree: dict[str, Any], source: str, *, strict: bool) -> Any:
    """Convert one value by itself, so that what is wrong can be said with its place; give what it was."""
    node: Any = tree
    *sections, last = key.split(".")
    for section in sections:
        node = node[section]
    alone: Any = {last: node[last]}
    for section in reversed(sections):
        alone = {section: alone}
    try:
        msgspec.convert(alone, Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise WrongSettings(f"{source}: {key}: {_explain(error)}, not {toml_value(node[last])}") from None
    return node[last]


_WORDS = {"array": "a list", "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _explain(error: msgspec.ValidationError) -> str:
    what = str(error).split(" - at ")[0].split(", got ")[0]
    if what.startswith("Invalid enum value"):
        return "must be one of those that its description names"
    for word, plain in _WORDS.items():
        what = what.replace(f"`{word}`", plain)
    return what.replace("Expected", "must be").replace("`", "")


def default_file() -> str:
    """A settings file that says everything there is, each at its default and commented out."""
    lines = [
        "# The settings of the chat relay. Everything here is at its default: remove a # to change it.",
        "# `relay config check` tells whether the file is right, `systemctl reload relay` puts it in force.",
        "# Each can be set as a variable too: limits.connections is RELAY_LIMITS_CONNECTIONS.",
    ]
    section = ""
    for setting in declared():
        within, _, name = setting.key.rpartition(".")
        if within != section:
            section = within
            lines += ["", f"# {_section(within).__doc__}", f"[{within}]"]
        else:
            lines.append("")
        notes = [setting.unit] if setting.unit else []
        if setting.at_start:
            notes.append("at the next start")
        lines.append(f"# {setting.description}" + (f" ({', '.join(notes)})" if notes else ""))
        lines.append(f"# {name} = {toml_value(setting.default)}")
    return "\n".join(lines) + "\n"


def _section(name: str) -> Any:
    return type(getattr(Settings(), name))


def toml_value(value: Any) -> str:
    """A value as TOML has it; of numbers, texts and lists of them JSON writes the same."""
    return msgspec.json.encode(value).decode().replace('","', '", "')


def data_directory(chosen: Path | None = None) -> Path:
    """Find the data directory: the one that is named, else systemd's, else the installed one, else the user's own.

    Args:
        chosen: what `--data` says.
    """
    if chosen is not None:
        return chosen.expanduser()
    if os.environ.get("RELAY_DATA"):
        return Path(os.environ["RELAY_DATA"])
    # systemd.exec(5): of several the first, which in the unit is the relay's.
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":", maxsplit=1)[0])
    # By its directory, which the package makes: its store may be what is missing.
    if INSTALLED_DATA.is_dir():
        return INSTALLED_DATA
    home = os.environ.get("XDG_DATA_HOME") or Path(os.environ.get("HOME", "."), ".local", "share")
    return Path(home, "chat-relay")


def control_socket(data: Path) -> Path:
    """Where the control socket of the relay on a data directory is."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    if runtime:
        return Path(runtime.split(":", maxsplit=1)[0]) / "relay.sock"
    return INSTALLED_SOCKET if data == INSTALLED_DATA and INSTALLED_SOCKET.exists() else data / "relay.sock"
