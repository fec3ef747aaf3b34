"""Somebody wants a kernel of a server that is slow to say what it has."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from swangpu.ports import KernelInfo
from swangpu.runtime.kernels import look_for
from swangpu.server import peers
from swangpu.server.peers import PeerKernelHost

FIT = KernelInfo("k-fit", None, "idle", "fit.ipynb", "python3", None)


class Here:
    """A server without kernels."""

    async def refresh(self, *, patient: bool = False) -> None: ...

    def kernels(self) -> list[KernelInfo]:
        return []

    def find(self, path: str) -> str | None:
        return None

    async def close(self) -> None: ...


class Near:
    """A neighbour that answers when it is let: with what it had when it was asked."""

    def __init__(self) -> None:
        self.has: list[KernelInfo] = []
        self.may_answer = asyncio.Event()
        self.asked = 0

    def all(self) -> dict[int, Any]:
        return {7: SimpleNamespace(pid=7, runs=lambda: True)}

    async def kernels(self, neighbour: Any, timeout_s: float) -> list[KernelInfo]:
        self.asked += 1
        had = list(self.has)
        await self.may_answer.wait()
        return had

    async def close(self) -> None: ...


async def leading() -> None:
    return None


def host(near: Near) -> PeerKernelHost:
    here: Any = Here()
    neighbourhood: Any = near
    return PeerKernelHost(here, neighbourhood, leading=lambda: True, leader=leading)


@pytest.mark.parametrize(("kernel_id", "path"), [("k-fit", None), (None, "fit.ipynb")])
def test_it_is_waited_for_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, kernel_id: str | None, path: str | None
) -> None:
    monkeypatch.setattr(peers, "REFRESH_WAIT_S", 0.0)

    async def main() -> None:
        near = Near()
        kernels = host(near)
        # somebody looks, and the notebook is started while the neighbour is about to answer
        await kernels.refresh()
        while not near.asked:
            await asyncio.sleep(0)
        near.has = [FIT]
        near.may_answer.set()
        wanted = look_for(kernels, kernel_id, path)
        assert await wanted == FIT
        await kernels.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_nobody_has_is_not_found() -> None:
    async def main() -> None:
        near = Near()
        near.may_answer.set()
        kernels = host(near)
        assert await look_for(kernels, "k-gone", None) is None
        assert await look_for(kernels, None, "gone.ipynb") is None
        await kernels.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_who_only_looks_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "REFRESH_WAIT_S", 0.0)
    monkeypatch.setattr(peers, "PATIENT_WAIT_S", 0.01)

    async def main() -> None:
        kernels = host(Near())
        await kernels.refresh()
        assert await look_for(kernels, "k-fit", None) is None
        await kernels.close()

    asyncio.run(asyncio.wait_for(main(), 60))
