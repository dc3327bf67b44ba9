"""The relay's own authority: its certificates, the names that it may certify, and renewal.

Longer than other modules: all tests share one authority, and what a client gets of it.
"""

import datetime as dt
import errno
import ipaddress
import os
import socket
import ssl
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from cryptography import x509

from relay.net.sockets import hostnames
from relay.net.tls import certificates as tls
from relay.net.tls import reading
from relay.net.tls.authority import CERTIFICATE_DAYS, EARLIEST_TIME, Authority
from relay.net.tls.certificates import Certificates
from relay.net.tls.reading import AuthorityError
from relay.settings import TlsSection
from relay.store.files import tls_folder

NOW = dt.datetime(2027, 1, 15, tzinfo=dt.UTC)
NAMES = ["chat.office.lan", "192.168.7.7", "fd00::7", "localhost"]


@pytest.fixture
def made(tmp_path: Path) -> Authority:
    one = Authority(tmp_path / "tls")
    one.make(NAMES, NOW)
    return one


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_private_keys_are_readable_by_their_owner_only(made: Authority) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.directory.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "names.txt": 0o644, "relay.crt": 0o644, "relay.key": 0o600}


def test_backup_includes_every_file_of_the_authority(made: Authority) -> None:
    assert {path.name for path in made.directory.iterdir()} == set(tls_folder.TLS_FILES)


def test_a_permissive_umask_does_not_expose_the_keys(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Authority(tmp_path / "tls").make(NAMES, NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "tls" / "ca.key").stat().st_mode) == 0o600


def test_the_certificate_has_the_names_and_a_validity_that_browsers_accept(made: Authority) -> None:
    leaf, ca = load(made.leaf), load(made.certificate)
    leaf.verify_directly_issued_by(ca)
    alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternatives.get_values_for_type(x509.DNSName) == ["chat.office.lan", "localhost"]
    assert [str(one) for one in alternatives.get_values_for_type(x509.IPAddress)] == ["192.168.7.7", "fd00::7"]
    assert leaf.not_valid_after_utc - NOW == dt.timedelta(days=CERTIFICATE_DAYS)
    assert leaf.not_valid_before_utc < NOW
    assert made.leaf.read_bytes().endswith(made.certificate.read_bytes())


def test_authority_certifies_nothing_on_the_internet(made: Authority) -> None:
    ca = load(made.certificate)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    constraints = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    wanted = ["chat.office.lan", "bank.example", "8.8.8.8", "2001:db8::1", "xlan"]
    assert made.permitted(wanted) == ["chat.office.lan"]


def test_authority_certifies_only_the_relays_own_names_and_networks(made: Authority) -> None:
    own = ["chat.office.lan", "localhost", "192.168.7.7", "192.168.7.99", "127.0.0.1", "::1", "fd00::8"]
    others = ["nas.lan", "router.local", "office.lan", "192.168.8.7", "10.1.2.3", "172.16.0.1", "fd01::7", "127.0.0.2"]
    assert made.permitted([*own, *others]) == own


def test_a_public_address_is_permitted_without_its_network(tmp_path: Path) -> None:
    one = Authority(tmp_path)
    one.make(["chat.example.org", "203.0.113.9"], NOW)
    assert one.permitted(["chat.example.org", "203.0.113.9", "203.0.113.10"]) == ["chat.example.org", "203.0.113.9"]


def test_certificate_is_due_before_it_expires_and_for_a_new_address(made: Authority) -> None:
    assert not made.needs_renewal(NAMES, NOW)
    assert not made.needs_renewal(NAMES[:2], NOW)
    assert made.needs_renewal([*NAMES, "192.168.7.8"], NOW)
    later = NOW + dt.timedelta(days=CERTIFICATE_DAYS - 30)
    assert made.needs_renewal(NAMES, later)
    before = load(made.certificate)
    made.issue(NAMES, later)
    assert not made.needs_renewal(NAMES, later)
    assert load(made.certificate) == before
    load(made.leaf).verify_directly_issued_by(before)


def test_clock_that_is_years_behind_makes_a_certificate_that_is_valid_now(tmp_path: Path) -> None:
    one = Authority(tmp_path)
    one.make(NAMES, dt.datetime(1970, 1, 2, tzinfo=dt.UTC))
    assert load(one.leaf).not_valid_before_utc >= EARLIEST_TIME - dt.timedelta(days=1)
    assert not one.needs_renewal(NAMES, dt.datetime(1970, 1, 3, tzinfo=dt.UTC))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(AuthorityError, match="python3-cryptography"):
        Authority(tmp_path).make(NAMES, NOW)


