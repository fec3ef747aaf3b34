"""The next server takes over living kernels: once, and only what is really there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from behind_agent import TIMEOUT_S, Attached
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.services.sessions.sessionmanager import SessionManager

from swangpu.kernels import registry
from swangpu.kernels.bindings import BINDINGS
from swangpu.kernels.host import JupyterKernelHost


@pytest.fixture
def orphan(kernel: Attached) -> Attached:
    """A kernel behind its agent, whose server is gone."""
    kernel.run("precious = 42")
    kernel.client.stop_channels()
    kernel.manager.stop_restarter()
    notebook = {"id": "n-1", "path": "sub/fit.ipynb", "name": "fit.ipynb", "type": "notebook"}
    rewrite(kernel, server_start="gone", notebook=notebook)
    BINDINGS.of_kernel.pop(kernel.id)
    return kernel


def rewrite(kernel: Attached, **more: Any) -> None:
    registry.write(kernel.record_path, {**kernel.record, **more})


class Server:
    """The parts of a Jupyter server that take part."""

    def __init__(self, root: Path) -> None:
        (root / "sub").mkdir(exist_ok=True)
        self.kernels = AsyncMappingKernelManager(root_dir=str(root))
        self.sessions = SessionManager(
            kernel_manager=self.kernels, contents_manager=AsyncLargeFileManager(root_dir=str(root))
        )
        self.host = JupyterKernelHost(self.kernels, self.sessions)

    async def ask(self, kernel_id: str, expression: str) -> str:
        client = self.kernels.get_kernel(kernel_id).client()
        client.start_channels()
        try:
            message_id = client.execute("", user_expressions={"answer": expression})
            while True:
                reply = await client.get_shell_msg(timeout=TIMEOUT_S)
                if reply["parent_header"].get("msg_id") == message_id:
                    return str(reply["content"]["user_expressions"]["answer"]["data"]["text/plain"])
        finally:
            client.stop_channels()


def test_taken_over_once_with_variables_share_and_notebook(orphan: Attached, tmp_path: Path) -> None:
    agent_pid = orphan.record["agent_pid"]

    async def main() -> None:
        server = Server(tmp_path)
        # an extension's start and a viewer's first request come at the same time
        assert sorted(await asyncio.gather(*(server.host.adopt() for _ in range(3)))) == [0, 0, 1]
        assert await server.ask(orphan.id, "precious") == "42"
        (info,) = server.host.kernels()
        assert (info.kernel_id, info.session_id, info.agent_pid) == (orphan.id, "s-1", agent_pid)
        assert (info.path, info.kernel_name, info.execution_state) == ("sub/fit.ipynb", "python3", "idle")
        (session,) = await server.sessions.list_sessions()
        assert (session["id"], session["path"], session["kernel"]["id"]) == ("n-1", "sub/fit.ipynb", orphan.id)
        # a restart keeps the share, and is where and as Jupyter would have started it
        await server.kernels.restart_kernel(orphan.id, now=True)
        assert await server.ask(orphan.id, "__import__('os').environ['CUDA_VISIBLE_DEVICES']") == "'GPU-1'"
        assert await server.ask(orphan.id, "__import__('os').getcwd()") == repr(str(tmp_path / "sub"))
        assert orphan.record["agent_pid"] != agent_pid
        await server.kernels.shutdown_kernel(orphan.id)
        assert not orphan.record_path.exists()
        await server.host.close()

    asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


@pytest.mark.parametrize(
    ("lie", "stays"),
    [
        ({"agent_start": "somebody:else"}, False),
        ({"kernel_start": "somebody:else"}, False),
        ({"kernel_pid": 1}, False),
        ({"host": "another-host"}, True),
    ],
)
def test_what_is_not_what_it_says_is_left_alone(
    orphan: Attached, tmp_path: Path, lie: dict[str, Any], stays: bool
) -> None:
    truth = orphan.record
    rewrite(orphan, **lie)

    async def main() -> None:
        server = Server(tmp_path)
        assert await server.host.adopt() == 0
        assert list(server.kernels.list_kernel_ids()) == []

    asyncio.run(main())
    assert orphan.record_path.exists() == stays
    assert registry.alive(truth), "a process that is not known to be ours was signalled"
    registry.write(orphan.record_path, truth)


def test_the_kernels_of_a_living_server_are_its_own(orphan: Attached, tmp_path: Path) -> None:
    import os

    rewrite(orphan, server_pid=os.getppid(), server_start=registry.process_start(os.getppid()))

    async def main() -> None:
        assert await Server(tmp_path).host.adopt() == 0

    asyncio.run(main())
    assert orphan.record_path.exists()
