"""Every setting: its name, type, unit and default."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

AT_START = {"atStart": True}
"""Marks a setting that takes effect only at the next start."""

NETWORKS = {"networks": True}
"""Marks a list of addresses and networks."""

HOSTS = {"hosts": True}
"""Marks a list of host names."""

WEB_ADDRESS = {"webAddress": True}
"""Marks a web address without a path."""


MAX_BYTES = 2**53 - 1
"""Bytes that a setting may name at most: the largest number that every program reads exactly, and SQLite can add to."""
MAX_COUNT = 1_000_000_000
MAX_DAYS = 1_000_000
"""For ever, to people. Every number has a bound, so that whatever is set can be counted with."""

SettingValue = bool | int | float | str | list[str]
"""The value of a setting."""


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class LimitsSection(Section):
    """Limits per relay and per user."""

    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_COUNT,
            description="Connections at a time; further ones get HTTP 503.",
            extra={"unit": "connections"},
        ),
    ] = 4_000
    connections_per_user: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_COUNT,
            description="Connections of one user at a time; further ones get HTTP 503.",
            extra={"unit": "connections"},
        ),
    ] = 32
    frame_bytes: Annotated[
        int,
        Meta(
            ge=1_024,
            le=2**26,
            description="The largest message a client may send in one frame.",
            extra={"unit": "bytes"},
        ),
    ] = 262_144
    requests_per_second: Annotated[
        float,
        Meta(
            ge=0,
            le=MAX_COUNT,
            description="Requests of one user, on average; 0 for no limit. An expensive request counts as several.",
            extra={"unit": "requests/s"},
        ),
    ] = 2_000.0
    burst: Annotated[
        int,
        Meta(ge=1, le=MAX_COUNT, description="Requests that one user may make at once.", extra={"unit": "requests"}),
    ] = 4_000
    groups_per_day: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_COUNT,
            description="Groups and channels that one user may make in a day; 0 for no limit.",
            extra={"unit": "groups"},
        ),
    ] = 100


class HttpSection(Section):
    """The web page, and access to it."""

    public_url: Annotated[
        str,
        Meta(
            description="Where browsers reach the relay, for links: https://chat.example.org;"
            " empty for the machine's address.",
            extra=WEB_ADDRESS,
        ),
    ] = ""
    hosts: Annotated[
        list[str],
        Meta(
            description="Host names of this relay besides the machine's own. Requests for others are refused, "
            "since a foreign page could be behind them. *.example.org allows all names within "
            "example.org, * any name.",
            extra=AT_START | HOSTS,
        ),
    ] = msgspec.field(default_factory=list)
    metrics_from: Annotated[
        list[str],
        Meta(description="Networks that may read /metrics.", extra=AT_START | NETWORKS),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Addresses of reverse proxies in front of the relay. The rightmost address in "
            "X-Forwarded-For that is none of theirs counts as the client's. 127.0.0.1 for a proxy on "
            "this machine.",
            extra=AT_START | NETWORKS,
        ),
    ] = msgspec.field(default_factory=list)


class FilesSection(Section):
    """Limits on uploads."""

    file_bytes: Annotated[int, Meta(ge=0, le=MAX_BYTES, description="The largest file.", extra={"unit": "bytes"})] = (
        2**30
    )
    user_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_BYTES,
            description="All files of one user together; each counts as at least 4096.",
            extra={"unit": "bytes"},
        ),
    ] = 10 * 2**30
    elsewhere: Annotated[
        bool,
        Meta(description="Whether a message may link a file that is stored elsewhere, by its http(s) URL."),
    ] = True
    total_bytes: Annotated[
        int, Meta(ge=0, le=MAX_BYTES, description="All files together.", extra={"unit": "bytes"})
    ] = 100 * 2**30
    free_bytes: Annotated[
        int, Meta(ge=0, le=MAX_BYTES, description="Space that uploads leave free on the disk.", extra={"unit": "bytes"})
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
        str, Meta(description="Its private key; empty if that is in the certificate file.", extra=AT_START)
    ] = ""
    names: Annotated[
        list[str],
        Meta(description="Names and addresses in the relay's own certificate, besides the machine's."),
    ] = msgspec.field(default_factory=list)
    redirect: Annotated[
        bool,
        Meta(description="Whether requests without TLS are redirected to https://; else they are served as they are."),
    ] = True


class AuthSection(Section):
    """Signing in."""

    open: Annotated[
        bool,
        Meta(
            description="Whether anybody who reaches the relay may sign in with a name of their choice: for a "
            "field kit."
        ),
    ] = False
    invite_hours: Annotated[
        float, Meta(gt=0, le=24 * MAX_DAYS, description="How long an invite is valid.", extra={"unit": "hours"})
    ] = 72.0
    device_days: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_DAYS,
            description="A device that has not connected for this long has to sign in again; 0 for never.",
            extra={"unit": "days"},
        ),
    ] = 0


class RetentionSection(Section):
    """How long messages are kept; 0 keeps them forever."""

    days: Annotated[
        int,
        Meta(
            ge=0, le=MAX_DAYS, description="Messages older than this are removed; 0 keeps all.", extra={"unit": "days"}
        ),
    ] = 0
    max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_BYTES,
            description="The oldest messages are removed when the store is larger; 0 for any size.",
            extra={"unit": "bytes"},
        ),
    ] = 0


class ClockSection(Section):
    """When the machine's clock is trusted."""

    plausible_days: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_DAYS,
            description="How far the machine's clock may be from the log's last time to be believed without NTP "
            "or a real-time clock. Beyond that nothing is deleted or expires (relay clock trust).",
            extra={"unit": "days"},
        ),
    ] = 7


class StoreSection(Section):
    """The disk that the store is on."""

    reserve_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_BYTES,
            description="Space reserved on the disk, at most a quarter of it, so that a full disk can still be "
            "read and pruned; 0 for none.",
            extra={"unit": "bytes"} | AT_START,
        ),
    ] = 16 * 2**20


class LogSection(Section):
    """The relay's log, which never contains users' messages or tokens."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The lowest level that is logged: debug, info, warning or error."),
    ] = "info"


class Settings(Section):
    """All sections of `relay.toml`."""

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
