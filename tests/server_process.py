"""A real server of its own process, home and runtime directory: what a kill -9 can be done to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

__all__ = ["ServerProcess", "free_port", "server"]

API = "/swangpu/api/v1"
START_S = 60.0
#: modules that servers under test do without
WITHOUT = Path(__file__).parent / "without"
#: extensions that they do without, too: a quarter of what a start costs
OTHERS = ("jupyterlab", "notebook", "notebook_shim", "jupyter_lsp", "jupyter_server_terminals")
#: lines of the tests' own in a server's log
STARTS, ENDS = "=== the test starts it", "=== the test asks it to end"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class ServerProcess:
    """``jupyter server`` with the extension, on a simulated fleet unless told otherwise.

    Parameters
    ----------
    home : Path
        Its home, data and runtime directories; two servers with the same home are two of one user.
    simulated : bool
        Otherwise it asks for the machine's own driver.
    variables : mapping of str to str, optional
        Added to its environment.
    launcher : sequence of str
        A command that starts the server's own, such as ``unshare --pid --fork``.
    """

    def __init__(
        self,
        home: Path,
        *arguments: str,
        token: str = "t0ken",
        simulated: bool = True,
        variables: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.token = token
        self.simulated = simulated
        self.variables = dict(variables or {})
        self.launcher = launcher
        self.arguments = arguments
        self.port = free_port()
        self.status_path = "/api/status"
        self.process: subprocess.Popen[bytes] | None = None
        (home / "work").mkdir(parents=True, exist_ok=True)
        (home / "run").mkdir(mode=0o700, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own Jupyter settings."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "SWANGPU", "XDG"))}
        env.update(HOME=str(self.home), XDG_RUNTIME_DIR=str(self.home / "run"), PYTHONUNBUFFERED="1")
        env["JUPYTER_PREFER_ENV_PATH"] = "1"
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(WITHOUT), env.get("PYTHONPATH", "")]))
        # Kernels of other languages need their interpreter at its usual place, whatever the caller's PATH.
        env["PATH"] = os.pathsep.join([env.get("PATH", ""), "/usr/bin", "/bin"])
        return {**env, **self.variables}

    def start(self) -> ServerProcess:
        """Start and wait until it answers."""
        command = [
            *self.launcher,
            sys.executable,
            "-m",
            "jupyter",
            "server",
            "--no-browser",
            "--allow-root",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.home / 'work'}",
            f"--SwanGpu.simulated={self.simulated}",
            *(f"--ServerApp.jpserver_extensions={name}=False" for name in OTHERS),
            *self.arguments,
        ]
        self.note(STARTS)
        log = (self.home / f"server-{self.port}.log").open("ab")
        with log:
            self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log, cwd=self.home)
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(httpx.HTTPError), self.client() as client:
                if client.get(self.status_path).status_code == 200:
                    return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def client(self) -> httpx.Client:
        """For this server's whole HTTP API."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"token {self.token}"}, timeout=60, trust_env=False
        )

    def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> httpx.Response:
        """One call of our API."""
        with self.client() as client:
            return client.request(method, API + path, json=body, **kwargs)

    def kill(self) -> None:
        """As the kernel's out-of-memory killer would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def kill_agents(self) -> None:
        """End the kernels that outlived their server, as they are meant to, once a test is done with them."""
        for record in (self.home / "run" / "swangpu" / "agents").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(record.read_text())
                for who in ("kernel_pid", "agent_pid"):
                    os.kill(int(found[who]), signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.note(ENDS)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def log(self) -> str:
        return "".join(p.read_text(errors="replace") for p in sorted(self.home.glob("server-*.log")))

    def note(self, text: str) -> None:
        """A line of the test's own in the server's log."""
        with (self.home / f"server-{self.port}.log").open("a") as log:
            log.write(f"{text}\n")

    def check_log(self) -> None:
        """Fail, with what it says, if it logged a fault.

        From when it is asked to end, only what goes through our code counts: libraries complain of each other then
        (pyzmq of a socket that jupyter_server has closed), and a kernel that is being started is interrupted.
        """
        faults: list[str] = []
        for running in self.log().split(STARTS):
            before, *after = running.split(ENDS)
            faults += before.split("Traceback")[1:]
            for text in "".join(after).split("Traceback")[1:]:
                if "/swangpu/" in text and "KeyboardInterrupt" not in text:
                    faults.append(text)
        if faults:
            raise AssertionError("the server logged:\n" + "\n".join(text[:3000] for text in faults))


@contextlib.contextmanager
def server(home: Path, *arguments: str, **settings: Any) -> Iterator[ServerProcess]:
    """A server for the length of a ``with``."""
    one = ServerProcess(home, *arguments, **settings)
    try:
        yield one.start()
    finally:
        one.stop()


def eventually(check: Any, timeout_s: float = 30.0) -> Any:
    """Ask again until the answer is true; the last complaint is the error."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = check()
            if found:
                return found
            problem: Any = f"still {found!r}"
        except (AssertionError, httpx.HTTPError, KeyError, IndexError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come about in {timeout_s} s: {problem}")
        time.sleep(0.05)
