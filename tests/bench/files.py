"""Speed of uploads and downloads compared with nginx on the same machine, and memory of many parallel uploads.

    uv run python tests/bench/files.py [--megabytes 512] [--uploads 20] [--directory DIR]

Both serve the same file from the same disk to curl over the loopback, and both accept it in one request with a body;
nginx (Debian's, found on the path) by PUT. The relay also hashes and syncs uploads.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """
worker_processes 1;
daemon off;
error_log {directory}/error.log;
pid {directory}/pid;
user root;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  client_max_body_size 0;
  client_body_temp_path {directory}/incoming;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {directory}/files; dav_methods PUT; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the server does not listen")


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", "--fail", *arguments], check=True, capture_output=True, text=True).stdout


def rate(megabytes: int, run: Callable[[], object], times: int = 5) -> float:
    """Megabytes a second, the median of several runs."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return megabytes / statistics.median(taken)


def status(pid: int, field: str) -> float:
    """Read a process's figure in MiB."""
    found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1_024


@contextmanager
def relay(directory: Path) -> Iterator[tuple[str, str, int]]:
    """Run a relay; return its address, a token and its process."""
    port = free_port()
    program = [sys.executable, "-m", "relay"]
    data = ["--data", str(directory)]
    subprocess.run([*program, "user", "add", "bench", *data], check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run([*program, "device", "add", "bench", "--json", *data], check=True, capture_output=True)
    os.environ["RELAY_FILES_USER_BYTES"] = str(2**40)
    with running(*program, "serve", "--listen", f"127.0.0.1:{port}", *data) as process:
        wait_for(port)
        yield f"http://127.0.0.1:{port}", json.loads(made.stdout)["token"], process.pid


@contextmanager
def nginx(directory: Path) -> Iterator[str]:
    port = free_port()
    (directory / "files").mkdir()
    configuration = directory / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, port=port))
    with running("nginx", "-c", str(configuration), "-p", str(directory)):
        wait_for(port)
        yield f"http://127.0.0.1:{port}"


def compare(file: Path, megabytes: int, scratch: Path) -> None:
    with relay(scratch / "relay") as (url, token, pid):
        mine = ("-H", f"Authorization: Bearer {token}")

        def put() -> str:
            return curl(*mine, "-X", "POST", "-H", "Expect:", "-T", str(file), f"{url}/files")

        up = rate(megabytes, put)
        where = json.loads(put())["url"]
        down = rate(megabytes, lambda: curl(*mine, "-o", "/dev/null", url + where))
        print(f"relay  in {up:6.0f} MB/s   out {down:6.0f} MB/s   resident {status(pid, 'VmRSS'):.1f} MiB")
    if shutil.which("nginx") is None:
        print("nginx  is not installed")
        return
    (scratch / "nginx").mkdir()
    with nginx(scratch / "nginx") as url:

        def put_and_sync() -> None:
            curl("-H", "Expect:", "-T", str(file), f"{url}/file")
            os.sync()

        up_synced = rate(megabytes, put_and_sync)
        up_bare = rate(megabytes, lambda: curl("-H", "Expect:", "-T", str(file), f"{url}/file"))
        down = rate(megabytes, lambda: curl("-o", "/dev/null", f"{url}/file"))
        print(f"nginx  in {up_bare:6.0f} MB/s   out {down:6.0f} MB/s   in and synced {up_synced:.0f} MB/s")


def many(uploads: int, scratch: Path) -> None:
    file = scratch / "hundred"
    file.write_bytes(os.urandom(100_000_000))
    with relay(scratch / "many") as (url, token, pid):
        before = status(pid, "VmRSS")
        started = time.perf_counter()
        command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-H", f"Authorization: Bearer {token}"]
        command += ["-X", "POST", "-H", "Expect:", "-T", str(file), f"{url}/files"]
        clients = [subprocess.Popen(command) for _ in range(uploads)]
        most, slowest = 0.0, 0.0
        while any(client.poll() is None for client in clients):
            most = max(most, status(pid, "VmRSS"))
            asked = time.perf_counter()
            curl(f"{url}/healthz")
            slowest = max(slowest, time.perf_counter() - asked)
            time.sleep(0.02)
        taken = time.perf_counter() - started
        assert all(client.returncode == 0 for client in clients)
        print(
            f"{uploads} uploads of 100 MB at once: resident {before:.1f} -> {most:.1f} MiB,"
            f" {uploads * 100 / taken:.0f} MB/s together, slowest other request {slowest * 1_000:.0f} ms"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, default=512)
    options.add_argument("--uploads", type=int, default=20)
    options.add_argument("--directory", type=Path, help="where to write (default: the system's temporary directory)")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as name:
        scratch = Path(name)
        file = scratch / "file"
        with file.open("wb") as output:
            for _ in range(chosen.megabytes):
                output.write(os.urandom(1_000_000))
        compare(file, chosen.megabytes, scratch)
        file.unlink()
        many(chosen.uploads, scratch)


if __name__ == "__main__":
    main()
