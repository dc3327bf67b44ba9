"""The settings of a relay. Reads a file and the environment, nothing else.

Code that needs a setting keeps its section and reads it at each use, because `Loaded.reload` changes the sections in
place. A setting that is read only at the start is marked `AT_START`.
"""

from relay.settings.catalog import Setting, declared, default_file, toml_value
from relay.settings.errors import WrongSettings
from relay.settings.loading import Loaded
from relay.settings.locations import control_socket, data_directory, runtime_directory
from relay.settings.sections import (
    MAX_BYTES,
    MAX_DAYS,
    AuthSection,
    ClockSection,
    FilesSection,
    HttpSection,
    LimitsSection,
    LogSection,
    RetentionSection,
    Settings,
    StoreSection,
    TlsSection,
)

__all__ = [
    "MAX_BYTES",
    "MAX_DAYS",
    "AuthSection",
    "ClockSection",
    "FilesSection",
    "HttpSection",
    "LimitsSection",
    "Loaded",
    "LogSection",
    "RetentionSection",
    "Setting",
    "Settings",
    "StoreSection",
    "TlsSection",
    "WrongSettings",
    "control_socket",
    "data_directory",
    "declared",
    "default_file",
    "runtime_directory",
    "toml_value",
]
