"""``swangpu demo``: a JupyterLab with a simulated fleet, apart from everything that the person has set up."""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Unavailable
from ..kernel_side import words

__all__ = ["FIRST_NOTEBOOK", "examples_folder", "main", "surroundings"]

FIRST_NOTEBOOK = "first-gpu.ipynb"


def main(asked: argparse.Namespace) -> int:
    try:
        from jupyterlab.labapp import LabApp
    except ImportError:
        raise Unavailable(
            "The demo needs JupyterLab.", hint="pip install 'swangpu[demo]'", code="no_jupyterlab"
        ) from None
    with _home(asked.directory) as home:
        work = home / "notebooks"
        copy_examples(work)
        os.environ.update(surroundings(home))
        os.environ.pop("JUPYTER_CONFIG_PATH", None)
        # a kernel or a terminal of another server must not be taken for ours
        for name in ("SWANGPU_API_URL", "SWANGPU_API_TOKEN_FILE", "SWANGPU_SESSION_ID", "JUPYTERHUB_USER"):
            os.environ.pop(name, None)
        print("swangpu: a demo with simulated GPUs; nothing here is real hardware.", file=sys.stderr, flush=True)
        LabApp.launch_instance(argv=lab_arguments(asked, home, work))
    return 0


def lab_arguments(asked: argparse.Namespace, home: Path, work: Path) -> list[str]:
    """The command line of JupyterLab."""
    arguments = [
        "--SwanGpu.simulated=True",
        # soon enough to be seen by somebody who tries it out
        "--SwanGpu.reclaim=enforce",
        "--SwanGpu.idle_pause_s=20",
        f"--SwanGpu.data_dir={home / 'data' / 'swangpu'}",
        f"--SwanGpu.runtime_dir={home / 'broker'}",
        "--ServerApp.jpserver_extensions=swangpu.server=True",
        f"--ServerApp.root_dir={work}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
    ]
    if asked.no_browser:
        arguments.append("--no-browser")
    if asked.port is not None:
        arguments.append(f"--port={asked.port}")
    if asked.token is not None:
        arguments.append(f"--IdentityProvider.token={asked.token}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")
    return arguments + list(asked.lab_arguments)


def surroundings(home: Path) -> dict[str, str]:
    """Jupyter's and IPython's own folders, so that nothing of the person's is read or written."""
    return {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "config" / "lab" / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "config" / "lab" / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        # other extensions of Lab ask npm for what is installed, and npm keeps a log of that
        "npm_config_cache": str(home / "npm"),
    }


def examples_folder() -> Path:
    """Where the notebooks are: in the package, or beside its sources."""
    inside = Path(__file__).parent.parent / "examples"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "examples"


def copy_examples(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(examples_folder().glob("*.ipynb")):
        target = work / notebook.name
        if not target.exists():
            shutil.copyfile(notebook, target)


@contextmanager
def _home(named: str | None) -> Iterator[Path]:
    """A folder for everything; a temporary one goes again, unless there is work of the person's in it."""
    if named is not None:
        home = Path(named).resolve()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    else:
        home = Path(tempfile.mkdtemp(prefix="swangpu-demo-"))
    _quiet_lab(home)
    try:
        yield home
    finally:
        if named is None:
            work = home / "notebooks"
            if _changed(work):
                for folder in ("config", "data", "runtime", "ipython", "broker", "npm"):
                    shutil.rmtree(home / folder, ignore_errors=True)
                print(f"swangpu: your notebooks are in {words.clean(work)}", file=sys.stderr)
            else:
                shutil.rmtree(home, ignore_errors=True)


def _changed(work: Path) -> bool:
    """Whether there is anything in it that did not come from the examples."""
    examples = examples_folder()
    for path in work.rglob("*"):
        if ".ipynb_checkpoints" in path.parts or path.is_dir():
            continue
        original = examples / path.name
        if not original.exists() or not filecmp.cmp(path, original, shallow=False):
            return True
    return False


def _quiet_lab(home: Path) -> None:
    """No question about news in the first minute."""
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    target = settings / "notification.jupyterlab-settings"
    with contextlib.suppress(OSError):
        if not target.exists():
            target.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), encoding="utf-8")
