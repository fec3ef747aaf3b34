"""What the server makes of a kernel's word on its arrays: a gate is not opened before they are known to be back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from swangpu.errors import Conflict
from swangpu.kernels import methods
from swangpu.kernels.methods import Aside, Offload, Subject


def out(monkeypatch: pytest.MonkeyPatch, answer: Any, budget_bytes: int | None = None) -> Aside:
    async def ask(kernel: Any, code: str, timeout_s: float) -> Any:
        assert code.endswith("out()" if budget_bytes is None else f"out(budget_bytes={budget_bytes})")
        return answer

    async def remember(saved: Sequence[Mapping[str, Any]]) -> None:
        pass

    monkeypatch.setattr(methods, "ask_kernel", ask)
    subject = Subject(kernel=None, socket=Path("/nowhere"), pid=1, env={})
    return asyncio.run(Offload().out(subject, [], remember, begun=False, budget_bytes=budget_bytes))


@pytest.mark.parametrize(
    "answer", [None, {"ok": False, "moved_bytes": 5, "error": "2 arrays could not be put back yet."}]
)
def test_one_that_may_have_moved_something_is_brought_back_first(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | None
) -> None:
    with pytest.raises(Conflict) as raised:
        out(monkeypatch, answer)
    assert raised.value.code == "not_saved"


def test_one_that_has_moved_nothing_can_be_put_aside_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    done = out(monkeypatch, {"ok": False, "moved_bytes": 0, "error": "There is no room."})
    assert not done.moved
    assert "no room" in done.text


def test_one_that_has_no_room_among_paused_sessions_says_so_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "It needs 12 GB of host memory, and 4 GB are left for paused sessions."
    done = out(monkeypatch, {"ok": False, "moved_bytes": 0, "error": said, "code": "no_room"}, budget_bytes=4 * 10**9)
    assert (done.moved, done.code, done.text, done.doubtful) == (False, "no_room", said, False)


@pytest.mark.parametrize(
    ("stays", "text"),
    [
        (
            [{"what": "jax: all arrays", "bytes": 9, "why": "it keeps them"}, {"what": "torch: x"}],
            "jax: all arrays (it keeps them)",
        ),
        ([], ""),
        (None, ""),
        (["of an older version"], ""),
    ],
)
def test_what_stays_on_the_device_is_named(monkeypatch: pytest.MonkeyPatch, stays: object, text: str) -> None:
    done = out(monkeypatch, {"ok": True, "moved_bytes": 5, "stays_bytes": 9, "stays": stays})
    assert (done.moved, done.stays_bytes, done.text) == (True, 9, text)


def test_what_counts_is_what_it_takes_in_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert out(monkeypatch, {"ok": True, "moved_bytes": 5, "host_bytes": 8}).saved_bytes == 8
    assert out(monkeypatch, {"ok": True, "moved_bytes": 5}).saved_bytes == 5


@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        ({"ok": True, "resident_bytes": 3 * 10**9}, 3 * 10**9),
        ({"ok": False, "error": "It has 9 GB on the device, and 4 GB may stay."}, 0),
        (None, 0),
    ],
)
def test_only_what_a_kernel_has_counted_stays_on_its_device(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | None, stays: int
) -> None:
    async def ask(kernel: Any, code: str, timeout_s: float) -> Any:
        assert code.endswith("stays(4000000000)")
        return answer

    monkeypatch.setattr(methods, "ask_kernel", ask)
    subject = Subject(kernel=None, socket=Path("/nowhere"), pid=1, env={})
    assert asyncio.run(Offload().stays(subject, 4 * 10**9)) == stays
