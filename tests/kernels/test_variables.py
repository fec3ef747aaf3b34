"""Variables that can't be written are not thrown away by a restart, and who lost some is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swangpu.errors import Conflict
from swangpu.kernels import variables

KERNEL = SimpleNamespace(kernel_spec=SimpleNamespace(language="python"), execution_state="idle")


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[str]:
    asked: list[str] = []
    left = list(answers)

    async def ask(kernel: Any, expression: str, timeout_s: float) -> Any:
        asked.append(expression)
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(variables, "ask_kernel", ask)
    monkeypatch.setattr(variables, "STOP_PAUSE_S", 0.0)
    return asked


def test_a_full_disk_refuses_the_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    why = "The variables can't be kept: No space left on device."
    answering(monkeypatch, {"carried": [], "left": [{"name": "x", "why": why}], "error": why})
    with pytest.raises(Conflict) as raised:
        asyncio.run(variables.save(KERNEL, tmp_path))
    assert (raised.value.code, raised.value.detail) == ("carry_failed", why)


def test_a_kernel_that_computes_is_not_interrupted_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    busy = SimpleNamespace(kernel_spec=KERNEL.kernel_spec, execution_state="busy")
    asked = answering(monkeypatch, None)
    with pytest.raises(Conflict) as raised:
        asyncio.run(variables.save(busy, tmp_path))
    assert raised.value.code == "kernel_busy"
    assert asked == []


class JustAsked:
    """A kernel that looks busy for a moment with what the server has asked it."""

    kernel_spec = KERNEL.kernel_spec

    def __init__(self) -> None:
        self.states = iter(["busy", "busy", "busy"])

    @property
    def execution_state(self) -> str:
        return next(self.states, "idle")


def test_what_the_server_has_just_asked_is_no_running_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, {"carried": ["x"], "left": []}, {"stack": [], "warning": None})
    seen = asyncio.run(variables.preview(JustAsked()))
    assert (seen["carried"], seen["warning"]) == (["x"], None)
    answering(monkeypatch, {"carried": ["x"], "left": []})
    assert asyncio.run(variables.save(JustAsked(), tmp_path)).left == ()


def test_a_cell_that_does_not_stop_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    busy = SimpleNamespace(kernel_spec=KERNEL.kernel_spec, execution_state="busy")
    interrupts = []

    async def interrupt() -> None:
        interrupts.append(1)

    answering(monkeypatch, None)
    with pytest.raises(Conflict) as raised:
        asyncio.run(variables.save(busy, tmp_path, interrupt))
    assert (raised.value.code, len(interrupts)) == ("kernel_busy", 1)

    answering(monkeypatch, None, True, {"carried": ["x"], "left": [{"name": "log", "why": "open"}]})
    saved = asyncio.run(variables.save(busy, tmp_path, interrupt))
    assert saved.left == ("log",)


def test_a_kernel_that_can_not_read_them_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved = variables.Saved(tmp_path / "variables", ())
    answering(monkeypatch, {"carried": [], "left": [], "error": "The variables can't be read."})
    assert asyncio.run(variables.load(KERNEL, saved)) == ([], "The variables can't be read.")
    answering(monkeypatch, None)
    names, why = asyncio.run(variables.load(KERNEL, saved))
    assert not names
    assert why
