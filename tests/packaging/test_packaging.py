"""The packages: the parts of a build that can go wrong without a visible failure."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from relay import __version__

TOP = Path(__file__).parent.parent.parent
PACKAGING = TOP / "packaging"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PACKAGING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The single file's entry point, with an empty environment."""
    for name in ("CHAT_RELAY_CACHE", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME", "RELAY_DATA", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["relay"])
    return load("executable_main")


# The single file.


def test_named_directory_is_the_only_one_tried(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("CHAT_RELAY_CACHE", "/srv/cache")
    assert program.candidates() == ["/srv/cache"]
    assert "CHAT_RELAY_CACHE" not in os.environ  # the relay itself refuses variables it does not know


def test_caches_are_tried_before_the_data_directory(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/relay:/var/lib/relay/backups")
    monkeypatch.setattr(sys, "argv", ["relay", "serve", "--data", "/srv/chat", "--data=/srv/other"])
    assert program.candidates() == [
        "/home/anna/.cache/chat-relay",
        "/srv/chat/program",
        "/srv/other/program",
        "/var/lib/relay/program",
    ]


def test_a_directory_that_others_may_write_to_is_not_used(program: ModuleType, tmp_path: Path) -> None:
    assert program.usable(str(tmp_path / "new")) == ""
    tmp_path.chmod(0o777)
    assert program.usable(str(tmp_path)) == "others may write there"
    assert program.usable("/proc/nothing") != ""


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, name)
    return path


def test_only_the_files_for_this_machine_are_unpacked(program: ModuleType, tmp_path: Path) -> None:
    ours = f"cpython-3{sys.version_info[1]}"
    made = archive(
        tmp_path / "relay",
        "__main__.py",
        "all/trio/core.py",
        f"x86_64/fast.{ours}-x86_64-linux-gnu.so",
        "x86_64/fast.cpython-399-x86_64-linux-gnu.so",
        "x86_64/fast.abi3.so",
        f"aarch64/fast.{ours}-aarch64-linux-gnu.so",
        "aarch64/fast.abi3.so",
    )
    target = tmp_path / "out"
    with zipfile.ZipFile(made) as opened:
        program.unpack(opened, "x86_64", str(target))
        program.unpack(opened, "x86_64", str(target))  # another process was first, which is fine
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {
        "trio/core.py": "all/trio/core.py",
        f"fast.{ours}-x86_64-linux-gnu.so": f"x86_64/fast.{ours}-x86_64-linux-gnu.so",
        "fast.abi3.so": "x86_64/fast.abi3.so",
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".new-")] == []


def test_unpacked_files_are_synced_before_they_get_their_name(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    synced: list[tuple[bool, list[str]]] = []

    def sync() -> None:
        synced.append((target.exists(), sorted(path.read_text() for path in tmp_path.glob("*/core.py"))))

    monkeypatch.setattr(os, "sync", sync)
    with zipfile.ZipFile(archive(tmp_path / "relay", "all/core.py")) as opened:
        program.unpack(opened, "x86_64", str(target))
    assert synced == [(False, ["all/core.py"]), (True, ["all/core.py"])]


def test_files_of_a_killed_start_are_removed_by_a_later_one(program: ModuleType, tmp_path: Path) -> None:
    for name, age in ((".new-old", 2 * program.UNFINISHED_SECONDS), (".new-now", 0)):
        (tmp_path / name / "trio").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with zipfile.ZipFile(archive(tmp_path / "relay", "all/core.py")) as opened:
        program.unpack(opened, "x86_64", str(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new-now", "out", "relay"]


@pytest.mark.parametrize("hurt", ["emptied", "removed", "longer"])
@pytest.mark.parametrize("name", ["relay/__main__.py", "relay/serve.py"])
def test_the_single_file_starts_though_what_it_unpacked_is_torn(tmp_path: Path, name: str, hurt: str) -> None:
    file = tmp_path / "relay"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("VERSION", "1.0")
        made.writestr("__main__.py", (PACKAGING / "executable_main.py").read_text())
        made.writestr("all/relay/__init__.py", "")
        made.writestr("all/relay/__main__.py", "def main():\n    from relay.serve import text\n    print(text)")
        made.writestr("all/relay/serve.py", "text = 'started'")

    def start() -> str:
        environment = {"CHAT_RELAY_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(
            [sys.executable, str(file)], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        return ran.stdout + ran.stderr

    assert start() == "started\n"
    (unpacked,) = (tmp_path / "cache").glob(f"*/{name}")
    if hurt == "removed":
        unpacked.unlink()
    else:
        unpacked.write_bytes(b"" if hurt == "emptied" else b"\0" * 200)
    assert start() == "started\n"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_unsupported_system_is_refused_with_the_supported_ones(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(SystemExit):
        program.fitting_machine()
    assert "Install the 64-bit system" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.fitting_python((3, 98), (3, 99))
    assert "this needs Python 3.98 to 3.99" in capsys.readouterr().err


# The package.


def test_entry_point_is_valid_for_old_python_too() -> None:
    compile((PACKAGING / "executable_main.py").read_text(), "main", "exec", flags=0)
    import ast

    ast.parse((PACKAGING / "executable_main.py").read_text(), feature_version=(3, 6))


def test_no_installed_file_restarts_the_socket() -> None:
    for script in ("postinst", "prerm", "postrm"):
        for line in (PACKAGING / "debian" / script).read_text().splitlines():
            assert not re.search(r"restart\b.*relay\.socket", line), line


def test_a_library_without_a_licence_stops_the_build(tmp_path: Path) -> None:
    licences = load("licences")
    info = tmp_path / "thing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: thing\nVersion: 1\nLicense-Expression: MIT\n")
    (info / "top_level.txt").write_text("thing\n")
    vendor = tmp_path / "relay/web/vendor"
    vendor.mkdir(parents=True)
    (vendor / "packages.json").write_text("[]")
    with pytest.raises(licences.Undeclared, match="thing does not say"):
        licences.copyright_file(tmp_path)
    (info / "LICENSE").write_text("MIT License\n\nCopyright (c) 2020 Somebody\n\nPermission is granted …\n")
    assert (
        "Files: usr/lib/chat-relay/thing\nCopyright: 2020 Somebody\nLicense: Expat\n MIT License\n .\n"
        in licences.copyright_file(tmp_path)
    )


def test_files_that_differ_between_pythons_stop_the_build(tmp_path: Path) -> None:
    bundle = load("bundle")
    for python, content in (("3.11", "one"), ("3.12", "another")):
        (tmp_path / python).mkdir()
        (tmp_path / python / "module.py").write_text(content)
    bundle.merge(tmp_path / "3.11", tmp_path / "tree")
    with pytest.raises(bundle.Clash, match=r"module\.py"):
        bundle.merge(tmp_path / "3.12", tmp_path / "tree")


# The README's lines.


@pytest.fixture
def lines() -> dict[str, str]:
    """The README's blocks that CI runs in a bare Debian."""
    text = (TOP / "README.md").read_text()
    return dict(load("e2e/readme").blocks(text))


def test_readme_has_each_block_that_ci_runs(lines: dict[str, str]) -> None:
    tried = (PACKAGING / "e2e" / "first.sh").read_text()
    for name in lines:
        assert re.search(rf"\b{name}\b", tried)
    assert set(lines) == {"package", "file", "build", "clone", "invite", "listen", "talk", "tests"}


@pytest.mark.parametrize("name", ["build", "clone", "tests"])
def test_readme_blocks_that_start_from_nothing_are_one_line(lines: dict[str, str], name: str) -> None:
    assert lines[name].count("\n") == 1


def test_duplicate_block_name_is_refused() -> None:
    block = "<!-- tried: one -->\n```sh\ntrue\n```\n"
    readme = load("e2e/readme")
    assert readme.blocks(block) == {"one": "true\n"}
    for wrong in (block * 2, block + "<!-- tried: two -->\nno block\n"):
        with pytest.raises(ValueError, match="given twice"):
            readme.blocks(wrong)


def test_pre_release_package_sorts_before_the_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(PACKAGING))
    deb = load("deb")
    assert [deb.debian_version(one) for one in ("0.2.0.dev0", "0.2.0")] == ["0.2.0~dev0", "0.2.0"]
    if shutil.which("dpkg") is None:
        pytest.skip("there is no dpkg here")
    subprocess.run(["dpkg", "--compare-versions", "0.2.0~dev0", "lt", "0.2.0"], check=True)


def test_debians_changelog_has_every_release_of_the_changelog_newest_first() -> None:
    changes = load("changes")
    text = changes.debian("chat-relay", "Somebody <a@example.org>", "0.2.0~dev0", 1_764_300_000)
    heads = [line for line in text.splitlines() if line.startswith("chat-relay")]
    releases = list(changes.releases(changes.CHANGELOG.read_text("utf-8")))
    assert heads[0] == "chat-relay (0.2.0~dev0) stable; urgency=medium"
    assert heads[1:] == [f"chat-relay ({one.version}) stable; urgency=medium" for one in releases[1:]]
    assert all(one.items for one in releases)
    assert all(one.date for one in releases[1:])


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    changes = load("changes")
    newest = next(changes.releases(changes.CHANGELOG.read_text("utf-8")))
    assert __version__.removesuffix(".dev0") == newest.version
    assert (newest.date is None) == __version__.endswith(".dev0")


@pytest.mark.parametrize(("chapter", "lines"), [("Upgrading", 3), ("The way back", 8)])
def test_guide_has_the_upgrade_commands_that_the_container_test_runs(chapter: str, lines: int) -> None:
    guest = (PACKAGING / "e2e" / "guest.sh").read_text()
    program = re.search(r"awk -v chapter=\"\$1\" '(.*)' \$state/help", guest)
    assert program is not None
    page = TOP / "relay" / "help" / "upgrade.txt"
    typed = subprocess.run(
        ["awk", "-v", f"chapter={chapter}", program[1], page], capture_output=True, text=True, check=True
    )
    assert len(typed.stdout.splitlines()) == lines
    assert "/media/usb/" in typed.stdout
