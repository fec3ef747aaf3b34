"""Where the API is: what the server told this kernel, or the file that a running server keeps.

A server of ours writes ``swangpu-<pid>.json`` into Jupyter's runtime directory, readable by its owner only::

    {"url": "http://127.0.0.1:8888/", "token": "…", "pid": 1234, "started_at": 1793.0}

``url`` is the server's base URL; the token is good for our API only (a server with a password publishes none of its
own).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = [
    "Place",
    "alive",
    "api_base",
    "environment_place",
    "find",
    "forget",
    "jupyter_runtime_dir",
    "read_all",
    "runtime_file",
    "write",
]


@dataclass(frozen=True)
class Place:
    """A server: its base URL, a token for our API, its process id, and when it started (Unix seconds)."""

    url: str
    token: str
    pid: int | None = None
    started_at: float = 0.0

    def __repr__(self) -> str:
        # a token must not come into a traceback or a log
        return f"Place(url={self.url!r}, pid={self.pid})"


def api_base(url: str) -> str:
    """The API's base URL, of a server's base URL or of itself."""
    url = url.rstrip("/")
    return url if url.endswith("/swangpu/api/v1") else f"{url}/swangpu/api/v1"


def jupyter_runtime_dir() -> Path:
    """Jupyter's own answer where it can be had, else the same by the rules it documents."""
    with contextlib.suppress(Exception):
        from jupyter_core.paths import jupyter_runtime_dir as ask

        return Path(ask())
    if "JUPYTER_RUNTIME_DIR" in os.environ:
        return Path(os.environ["JUPYTER_RUNTIME_DIR"])
    if "JUPYTER_DATA_DIR" in os.environ:
        return Path(os.environ["JUPYTER_DATA_DIR"]) / "runtime"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Jupyter" / "runtime"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "jupyter" / "runtime"


def runtime_file(pid: int, directory: Path | None = None) -> Path:
    """The file of the server with this process id."""
    return (directory or jupyter_runtime_dir()) / f"swangpu-{pid}.json"


def write(place: Place, directory: Path | None = None) -> Path:
    """Publish a server, at once and for its owner only."""
    if place.pid is None:
        raise ValueError("a server has a process id")
    path = runtime_file(place.pid, directory)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    # made with its mode: at no moment can others read it
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(place), file)
    scratch.replace(path)
    return path


def forget(pid: int, directory: Path | None = None) -> None:
    """The server is going away."""
    with contextlib.suppress(OSError):
        runtime_file(pid, directory).unlink()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def read_all(directory: Path | None = None) -> list[Place]:
    """The running servers of this user, the newest first; what is torn, foreign or of a dead server is left out."""
    found: list[Place] = []
    with contextlib.suppress(OSError):
        for path in sorted((directory or jupyter_runtime_dir()).glob("swangpu-*.json")):
            place = _read(path)
            if place is not None and place.pid is not None and alive(place.pid):
                found.append(place)
    return sorted(found, key=lambda place: -place.started_at)


def _read(path: Path) -> Place | None:
    try:
        with path.open("rb") as file:
            # a file that somebody else wrote would send us, and what we say, to them
            if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            content = json.loads(file.read(100_000))
        url, token = content["url"], content["token"]
        if not (isinstance(url, str) and url.startswith(("http://", "https://")) and isinstance(token, str)):
            return None
        return Place(url, token, int(content["pid"]), float(content.get("started_at") or 0.0))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def environment_place() -> Place | None:
    """What the provisioner told this kernel: ``SWANGPU_API_URL`` and ``SWANGPU_API_TOKEN_FILE``."""
    url = os.environ.get("SWANGPU_API_URL")
    if not url:
        return None
    token = ""
    with contextlib.suppress(OSError, ValueError):
        token = Path(os.environ.get("SWANGPU_API_TOKEN_FILE", "")).read_text(encoding="utf-8").strip()
    return Place(url, token)


def find(directory: Path | None = None) -> Place | None:
    """Where to ask: what this process was told, else the server that is its parent, else the newest one.

    A kernel can outlive its server, and then what it was told is no longer true: none of those that run has that token.
    """
    told = environment_place()
    places = read_all(directory)
    if told is not None and (not places or any(place.token == told.token for place in places)):
        return told
    parent = os.environ.get("JPY_PARENT_PID", "")
    for place in places:
        if str(place.pid) == parent:
            return place
    return places[0] if places else None
