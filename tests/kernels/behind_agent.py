"""A kernel behind a real agent, as the provisioner starts it; no server."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from readiness import wait_until_ready
from swangpu.kernels import registry
from swangpu.kernels.bindings import BINDINGS, Binding
from swangpu.kernels.door import ask

__all__ = ["TIMEOUT_S", "Attached", "outputs_of", "reply_to", "text_of"]

TIMEOUT_S = 60


class Attached:
    """A kernel, its manager, and a first client."""

    def __init__(self, kernel_name: str, runtime_dir: Path, env: dict[str, str | None] | None) -> None:
        self.id = str(uuid.uuid4())
        self.runtime_dir = runtime_dir
        if env is not None:
            BINDINGS.of_kernel[self.id] = Binding("s-1", env)
        self.manager = KernelManager(kernel_name=kernel_name)
        self.manager.start_kernel(kernel_id=self.id)
        self.clients: list[BlockingKernelClient] = []
        self.client = self.connect()

    def connect(self, client_id: str | None = None) -> BlockingKernelClient:
        client = self.manager.client()
        # a manager's clients all have its session's id, and with it one identity
        client.session.session = client_id or uuid.uuid4().hex
        client.start_channels()
        wait_until_ready(client, TIMEOUT_S)
        self.clients.append(client)
        return client

    @property
    def record_path(self) -> Path:
        return registry.path_of(self.runtime_dir, self.id)

    @property
    def record(self) -> dict[str, Any]:
        found = registry.read(self.record_path)
        assert found is not None
        return found

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        return ask(Path(self.record["socket"]), {"do": do, **more})

    def run(self, code: str, client: BlockingKernelClient | None = None) -> str:
        """Run a cell; what it printed or raised."""
        out: list[str] = []
        reply = (client or self.client).execute_interactive(
            code, timeout=TIMEOUT_S, output_hook=lambda m: out.append(text_of(m)), allow_stdin=False
        )
        assert reply["header"]["msg_type"] == "execute_reply"
        return "".join(out)

    def close(self) -> None:
        for client in self.clients:
            client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        BINDINGS.of_kernel.pop(self.id, None)


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    if message["header"]["msg_type"] == "stream":
        return str(content["text"])
    if message["header"]["msg_type"] == "error":
        return f"{content['ename']}: {content['evalue']}"
    return str(content.get("data", {}).get("text/plain", ""))


def reply_to(client: BlockingKernelClient, msg_id: str, channel: str = "shell") -> dict[str, Any]:
    """The reply to one request; others are left out."""
    while True:
        message = getattr(client, f"get_{channel}_msg")(timeout=TIMEOUT_S)
        if message["parent_header"].get("msg_id") == msg_id:
            return message


def outputs_of(client: BlockingKernelClient, msg_id: str) -> list[dict[str, Any]]:
    """All that is said on iopub for one request, until it is idle."""
    found = []
    while True:
        message = client.get_iopub_msg(timeout=TIMEOUT_S)
        if message["parent_header"].get("msg_id") == msg_id:
            found.append(message)
            if message["content"].get("execution_state") == "idle":
                return found
