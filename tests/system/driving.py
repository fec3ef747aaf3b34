"""A running server, as its users reach it: a kernel driven as a notebook drives it, and the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from jupyter_client import BlockingKernelClient

from readiness import wait_until_ready
from server_process import ServerProcess, eventually

__all__ = ["DEVICES", "FLAVOR", "Cell", "LiveKernel", "all_given_back", "command", "free", "live_sessions"]

FLAVOR = "t4/time-4"
DEVICES = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"


@dataclass
class Cell:
    """What a cell printed and showed (the last state of each display), and how it failed."""

    status: str = ""
    text: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def all(self) -> str:
        return self.text + "\n".join(str(data.get("text/plain", "")) for data in self.shown) + self.error


class LiveKernel:
    """Started by the server's own API, and talked to by its connection file."""

    def __init__(self, server: ServerProcess, name: str = "python3") -> None:
        self.server = server
        with server.client() as client:
            answer = client.post("/api/kernels", json={"name": name})
        assert answer.status_code == 201, answer.text
        self.id: str = answer.json()["id"]
        path = eventually(lambda: list(server.home.rglob(f"kernel-{self.id}.json")))[0]
        self.client = BlockingKernelClient(connection_file=str(path))
        self.client.load_connection_file()
        self.client.start_channels()
        wait_until_ready(self.client, 60)

    def run(self, code: str, timeout_s: float = 60.0) -> Cell:
        cell, by_display = Cell(), {}

        def hook(message: dict[str, Any]) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                cell.text += content["text"]
            elif kind in ("display_data", "execute_result", "update_display_data"):
                key = content.get("transient", {}).get("display_id")
                if key in by_display:
                    cell.shown[by_display[key]] = content["data"]
                    return
                if key is not None:
                    by_display[key] = len(cell.shown)
                cell.shown.append(content["data"])
            elif kind == "error":
                cell.error = f"{content['ename']}: {content['evalue']}"

        reply = self.client.execute_interactive(code, timeout=timeout_s, output_hook=hook, allow_stdin=False)
        cell.status = reply["content"]["status"]
        return cell

    def after_restart(self) -> LiveKernel:
        """Ask until it answers, as a notebook does: what is sent while a kernel restarts may be lost."""
        wait_until_ready(self.client, 60)
        return self

    def complete(self, code: str) -> list[str]:
        reply = self.client.complete(code, len(code), reply=True, timeout=30)
        found: list[str] = reply["content"]["matches"]
        return found

    def close(self) -> None:
        self.client.stop_channels()
        with self.server.client() as client:
            client.delete(f"/api/kernels/{self.id}")


def free(server: ServerProcess, flavor: str = FLAVOR) -> int:
    offers = server.call("GET", "/offers").json()["items"]
    return next(int(one["free"]) for one in offers if one["flavor"] == flavor)


def live_sessions(server: ServerProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.call("GET", "/sessions").json()["items"]
    return [one for one in found if one["state"] != "ended"]


def all_given_back(server: ServerProcess) -> None:
    eventually(lambda: not live_sessions(server))


def command(live: ServerProcess, *words: str) -> list[str]:
    token = live.home / "token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(live.token)
    # behind the name of the command; a report has two
    names, rest = (words[:2], words[2:]) if words[0] == "report" else (words[:1], words[1:])
    return [sys.executable, "-m", "swangpu.cli", *names, "--url", live.url, "--token-file", str(token), *rest]
