"""`relay tls`: a certificate authority of the relay's own, for networks without internet."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from relay.cli.control_client import ask, ask_running
from relay.cli.options import Data, Json
from relay.cli.output import Failure, WrongUse, as_json, say, when
from relay.protocol.control.table import STATUS_SHOW
from relay.settings import data_directory
from relay.store.files.directory import STORE, about_file, is_there, make

app = typer.Typer(help="A certificate of the relay's own.", no_args_is_help=True)


@app.command()
def init(
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A further name or address, kept for renewals (can be repeated)."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make another authority, which every device must then trust.")
    ] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make an authority and a certificate for this machine's names and addresses.

    Example: relay tls init --name chat.office.lan
    """
    from relay.net.tls.authority import Authority
    from relay.net.tls.certificates import FOLDER, certificate_names
    from relay.store.files.ownership import hand_over

    directory = data_directory(data)
    authority = Authority(directory / FOLDER)
    now = _credible_now(directory)
    with _plainly(directory):
        make(directory)
        authority.recover()
        chosen = list(dict.fromkeys([*authority.chosen_names, *(name or [])]))
        if again or not authority.exists:
            kept = authority.make(certificate_names(chosen), now, again=again, chosen=chosen)
            if kept and not json:
                print(f"kept      the authority that was there before, in {kept}\n")
        elif name or not authority.key_matches:
            wanted = certificate_names(chosen)
            missing = sorted(set(wanted) - set(authority.permitted(wanted)))
            if missing:
                raise Failure(
                    f"this authority may not vouch for {', '.join(missing)}: --again makes one that may, and every"
                    " device must trust that one again"
                )
            with authority.locked():
                authority.keep_names(chosen)
                authority.issue(wanted, now)
        hand_over(directory)
        _show(directory, json=json)


@app.command()
def show(data: Data = None, json: Json = False) -> None:
    """Show the authority's fingerprint, and what the certificate is for.

    Example: relay tls show
    """
    directory = data_directory(data)
    with _plainly(directory):
        _show(directory, json=json)


def _credible_now(data: Path) -> dt.datetime:
    """Return the time: the relay's while the machine's clock is ahead and nothing vouches for it."""
    from relay.protocol import control

    now = dt.datetime.now(dt.UTC)
    with suppress(Failure, OSError):
        if is_there(data / STORE):
            ahead = ask(data, STATUS_SHOW, control.Empty()).clock_ahead
            return now - dt.timedelta(seconds=ahead)
    return now


@contextmanager
def _plainly(data: Path) -> Iterator[None]:
    """Say in one line what is wrong, and what to do about it.

    Raises:
        Failure: a file cannot be read, written or used.
        WrongUse: a name is not valid.
    """
    from relay.net.tls.reading import AuthorityError, DamagedCertificate, InvalidCertificateName

    try:
        yield
    except InvalidCertificateName as error:
        raise WrongUse(str(error)) from None
    except DamagedCertificate as error:
        raise Failure(
            f"{error}. `relay tls init --again` makes another authority, which every device must be made to trust"
        ) from None
    except AuthorityError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(about_file(error, data)) from None


def _show(data: Path, *, json: bool) -> None:
    from relay.net.tls import authority, reading
    from relay.net.tls.certificates import FOLDER

    known = authority.Authority(data / FOLDER)
    with suppress(OSError):
        # A user who may only read sees the existing authority.
        known.recover()
    if not known.exists:
        raise Failure(f"there is no certificate in {data}: `relay tls init` makes one")
    leaf = reading.read(known.leaf)
    fingerprint = reading.fingerprint(known.certificate)
    if json:
        as_json(
            {
                "names": leaf.names,
                "ends": leaf.ends * 1_000,
                "fingerprint": fingerprint,
                "authority": str(known.certificate),
            }
        )
        return
    say(f"for       {', '.join(leaf.names)}")
    say(f"until     {when(leaf.ends * 1_000)}; renewed by itself before that")
    say(f"authority {known.certificate}")
    say(f"SHA-256   {fingerprint}")
    print()
    for advice in (_next(data), "Devices trust the authority once they have it: see /trust in the relay's page."):
        say(advice)


def _next(data: Path) -> str:
    """Say what a relay needs to use the certificate."""
    from relay.protocol import control

    try:
        status = ask_running(data, STATUS_SHOW, control.Empty())
    except Failure:
        status = None
    if status is None or status.url is None:
        return "Start the relay with --tls, or with on = true under [tls] in its settings."
    if status.url.startswith("wss:"):
        return "The relay runs with TLS."
    return "The relay runs without TLS: restart it with --tls, or with on = true under [tls] in its settings."
