"""What waits at a closed gate is noticed, and what the server itself asks is not taken for a cell."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from behind_agent import TIMEOUT_S, Attached, reply_to
from suspend_bench import subject

from swangpu.kernels import variables
from swangpu.kernels.bindings import BINDINGS
from swangpu.kernels.host import JupyterKernelHost


class Kernels(dict[str, Any]):
    """Jupyter's kernel manager, which has heard nothing of what its kernels do."""

    get_kernel = dict.__getitem__

    def list_kernel_ids(self) -> list[str]:
        return list(self)


@pytest.fixture
def unheard(kernel: Attached) -> SimpleNamespace:
    provisioner = SimpleNamespace(record_path=kernel.record_path, pid=kernel.manager.provisioner.pid)
    return SimpleNamespace(execution_state="idle", provisioner=provisioner, kernel_name="python3")


def test_a_cell_at_the_gate_is_noticed_though_no_message_about_it_was_heard(
    kernel: Attached, unheard: SimpleNamespace
) -> None:
    told: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    async def main() -> None:
        kernels = Kernels({kernel.id: unheard})
        host = JupyterKernelHost(kernels, None, on_activity=lambda *what: told.put_nowait(what))
        await host.bind_in_place(kernel.id, "s-1", BINDINGS.of_kernel[kernel.id].env)
        await host.gate(kernel.id, True)
        kernel.client.execute("1")
        assert await told.get() == ("s-1", True)
        # nor does it give up its place in the queue when its kernel seems to have nothing to do
        kernel.manager.interrupt_kernel()
        assert await told.get() == ("s-1", False)
        unheard.execution_state = "busy"
        kernel.client.execute("2")
        assert await told.get() == ("s-1", True)
        kernels.clear()
        await host.close()

    asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


@pytest.mark.parametrize("closed", [False, True])
def test_what_the_server_asks_is_told_to_nobody(kernel: Attached, closed: bool) -> None:
    kernel.run("1")
    if closed:
        kernel.ask("close")

    async def ask() -> Any:
        return await variables.ask_kernel(subject(kernel).kernel, "6 * 7", TIMEOUT_S)

    assert asyncio.run(ask()) == 42
    kernel.ask("open")
    cell = kernel.client.execute("2")
    assert reply_to(kernel.client, cell)["content"]["status"] == "ok"
    parents = {}
    while parents.get(cell) != "idle":
        message = kernel.client.get_iopub_msg(timeout=TIMEOUT_S)
        parents[message["parent_header"]["msg_id"]] = message["content"].get("execution_state")
    assert list(parents) == [cell]
