"""``ends`` names an idle limit only where it will really come."""

from __future__ import annotations

from dataclasses import replace

from swangpu.domain.sessions import Request, Session, SessionKind, SessionState
from swangpu.ports import KernelInfo
from swangpu.server.limits import other_ends

SESSION = Session(
    id="s1",
    number=1,
    user="ada",
    request=Request(kind=SessionKind.KERNEL, flavor="t4"),
    state=SessionState.ACTIVE,
    created_at=0.0,
    kernel_ids=("a", "b"),
    idle_since=1000.0,
)


def kernel(name: str, limit_s: float | None) -> KernelInfo:
    return KernelInfo(name, "s1", "idle", None, "python3", idle_limit_s=limit_s)


def test_a_session_lasts_as_long_as_its_last_kernel() -> None:
    kernels = [kernel("a", 600.0), kernel("b", 3600.0), kernel("other", 1.0)]
    assert other_ends(SESSION, kernels, 0.0) == [(4600.0, "kernel_idle_limit")]


def test_a_kernel_that_is_not_culled_keeps_it() -> None:
    assert other_ends(SESSION, [kernel("a", 600.0), kernel("b", None)], 60.0) == []
    assert other_ends(SESSION, [kernel("a", 600.0)], 60.0) == []


def test_a_server_without_kernels_has_its_own_limit() -> None:
    assert other_ends(replace(SESSION, kernel_ids=()), [], 60.0) == [(1060.0, "server_idle_limit")]
    assert other_ends(replace(SESSION, kernel_ids=()), [], 0.0) == []


def test_nothing_ends_what_computes() -> None:
    assert other_ends(replace(SESSION, busy=True, idle_since=None), [kernel("a", 1.0), kernel("b", 1.0)], 1.0) == []
