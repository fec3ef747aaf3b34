"""A suspender on the stand-ins of driver and program, and real kernels behind real agents for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from behind_agent import Attached
from jupyter_client.asynchronous.client import AsyncKernelClient

from suspend.sim import GPU, MIB, MODEL, CudaSim, View, machine
from swangpu.kernels import checkpoint_record
from swangpu.kernels.checkpoint import Checkpointer
from swangpu.kernels.checkpoint_machine import Machine
from swangpu.kernels.checkpoint_method import Checkpoint
from swangpu.kernels.checkpoint_record import Passed
from swangpu.kernels.checkpoint_room import Room
from swangpu.kernels.methods import Subject
from swangpu.kernels.suspend import Suspender
from swangpu.ports import Resumption, Suspension

ON_IT = {"CUDA_VISIBLE_DEVICES": GPU.format(0)}


@dataclass
class Process:
    """As far as the stand-ins want to know it."""

    pid: int

    def end(self) -> None:
        """Its kernel ends with the test."""


class Bench:
    """A suspender on the stand-ins; what a server is made anew with after a crash."""

    def __init__(self, cuda: CudaSim) -> None:
        self.cuda = cuda
        self.view = View(cuda)
        self.suspender = self.server()

    def server(self, *, remaps: bool = True, **machine_changes: Any) -> Suspender:
        record = self.cuda.folder / "record.json"
        found = machine(self.cuda, **machine_changes)
        passed = Passed("boot", found.driver_version, "digest", found.user_id, {MODEL: remaps})
        checkpoint_record.write(record, passed)

        def look(program: str, driver: str) -> Machine:
            return found

        self.checkpoint = Checkpoint(
            Checkpointer(
                self.view,
                program=str(self.cuda.program),
                record=record,
                look=look,
                room=lambda pid: Room(2**40, "machine"),
            )
        )
        self.suspender = Suspender(self.checkpoint)
        asyncio.run(self.suspender.learn())
        return self.suspender

    def uses(self, pid: int, size_bytes: int = 64 * MIB) -> Process:
        """This process uses the device from now on."""
        process = Process(pid)
        (self.cuda.folder / f"{pid}.mem").write_text(f"{GPU.format(0)} {size_bytes}\n")
        return process

    def suspend(
        self,
        kernel: Attached,
        *methods: str,
        budget_bytes: int | None = None,
        stays_bytes: int = 0,
        device: int = 0,
    ) -> Suspension:
        ways = methods or ("checkpoint",)
        return asyncio.run(self.suspender.suspend(subject(kernel, device), ways, budget_bytes, stays_bytes))

    def resume(self, kernel: Attached, device: int = 0) -> bool:
        return self.brought_back(kernel, device).busy

    def brought_back(self, kernel: Attached, device: int = 0) -> Resumption:
        return asyncio.run(self.suspender.resume(subject(kernel, device)))


class AsServersHaveIt:
    """A kernel's manager whose clients are asynchronous."""

    def __init__(self, kernel: Attached) -> None:
        self.kernel_spec = kernel.manager.kernel_spec
        self.provisioner = kernel.manager.provisioner
        self._connection = kernel.manager.get_connection_info(session=False)

    def client(self, **ports: Any) -> AsyncKernelClient:
        client = AsyncKernelClient()
        client.load_connection_info({**self._connection, **ports})
        return client


def subject(kernel: Attached, device: int = 0) -> Subject:
    record, env = kernel.record, {**ON_IT, "CUDA_VISIBLE_DEVICES": GPU.format(device)}
    return Subject(AsServersHaveIt(kernel), Path(record["socket"]), int(record["kernel_pid"]), env)


@pytest.fixture
def bench(cuda: CudaSim) -> Bench:
    return Bench(cuda)


@pytest.fixture
def fit(attach: Callable[..., Attached], bench: Bench) -> Attached:
    """A Python kernel that uses the device."""
    kernel = attach("python3", ON_IT)
    kernel.run("count = 41")
    bench.uses(int(kernel.record["kernel_pid"]))
    return kernel


def pid_of(kernel: Attached) -> Process:
    return Process(int(kernel.record["kernel_pid"]))


async def only_checkpoint(bench: Bench, kernel: Attached) -> None:
    """Suspended, and the agent does not know what was saved."""
    await bench.checkpoint._checkpointer.suspend([int(kernel.record["kernel_pid"])])
