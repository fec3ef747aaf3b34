"""Whose the processes of this host are: from sessions to what computes for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..broker.residents import place_of
from ..domain.sessions import Session
from ..ports import GpuDriver, KernelHost

if TYPE_CHECKING:
    from ..telemetry.attribution import Owner

__all__ = ["SessionProcesses"]


class SessionProcesses:
    """The processes of all live sessions, as of the last look.

    Parameters
    ----------
    kernels : KernelHost

    Attributes
    ----------
    owners : mapping
        By process id, for those that stand for a kernel or a command. Replaced as a whole, never changed: it is read on
        other threads.
    """

    def __init__(self, kernels: KernelHost) -> None:
        self.owners: Mapping[int, Owner] = {}
        self._kernels = kernels
        self._pids: Mapping[str, frozenset[int]] = {}
        #: when the process began that stands for a session's kernel or command, since we know of it
        self._started: dict[tuple[int, str, str | None], float | None] = {}

    def look(self, sessions: Iterable[Session]) -> None:
        """Take in what computes for these sessions now."""
        pids: dict[str, list[int]] = {}
        for kernel in self._kernels.kernels():
            if kernel.session_id is not None and kernel.pid is not None:
                pids.setdefault(kernel.session_id, []).append(kernel.pid)
        for session in sessions:
            pid = dict(session.request.options).get("pid", "")
            if pid.isdecimal():
                pids.setdefault(session.id, []).append(int(pid))
        self._pids = {session_id: frozenset(found) for session_id, found in pids.items()}
        self.owners = self._owning()

    def own(self) -> set[int]:
        """The processes that are ours: what they use of a device is not taken by others. On any thread."""
        return set().union(*self.all().values())

    def all(self) -> dict[str, set[int]]:
        """Session id to all its processes, children included. On any thread."""
        return {session_id: set(pids) | _descendants(pids) for session_id, pids in self._pids.items()}

    def bind(self, driver: GpuDriver, sessions: Iterable[Session]) -> None:
        """Tell a simulated driver which processes compute where; a real one sees that itself."""
        from ..simulation.driver import SimulatedDriver

        if not isinstance(driver, SimulatedDriver):
            return
        bound: dict[int, tuple[str, ...]] = {}
        held: list[str] = []
        for session in sessions:
            units = tuple(share.mig_uuid or share.device_uuid for share in place_of(session))
            held += units
            bound.update(dict.fromkeys(self._pids.get(session.id, ()), units))
        driver.rebind(bound, held)

    def _owning(self) -> dict[int, Owner]:
        from ..telemetry.attribution import Owner
        from ..telemetry.processes import started_at

        kernels = {k.pid: k.kernel_id for k in self._kernels.kernels() if k.session_id is not None}
        keys = [(pid, session_id, kernels.get(pid)) for session_id, found in self._pids.items() for pid in found]
        before = self._started
        self._started = {key: before[key] if key in before else started_at(key[0]) for key in keys}
        return {key[0]: Owner(key[1], key[2], started) for key, started in self._started.items()}


def _descendants(pids: frozenset[int]) -> set[int]:
    import psutil

    out: set[int] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            out.update(child.pid for child in psutil.Process(pid).children(recursive=True))
    return out
