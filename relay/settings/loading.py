"""Reads the settings: from the command line, the environment and a file, in this order of precedence."""

import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import inspect

from relay.settings.catalog import VARIABLE_PREFIX, Setting, declared, toml_value
from relay.settings.errors import WrongSettings
from relay.settings.locations import INSTALLED_FILE
from relay.settings.regular_files import check_regular
from relay.settings.sections import Section, Settings, SettingValue
from relay.settings.suggestions import nearest
from relay.unicode import addresses

NOT_SETTINGS = {"RELAY_DATA", "RELAY_CONFIG"}
"""Variables that name places instead of settings."""


class Loaded:
    """The settings in force, and the source of each."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        options: Mapping[str, SettingValue | None],
        environment: Mapping[str, str],
        installed: Path = INSTALLED_FILE,
    ) -> None:
        """Read the settings.

        Args:
            file: the settings file; by default that in `RELAY_CONFIG`, or the installed one if it exists.
            options: options of the command line, by key; they take precedence over everything else.
            environment: the environment of the process; it takes precedence over the file.
            installed: the file of the installed relay.

        Raises:
            WrongSettings: a name is unknown or a value is invalid.
        """
        self._options = {key: value for key, value in options.items() if value is not None}
        self._environment = environment
        named = file or (Path(environment["RELAY_CONFIG"]) if environment.get("RELAY_CONFIG") else None)
        # A dangling link counts: its missing target has settings that matter.
        self.file = named or (installed if os.path.lexists(installed) else None)
        self.settings, self.sources = self._read()

    def reload(self) -> tuple[list[str], list[str]]:
        """Reload the settings, and change those in place that may change while the relay runs.

        Returns:
            The keys that changed, and those that wait for the next start.

        Raises:
            WrongSettings: the settings are invalid; nothing was changed.
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

    def values(self) -> Iterator[tuple[Setting, SettingValue, str]]:
        """List all settings.

        Yields:
            The setting, its value, and the source of the value.
        """
        for setting in declared():
            section, name = _place(self.settings, setting.key)
            yield setting, getattr(section, name), self.sources.get(setting.key, "default")

    def _read(self) -> tuple[Settings, dict[str, str]]:
        known = {setting.key: setting for setting in declared()}
        layers: list[tuple[Mapping[str, object], Callable[[str], str]]] = [
            (_from_file(self.file, known) if self.file else {}, self._file_name),
            (_from_environment(self._environment, known), lambda key: known[key].variable),
            (self._options, lambda key: f"--{key}"),
        ]
        given: dict[str, object] = {}
        sources: dict[str, str] = {}
        for values, name in layers:
            given |= values
            sources |= {key: name(key) for key in values}
        for key, source in sources.items():
            value = _check(key, given[key], source, strict=source == str(self.file))
            if known[key].networks:
                assert isinstance(value, list)
                _check_networks(key, value, source)
            if known[key].hosts:
                assert isinstance(value, list)
                _check_hosts(key, value, source)
            if known[key].web_address:
                assert isinstance(value, str)
                _check_web_address(key, value, source)
        return msgspec.convert(_tree(given), Settings, strict=False), sources

    def _file_name(self, _key: str) -> str:
        return str(self.file)


def _place(settings: Settings, key: str) -> tuple[Section, str]:
    section, _, name = key.rpartition(".")
    return getattr(settings, section) if section else settings, name


def _tree(values: Mapping[str, object]) -> dict[str, object]:
    """Sort values by their keys into tables, one for each section."""
    tree: dict[str, object] = {}
    sections: dict[str, dict[str, object]] = {"": tree}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section not in sections:
            tree[section] = sections[section] = {}
        sections[section][name] = value
    return tree


def _hint(meant: str) -> str:
    return f": did you mean {meant}?" if meant else "; `relay config show` names all"