def test_file_that_is_not_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.crt").write_text("nonsense")
    with pytest.raises(AuthorityError, match=r"x\.crt"):
        reading.read(tmp_path / "x.crt")
    with pytest.raises(AuthorityError, match="cannot be used"):
        Certificates(tmp_path, TlsSection(certificate=str(tmp_path / "x.crt")))
    with pytest.raises(AuthorityError, match="tls init --data"):
        Certificates(tmp_path, TlsSection())


@pytest.mark.parametrize("wrong", ["key", "order"])
def test_a_key_that_does_not_belong_to_the_certificate_is_named(tmp_path: Path, made: Authority, wrong: str) -> None:
    certificate = tmp_path / "chain.crt"
    parts = [made.leaf.read_text(), made.certificate.read_text()]
    certificate.write_text("".join(parts if wrong == "key" else reversed(parts)))
    key = made.directory / "ca.key" if wrong == "key" else made.leaf_key
    with pytest.raises(AuthorityError, match="the key does not belong to the first certificate in the file"):
        Certificates(tmp_path, TlsSection(certificate=str(certificate), key=str(key)))


def test_invalid_name_in_the_settings_leaves_the_certificate_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Authority(tmp_path / "tls").make(NAMES, NOW)
    Certificates(tmp_path, TlsSection(names=["bad name ü"]))
    assert "cannot renew the certificate: 'bad name ü' is not a name or address" in caplog.text


