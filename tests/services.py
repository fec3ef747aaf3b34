"""Real services for tests: found on the machine, or unpacked from the distribution's package."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from needs import USUAL, missing, tool
from server_process import free_port

__all__ = ["Prometheus", "prometheus", "prometheus_tools", "unpacked"]

START_S = 60.0


def unpacked(package: str, program: str) -> str:
    """The path of a program, from a Debian package where it is not installed.

    The package is downloaded and unpacked into the user's cache, not installed: nothing of it is started or changed on
    the machine.
    """
    found = tool(program)
    if found is not None:
        return found
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swangpu-tests" / package
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "root" / "usr" / "bin" / program
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() and not _download(package, folder):
            missing(f"{program} is not installed, and its package {package} can't be had")
    return str(path)


def prometheus_tools() -> tuple[str, str]:
    """The paths of ``prometheus`` and ``promtool``."""
    return unpacked("prometheus", "prometheus"), unpacked("prometheus", "promtool")


def _download(package: str, folder: Path) -> bool:
    apt, dpkg = tool("apt-get"), tool("dpkg")
    if apt is None or dpkg is None:
        return False

    # They start programs of the usual folders themselves.
    environment = {**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", ""), USUAL])}

    def run(*command: str) -> bool:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=600, check=False)
        return done.returncode == 0

    if not run(apt, "download", package):
        # the list of packages is missing or old
        run(apt, "update")
        if not run(apt, "download", package):
            return False
    for archive in folder.glob("*.deb"):
        if not run(dpkg, "-x", str(archive), "root"):
            return False
        archive.unlink()
    return True


class Prometheus:
    """One that runs: its URL, and its process."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = process


@contextlib.contextmanager
def prometheus(
    config: str = "",
    data: Path | None = None,
    *arguments: str,
    login: tuple[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus of the test's own.

    Parameters
    ----------
    config : str
        YAML.
    data : Path, optional
        Its database; a new one by default.
    login : tuple of str, optional
        User and password, where it wants them.
    port : int, optional
        A free one by default.
    """
    program = unpacked("prometheus", "prometheus")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prometheus.yml"
        file.write_text(config or "global: {}\n")
        port = port or free_port()
        command = [
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={data or Path(folder) / 'data'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{port}",
            *arguments,
        ]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            server = Prometheus(port, process)
            _wait_ready(server.url + "/-/ready", process, Path(folder) / "log", login)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path, login: tuple[str, str] | None) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, auth=login).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"Prometheus did not start:\n{log.read_text(errors='replace')[-3000:]}")