def _from_file(path: Path, known: Mapping[str, Setting]) -> dict[str, object]:
    import tomllib

    try:
        check_regular(path)
        # Windows editors may add a byte order mark, or use another encoding.
        tree = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        if path.is_symlink():
            raise WrongSettings(f"{path} is a link to {os.path.realpath(path)}, which is not there") from None
        raise WrongSettings(f"there is no settings file {path}") from None
    except OSError as error:
        raise WrongSettings(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongSettings(f"{path} is not in UTF-8, as TOML must be: save it so") from None
    except tomllib.TOMLDecodeError as error:
        raise WrongSettings(f"{path} is not valid TOML{_toml_mistake(str(error))}") from None
    found: dict[str, object] = {}
    _flatten(tree, "", known, found, path)
    return found


_TOML_MISTAKES = (
    (re.compile("Cannot|Duplicate"), "this section or setting is there already"),
    (re.compile("Invalid value"), "a value is expected: a number, true, false, a list in [ ], or a text in quotes"),
    (re.compile("Expected '='|Invalid statement|initial character"), "`name = value` or `[section]` is expected"),
    (re.compile("Unescaped|Escaped"), r"in double quotes \ begins a sign of its own: write \\, or single quotes"),
    (re.compile("Illegal|Found"), "there is a character that cannot be there"),
    (re.compile("Unterminated|Unclosed|Expected"), "a quote, a bracket or a line break is missing"),
    (re.compile(""), "this is a mistake"),
)
_TOML_PLACE = re.compile(r"\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def _toml_mistake(error: str) -> str:
    """Say where and what a mistake is, in our words; the library's texts are for programmers."""
    place = _TOML_PLACE.search(error)
    where = "" if place is None else f" at line {place['line']}" if place["line"] else " at its end"
    return f"{where}: {next(words for kind, words in _TOML_MISTAKES if kind.match(error))}"


def _flatten(
    tree: Mapping[str, object], within: str, known: Mapping[str, Setting], found: dict[str, object], path: Path
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
            raise WrongSettings(f"{path}: {wrong} is unknown{_hint(nearest(wrong, known))}")


def _from_environment(environment: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, object]:
    variables = {setting.variable: setting for setting in known.values()}
    found: dict[str, object] = {}
    for name, text in environment.items():
        if not name.startswith(VARIABLE_PREFIX) or name in NOT_SETTINGS:
            continue
        setting = variables.get(name)
        if setting is None:
            # The first word is the section; no section has two words.
            meant = nearest(name.removeprefix(VARIABLE_PREFIX).lower().replace("_", ".", 1), known)
            variable = (
                known[meant].variable
                if meant in known
                else meant and VARIABLE_PREFIX + meant.strip("[]").upper() + "_…"
            )
            raise WrongSettings(f"the variable {name} is unknown{_hint(variable)}")
        several = isinstance(setting.kind, inspect.ListType)
        found[setting.key] = [one for part in text.split(",") if (one := part.strip())] if several else text
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


def _check_hosts(key: str, names: list[str], source: str) -> None:
    """Refuse what the rule of hosts does not take: a request that names it would be refused nevertheless."""
    for one in names:
        name = one.removeprefix("*.")
        host, _ = addresses.split_host(name)
        if one != "*" and not addresses.is_address(one) and (not host or (":" in name and not name.endswith("]"))):
            raise WrongSettings(
                f"{source}: {key}: must be host names as in chat.example.org or *.example.org, without http:// and"
                f" without a port, not {one!r}"
            )


def _check_web_address(key: str, url: str, source: str) -> None:
    """Refuse an address that browsers would not open, or that has more than a scheme, a host and a port."""
    parsed = addresses.parse(url)
    rest = url.partition("://")[2].removesuffix("/")
    if url and (parsed is None or any(one in rest for one in "/?#@\\")):
        raise WrongSettings(
            f"{source}: {key}: must be an address that browsers open, as in https://chat.example.org or"
            f" http://10.0.0.5:8080, without a path, not {url!r}"
        )


def _check(key: str, given: object, source: str, *, strict: bool) -> SettingValue:
    """Convert one value alone, so that an error can name its place."""
    try:
        section, name = _place(msgspec.convert(_tree({key: given}), Settings, strict=strict), key)
    except msgspec.ValidationError as error:
        raise WrongSettings(f"{source}: {key}: {_explain(error)}, not {toml_value(given)}") from None
    value: SettingValue = getattr(section, name)
    return value


_WORDS = {"array": "a list", "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _explain(error: msgspec.ValidationError) -> str:
    what = str(error).split(" - at ")[0].split(", got ")[0]
    if what.startswith("Invalid enum value"):
        return "must be one of those that its description names"
    for word, plain in _WORDS.items():
        what = what.replace(f"`{word}`", plain)
    return what.replace("Expected", "must be").replace("`", "")
