"""Binder: the environment is built from its own files, started as Binder starts it, and the first notebook runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server_process import ServerProcess, eventually, free_port
from system.driving import LiveKernel, all_given_back

ROOT = Path(__file__).parents[2]
NOTEBOOK = "first-gpu.ipynb"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class BinderServer(ServerProcess):
    """JupyterLab of Binder's environment: no argument says that it is a demo, its files do."""

    def __init__(self, home: Path, python: Path) -> None:
        super().__init__(home)
        self.python = python
        self.port = free_port()

    def start(self) -> BinderServer:
        words = ["-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}"]
        words += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"]
        log = (self.home / f"server-{self.port}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [str(self.python), *words], env=self.environment(), stdout=log, stderr=log, cwd=self.home / "work"
            )
        eventually(self._answers, 60)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-3000:]
        with self.client() as client:
            return bool(client.get("/api/status").status_code == 200)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` makes, apart from the labextension, which is taken as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "SKIP_JUPYTER_BUILDER": "1",
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    subprocess.run([sys.executable, *words], check=True, env=environment)
    return next(folder.glob("swangpu-*.whl"))


@pytest.fixture(scope="module")
def binder(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[BinderServer]:
    home = tmp_path_factory.mktemp("binder")
    environment = home / "environment"
    venv.create(environment, with_pip=True)
    # what repo2docker does: the repository, its requirements, then postBuild, with the environment first on the path
    work = home / "work"
    work.mkdir()
    for folder in ("binder", "examples"):
        shutil.copytree(ROOT / folder, work / folder)
    path = f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    settings = {**os.environ, "PATH": path, "SWANGPU_WHEEL": str(wheel)}
    python = environment / "bin" / "python"
    requirements = work / "binder" / "requirements.txt"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True, env=settings)
    subprocess.run([work / "binder" / "postBuild"], check=True, env=settings)
    server = BinderServer(home, python)
    try:
        yield server.start()
    finally:
        server.stop()


def test_the_page_opens_with_the_notebook(binder: BinderServer) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.get(f"{binder.url}/?token={binder.token}")
    assert answer.status_code == 302
    assert NOTEBOOK in answer.headers["Location"]


def test_the_panel_is_there_and_everything_is_simulated(binder: BinderServer) -> None:
    pools = binder.call("GET", "/pools").json()["items"]
    assert pools
    assert all(pool["simulated"] for pool in pools)
    with binder.client() as client:
        page = client.get("/lab").text
    assert '"name": "swangpu"' in page or "extensions/swangpu/static" in page


def test_the_first_notebook_runs(binder: BinderServer) -> None:
    notebook = json.loads((ROOT / "examples" / NOTEBOOK).read_text())
    kernel = LiveKernel(binder)
    said = []
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                done = kernel.run("".join(cell["source"]), 120)
                assert done.status == "ok", done.all
                said.append(done.all)
    finally:
        kernel.close()
    text = "\n".join(said)
    for word in ("Free now", "This kernel is on", "steps", "goes back", "Ran on", "simulated"):
        assert word in text
    assert "Traceback" not in text
    all_given_back(binder)
    binder.check_log()


def test_the_notebook_in_the_repository_is_clean() -> None:
    for path in (ROOT / "examples").glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                assert cell["execution_count"] is None
