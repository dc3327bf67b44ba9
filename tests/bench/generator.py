"""The Python interface of loadgen.c: builds it if needed, passes it sockets and messages, returns its figures."""

import ctypes as c
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SOURCE = Path(__file__).with_name("loadgen.c")
TEXT, MQTT, RELAY = range(3)
NO_ANSWER, XMPP_ANSWER, MQTT_ANSWER, NATS_ANSWER, RELAY_ANSWER = range(5)

TOKEN = "@@" + "0" * 24
FILL = " the printer on the second floor is out of paper again, could somebody bring a new box up here please"


def text(length: int = 120) -> str:
    """A text of this many bytes that begins with the token's placeholder."""
    return (TOKEN + FILL)[:length].ljust(length, ".")


@dataclass(frozen=True)
class Template:
    """A message template with the offsets of its variable parts; -1 for a missing part."""

    text: bytes
    token_at: int
    id_at: int = -1
    unique_at: int = -1
    packet_at: int = -1


class _Template(c.Structure):
    _fields_ = (
        ("text", c.c_char_p),
        *((name, c.c_int) for name in ("length", "token_at", "id_at", "unique_at", "packet_at")),
    )


class _Plan(c.Structure):
    _fields_ = (
        *((name, c.c_int) for name in ("senders", "receivers", "fan", "window")),
        ("sender_sockets", c.POINTER(c.c_int)),
        ("receiver_sockets", c.POINTER(c.c_int)),
        ("templates", c.POINTER(_Template)),
        *((name, c.c_int) for name in ("protocol", "answers", "needs_answer")),
        ("first", c.c_uint32),
        ("most", c.c_uint64),
        *((name, c.c_double) for name in ("seconds", "rate", "settle")),
        ("server", c.c_int),
    )


class _Quantiles(c.Structure):
    _fields_ = tuple((name, c.c_double) for name in ("p50", "p90", "p99", "p999", "most"))


class _Result(c.Structure):
    _fields_ = (
        *((name, c.c_double) for name in ("seconds", "server_cpu", "generator_cpu")),
        *((name, c.c_uint64) for name in ("sent", "delivered", "answered", "complete", "refused", "left", "bytes_in")),
        *((name, _Quantiles) for name in ("delivery", "last", "done")),
        ("error", c.c_int),
        ("error_number", c.c_int),
    )


ERRORS = {
    1: "the first messages could not be sent",
    2: "the server closed a connection",
    3: "a connection broke",
    4: "a message could not be sent",
    5: "the server closed a connection with a close frame",
    6: "an acknowledgement could not be sent",
    7: "the server fell so far behind the set rate that too much is under way",
}


class LoadError(Exception):
    """The run failed; the text says why."""


_runs = 0


def build(source: Path = SOURCE) -> Path:
    """Compile a C file to a shared library, once for each state of the file."""
    name = f"{source.stem}-{sha256(source.read_bytes()).hexdigest()[:12]}.so"
    library = Path(tempfile.gettempdir()) / name
    if not library.exists():
        fresh = library.with_suffix(".fresh")
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-o", str(fresh), str(source), "-ldl"], check=True, timeout=60
        )
        fresh.rename(library)
    return library


def run(
    senders: Sequence[int],
    receivers: Sequence[int],
    templates: Sequence[Template],
    *,
    protocol: int,
    answers: int = NO_ANSWER,
    needs_answer: bool = False,
    fan: bool = False,
    window: int = 8,
    seconds: float = 5.0,
    rate: float = 0.0,
    settle: float = 0.4,
    most: int = 0,
    server: int = 0,
) -> dict[str, object]:
    """Put load on a server.

    Args:
        senders: sockets that send, each with its template.
        receivers: sockets that receive: one per sender, or with `fan` all of them from the only sender.
        templates: the senders' messages.
        protocol: the framing.
        answers: the text that counts as the server's answer.
        needs_answer: whether a message is complete only when it is answered.
        fan: one sender, and everybody receives.
        window: messages per sender under way at a time.
        seconds: the duration.
        rate: messages per second in total regardless of answers (open loop); 0 for as many as the window allows.
        settle: seconds to wait afterwards for pending messages.
        most: maximum messages per sender, 0 for no limit.
        server: process whose CPU time is measured.

    Raises:
        LoadError: a connection was lost, or the server refused messages.
    """
    global _runs  # noqa: PLW0603 - numbers never come twice on the same connection
    _runs += 1
    library = c.CDLL(str(build()))
    prepared = (_Template * len(templates))(
        *(
            _Template(one.text, len(one.text), one.token_at, one.id_at, one.unique_at, one.packet_at)
            for one in templates
        )
    )
    plan = _Plan(
        len(senders), len(receivers), fan, window,
        (c.c_int * len(senders))(*senders), (c.c_int * len(receivers))(*receivers), prepared,
        protocol, answers, needs_answer,
        _runs << 24 if answers == RELAY_ANSWER else 0, most, seconds, rate, settle, server,
    )  # fmt: skip
    result = _Result()
    library.run_load(c.byref(plan), c.byref(result))
    if result.error:
        raise LoadError(f"{ERRORS[result.error]} (errno {result.error_number})")
    if result.refused:
        raise LoadError(f"the server refused {result.refused} messages")
    figures: dict[str, object] = {}
    for name, *_ in _Result._fields_:
        value = getattr(result, name)
        if isinstance(value, _Quantiles):
            value = {part: round(getattr(value, part), 4) for part, *_ in _Quantiles._fields_}
        figures[name] = round(value, 4) if isinstance(value, float) else value
    return figures