@pytest.mark.parametrize("failing", ["issue", "locked"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=os.strerror)
async def test_failed_renewal_is_a_warning_at_the_start_as_at_run_time(
    made: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failing: str,
    number: int,
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    settings = TlsSection()
    running = Certificates(tmp_path, settings)
    before = made.leaf.read_bytes()
    settings.names = ["another.lan"]
    monkeypatch.setattr(Authority, "permitted", lambda _authority, names: names)
    monkeypatch.setattr(Authority, failing, refuse)
    await running.check()
    assert Certificates(tmp_path, settings).ends() == running.ends()
    assert made.leaf.read_bytes() == before
    said = [record.getMessage() for record in caplog.records if "cannot renew" in record.getMessage()]
    assert len(said) == 2, "one while it runs, one at the start"
    assert all(str(made.directory) in one for one in said), "the folder of the certificate, and not the data directory"


def test_interrupted_replacement_does_not_prevent_a_start_on_a_read_only_disk(
    made: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Authority, "recover", refuse)
    Certificates(tmp_path, TlsSection())
    assert caplog.text.count("the certificate stays as it was") == 1
    for path in made.directory.iterdir():
        path.unlink()
    with pytest.raises(OSError, match="Read-only"):
        Certificates(tmp_path, TlsSection())


def test_admins_own_certificate_is_used_and_reloaded_when_it_changes(made: Authority, tmp_path: Path) -> None:
    settings = TlsSection(certificate=str(made.leaf), key=str(made.leaf_key))
    certificates = Certificates(tmp_path / "elsewhere", settings)
    assert not certificates.own
    before = certificates.ends()
    certificates.refresh()
    made.issue(NAMES, NOW + dt.timedelta(days=100))
    certificates.refresh()
    assert certificates.ends() > before


def test_unloadable_certificate_leaves_the_former_one_in_use(made: Authority, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "elsewhere", TlsSection(certificate=str(made.leaf), key=str(made.leaf_key)))
    before = served(certificates)
    key = made.leaf_key.read_bytes()
    made.leaf_key.write_text("nonsense")
    with pytest.raises(AuthorityError):
        certificates.refresh()
    assert served(certificates) == before
    # A renewal replaces two files, one after the other.
    made.leaf_key.write_bytes(key)
    made.issue(NAMES, NOW)
    made.leaf_key.rename(made.leaf_key.with_suffix(".new"))
    made.leaf_key.write_bytes(key)
    with pytest.raises(AuthorityError):
        certificates.refresh()
    assert served(certificates) == before
    made.leaf_key.with_suffix(".new").replace(made.leaf_key)
    certificates.refresh()
    assert served(certificates) != before


def served(certificates: Certificates) -> bytes:
    """Return the certificate that a client gets."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ends = [ssl.MemoryBIO() for _ in range(4)]
    ours = client.wrap_bio(ends[0], ends[1])
    theirs = certificates.context.wrap_bio(ends[2], ends[3], server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
        ends[2].write(ends[1].read())
        ends[0].write(ends[3].read())
    return ours.getpeercert(binary_form=True) or b""


def test_a_key_with_a_pass_phrase_is_refused_without_a_prompt(made: Authority, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    line = ["openssl", "pkey", "-in", str(made.leaf_key), "-aes128", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(line, check=True, capture_output=True)
    with pytest.raises(AuthorityError, match="has a pass phrase: save it without one"):
        Certificates(tmp_path / "elsewhere", TlsSection(certificate=str(made.leaf), key=str(locked)))


def test_the_machines_addresses_are_read_from_the_kernel() -> None:
    table = (
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fd000000000000000000000000000007 02 40 00 80     eth0\n"
        "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        "fd000000000000000000000000000008 03 40 00 80  docker0\n"
    )
    assert hostnames.local_ipv6(table) == ["fd00::7"]
    assert all(not ipaddress.ip_address(one).is_loopback for one in hostnames.addresses())


def test_process_without_the_right_to_sockets_uses_its_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as handed:
        whole = hostnames.addresses(handed)
        monkeypatch.setattr(socket, "socket", refused)
        monkeypatch.setattr(socket, "getaddrinfo", refused)
        assert set(hostnames.addresses(handed)) <= set(whole)


def refused(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EAFNOSUPPORT, "as RestrictAddressFamilies= of systemd has it")


def test_a_new_address_of_the_same_network_is_added_and_another_is_logged(
    made: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime.now(dt.UTC)
    monkeypatch.setattr(tls, "hostnames", lambda: ["localhost"])
    monkeypatch.setattr(tls, "addresses", lambda _listener=None: ["192.168.7.99", "192.168.99.7"])
    made.make(NAMES, now)
    before = load(made.certificate)
    certificates = Certificates(tmp_path, TlsSection())
    certificates.refresh()
    assert "192.168.7.99" in reading.read(made.leaf).names
    assert load(made.certificate) == before
    said = [record.getMessage() for record in caplog.records if "not for" in record.getMessage()]
    assert len(said) == 1
    assert "192.168.99.7" in said[0]


@pytest.mark.parametrize("listed", [True, False], ids=["with a list", "made by a version without one"])
def test_name_given_by_an_admin_stays_after_a_renewal(
    made: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    now = dt.datetime.now(dt.UTC)
    made.make(["chat.office.lan", "192.168.7.7", "localhost"], now, chosen=["chat.office.lan"])
    if not listed:
        (made.directory / "names.txt").unlink()
    monkeypatch.setattr(tls, "hostnames", lambda: ["localhost"])
    monkeypatch.setattr(tls, "addresses", lambda _listener=None: ["192.168.7.99"])
    Certificates(tmp_path, TlsSection())
    names = reading.read(made.leaf).names
    assert "192.168.7.99" in names, "the router gave it another address"
    assert "chat.office.lan" in names


@pytest.mark.parametrize("private", [True, False], ids=["CPython's decoder", "cryptography in its place"])
def test_certificate_is_read_as_cryptography_reads_it(
    made: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    if not private:
        monkeypatch.delattr("ssl._ssl._test_decode_cert")
    leaf = load(made.leaf)
    ends = int(leaf.not_valid_after_utc.timestamp())
    begins = int(leaf.not_valid_before_utc.timestamp())
    assert reading.read(made.leaf) == reading.Certificate(NAMES, ends, self_signed=False, begins=begins)
    assert sorted(reading.read(made.leaf).names) == sorted(map(str, alternatives(leaf)))
    assert reading.read(made.certificate).self_signed
    (tmp_path / "damaged").write_bytes(b"-----BEGIN CERTIFICATE-----\nMIIB\n")
    with pytest.raises(reading.DamagedCertificate):
        reading.read(tmp_path / "damaged")
    with pytest.raises(AuthorityError, match="No such file"):
        reading.read(tmp_path / "missing")


def alternatives(certificate: x509.Certificate) -> list[object]:
    return [one.value for one in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def test_hsts_needs_an_authority_that_is_not_the_relays_own(made: Authority, tmp_path: Path) -> None:
    own = Certificates(made.directory.parent, TlsSection())
    theirs = Certificates(tmp_path / "x", TlsSection(certificate=str(made.leaf), key=str(made.leaf_key)))
    selfsigned = Certificates(
        tmp_path / "x", TlsSection(certificate=str(made.certificate), key=str(made.directory / "ca.key"))
    )
    assert (own.publicly_trusted, theirs.publicly_trusted, selfsigned.publicly_trusted) == (False, True, False)


def test_second_authority_keeps_the_former_one(made: Authority) -> None:
    before = {path.name: path.read_bytes() for path in made.directory.iterdir()}
    kept = made.make(NAMES, NOW)
    assert kept is not None
    assert {path.name: path.read_bytes() for path in (kept / "tls").iterdir()} == before
    assert load(made.certificate) != x509.load_pem_x509_certificate(before["ca.crt"])
    load(made.leaf).verify_directly_issued_by(load(made.certificate))
    assert kept != made.make(NAMES, NOW)
    assert {path.name: path.read_bytes() for path in (kept / "tls").iterdir()} == before


def test_a_link_to_an_empty_folder_stays_and_the_folder_gets_the_authority(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tls").symlink_to("../keys")
    made = Authority(tmp_path / "data" / "tls")
    assert made.make(NAMES, NOW, chosen=NAMES[:1]) is None
    assert made.directory.is_symlink()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "names.txt": 0o644, "relay.crt": 0o644, "relay.key": 0o600}
    assert made.exists
    assert made.key_matches
    assert made.chosen_names == NAMES[:1]


def test_new_authority_in_place_of_a_linked_one_keeps_that_one(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tls").symlink_to("../keys")
    made = Authority(tmp_path / "data" / "tls")
    made.make(NAMES, NOW)
    before = made.certificate.read_bytes()
    kept = made.make(NAMES, NOW)
    assert kept is not None
    assert (kept / "tls" / "ca.crt").read_bytes() == before
    assert made.certificate.read_bytes() != before


def test_the_second_of_two_concurrent_makers_keeps_the_first_ones_authority(made: Authority) -> None:
    # Both had checked before. Devices may trust the first one's authority already, so it has to stay.
    before = {path.name: path.read_bytes() for path in made.directory.iterdir()}
    assert made.make(NAMES, NOW, again=False) is None
    assert {path.name: path.read_bytes() for path in made.directory.iterdir()} == before


def test_a_key_that_does_not_match_its_certificate_is_replaced_at_the_next_start(
    made: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    other.make(NAMES, NOW)
    made.leaf_key.write_bytes(other.leaf_key.read_bytes())
    assert not made.key_matches
    certificates = Certificates(tmp_path, TlsSection(names=NAMES))
    assert certificates.own
    assert made.key_matches


@pytest.mark.parametrize("part", ["certificate", "key"])
async def test_a_pipe_in_place_of_a_certificate_leaves_the_former_one_in_use(
    made: Authority, tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(tmp_path / "elsewhere", TlsSection(certificate=str(made.leaf), key=str(made.leaf_key)))
    before = served(certificates)
    file = made.leaf if part == "certificate" else made.leaf_key
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    with trio.fail_after(20):
        await certificates.check()
    assert "not a regular file" in caplog.text
    assert served(certificates) == before
    file.unlink()
    file.write_bytes(content)
    made.issue(NAMES, NOW)
    await certificates.check()
    assert served(certificates) != before


def test_a_certificate_that_begins_in_the_future_is_renewed_by_a_credible_clock_alone(
    made: Authority, tmp_path: Path
) -> None:
    made.issue(made.permitted(tls.certificate_names(NAMES)), NOW + dt.timedelta(days=300))

    def begins(*, credible: bool) -> dt.datetime:
        now = int(NOW.timestamp() * 1_000)
        Certificates(tmp_path, TlsSection(), clock=lambda: now, credible=lambda: credible)
        return load(made.leaf).not_valid_before_utc

    assert begins(credible=False) > NOW, "the clock may be behind"
    assert begins(credible=True) < NOW
    assert load(made.certificate).not_valid_before_utc < NOW, "devices go on trusting the authority"


def test_an_authority_that_begins_in_the_future_is_named_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Authority(tmp_path / "tls").make(NAMES, NOW + dt.timedelta(days=300))
    now = int(NOW.timestamp() * 1_000)
    Certificates(tmp_path, TlsSection(), clock=lambda: now)
    assert "not valid before 2027-11-10" in caplog.text
    assert "tls init --again" in caplog.text
