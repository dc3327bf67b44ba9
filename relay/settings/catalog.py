"""The settings as a list: their keys, environment variables and descriptions, and the commented default file."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import inspect

from relay.settings.sections import Section, Settings, SettingValue

VARIABLE_PREFIX = "RELAY_"


class Setting(NamedTuple):
    """A setting, as declared in a section."""

    key: str
    """The name with its section: `limits.connections`."""
    kind: inspect.Type
    default: SettingValue
    description: str
    unit: str
    at_start: bool
    """Whether a change takes effect only at the next start."""
    networks: bool = False
    """Whether the value is a list of addresses and networks."""
    hosts: bool = False
    """Whether the value is a list of host names."""
    web_address: bool = False
    """Whether the value is a web address without a path."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return VARIABLE_PREFIX + self.key.replace(".", "_").upper()


class _Described(msgspec.Struct, rename="camel"):
    """A section's `Meta` of a setting."""

    description: str = ""
    unit: str = ""
    at_start: bool = False
    networks: bool = False
    hosts: bool = False
    web_address: bool = False


def declared(section: type[msgspec.Struct] = Settings, within: str = "") -> Iterator[Setting]:
    """List every setting, in the order of declaration."""
    info = inspect.type_info(section)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        key = within + field.name
        kind = field.type
        if isinstance(kind, inspect.StructType):
            yield from declared(kind.cls, f"{key}.")
            continue
        meta: dict[str, object] = {}
        while isinstance(kind, inspect.Metadata):
            meta |= (kind.extra_json_schema or {}) | (kind.extra or {})
            kind = kind.type
        default: SettingValue = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        said = msgspec.convert(meta, _Described)
        marks = said.at_start, said.networks, said.hosts, said.web_address
        yield Setting(key, kind, default, said.description, said.unit, *marks)


def toml_value(value: object) -> str:
    """Format a value as TOML; for numbers, texts and lists of them this is the same as JSON."""
    if type(value) in (int, float):
        # JSON has no number above 64 bits, no `inf` and no `nan`.
        return repr(value)
    return msgspec.json.encode(value).decode().replace('","', '", "')


def default_file() -> str:
    """Make a settings file with every setting at its default, commented out."""
    lines = [
        "# The settings of the chat relay. Everything here is at its default: remove a # to change it.",
        "# `relay config check` checks the file, `systemctl reload relay` applies it.",
        "# Each can also be set by an environment variable: limits.connections is RELAY_LIMITS_CONNECTIONS.",
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


def _section(name: str) -> type[Section]:
    section: Section = getattr(Settings(), name)
    return type(section)
