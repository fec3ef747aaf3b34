"""The server asks a real kernel to move its arrays, unseen by its notebook; no framework is there, nothing moves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager

import swangpu.kernel_side as package
from swangpu.kernels import variables

SITE = Path(package.__file__).parent / "_site"


async def in_a_kernel(expressions: list[str]) -> tuple[list[Any], Any]:
    manager = AsyncKernelManager(kernel_name="python3")
    await manager.start_kernel()
    try:
        answers = [await variables.ask_kernel(manager, expression, 60) for expression in expressions]
        names = await variables.ask_kernel(manager, "sorted(n for n in globals() if 'swangpu' in n)", 60)
    finally:
        await manager.shutdown_kernel(now=True)
    return answers, names


def test_questions_at_the_same_time_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SITE))

    async def all_at_once() -> list[Any]:
        manager = AsyncKernelManager(kernel_name="python3")
        await manager.start_kernel()
        try:
            await variables.ready(manager)
            return list(await asyncio.gather(*(variables.ask_kernel(manager, str(n), 30) for n in range(10))))
        finally:
            await manager.shutdown_kernel(now=True)

    assert asyncio.run(all_at_once()) == list(range(10))


def test_a_kernel_without_any_framework_answers_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SITE))
    asked = ["preview()", "out()", "out(budget_bytes=10)", "state()", "back()"]
    answers, names = asyncio.run(in_a_kernel([f"swangpu_kernel.offload.{one}" for one in asked]))
    assert [answer.get("ok", True) for answer in answers] == [True] * 5
    assert [answer["moved_bytes"] for answer in answers] == [0] * 5
    assert answers[3]["state"] == "out", "it was asked to, though there was nothing"
    assert names == []
