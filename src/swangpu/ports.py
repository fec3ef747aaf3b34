"""The protocols between the core and the world.

Everything that swangpu asks of a service, a driver, a disk or a clock goes through one of these, and whoever
implements one of them is in a file of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .domain.devices import PoolInventory, Share
from .domain.records import DemandRecord, JournalEntry, ProfileRecord, RunPeak, UsageRecord
from .domain.sessions import Carry, ComesBack
from .domain.telemetry import DeviceInfo, DriverStatus, Sample

__all__ = [
    "Backend",
    "BackendStatus",
    "Clock",
    "GpuDriver",
    "KernelHost",
    "KernelInfo",
    "Ledger",
    "Remark",
    "Resumption",
    "Saying",
    "StartSpec",
    "Suspension",
]


class Clock(Protocol):
    """Where time comes from. ``now`` is Unix seconds; ``monotonic`` never goes back."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...


class GpuDriver(Protocol):
    """What the sampler asks of a vendor's driver. Every call may block: never call it on the event loop.

    No method raises: what does not answer is said in ``DriverStatus``, ``DeviceInfo.lost_reason`` or
    ``Sample.missing``, so that each device and each field fails alone.
    """

    simulated: bool

    def open(self) -> DriverStatus:
        """Load the driver, or try again after a failure. Idempotent and cheap when already open."""
        ...

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices and their MIG devices, lost ones included (with ``lost_reason``)."""
        ...

    def sample(self, uuid: str) -> Sequence[Sample]:
        """One sample of the device and one of each of its MIG devices."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class StartSpec:
    """What a backend needs to start the work of a session."""

    session_id: str
    user: str
    flavor: str
    shares: tuple[Share, ...]
    count: int
    memory_bytes: int | None
    duration_s: float
    kind: str
    project: str | None = None
    purpose: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BackendStatus:
    """What a backend says of one session's work.

    ``state``: ``queued``, ``starting``, ``running``, ``ended``, ``failed``, ``unknown``.
    """

    state: str
    code: str = ""
    text: str = ""
    hint: str = ""


class Backend(Protocol):
    """One service that has GPUs. See ``docs/backends.md``.

    ``start`` yields a checkpoint (an opaque string, journalled by the runtime) *before* each side effect, so
    that a crash leaks nothing: ``stop`` is given the last one and must be idempotent, and safe on what never
    started.
    """

    name: str

    async def inventory(self) -> PoolInventory: ...

    def start(self, spec: StartSpec) -> AsyncIterator[str]: ...

    async def status(self, checkpoints: Mapping[str, str]) -> dict[str, BackendStatus]:
        """Session id to status, for each session id in ``checkpoints``."""
        ...

    async def stop(self, checkpoint: str) -> None: ...

    def environment(self, shares: Sequence[Share]) -> dict[str, str | None]:
        """The environment that puts a process on these shares; None unsets a variable."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class KernelInfo:
    """A kernel of this server as the kernel side of swangpu sees it.

    ``execution_state`` is ``idle``, ``busy``, ``starting`` or ``dead``; ``agent_pid`` is None for a plain kernel.
    """

    kernel_id: str
    session_id: str | None
    execution_state: str
    path: str | None
    kernel_name: str
    agent_pid: int | None = None
    gated: bool = False
    #: the process to which what the kernel uses of a device is counted, with its children
    pid: int | None = None
    #: after how long without a cell its server shuts it down; None where it does not, as while somebody is connected
    idle_limit_s: float | None = None
    #: how what it has on a device can be put aside
    pause_methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suspension:
    """A kernel waits behind its gate.

    Attributes
    ----------
    method : str
        How what it had on the device was put aside; ``gate`` when it was not, and is there still.
    saved_bytes : int
        How much of it: in host memory, or on a disk (`swangpu.domain.sessions.ON_DISK`).
    comes_back : ComesBack
        Where it can go on.
    code, text : str
        Why it was not put aside, where a way to do it was tried; or what of it is on the device still.
    resident_bytes : int
        What has stayed on the device, being no more than what may: nothing was moved then.
    """

    method: str
    saved_bytes: int = 0
    comes_back: ComesBack = ComesBack.DEVICE
    code: str = ""
    text: str = ""
    resident_bytes: int = 0

    @property
    def frees(self) -> bool:
        """Whether its shares can be given to somebody else."""
        return self.method != "gate"


@dataclass(frozen=True)
class Resumption:
    """A kernel is on its shares again, and its gate is open.

    Attributes
    ----------
    busy : bool
        A cell had waited there, and runs now.
    code, text : str
        What its person should know all the same; empty where all is as it was.
    """

    busy: bool = False
    code: str = ""
    text: str = ""


@dataclass(frozen=True)
class Remark:
    """Something that is true of a session now, and that its person should know.

    Attributes
    ----------
    key : str
        Under which it is said once.
    text : str
        One line.
    actions : tuple of str
        What can be done about it: ``extend``, ``release``.
    until : float or None
        From when on it is not true any more (Unix seconds), whoever is there to say so.
    """

    key: str
    text: str
    actions: tuple[str, ...] = ()
    until: float | None = None


@dataclass(frozen=True)
class Saying:
    """What a kernel's cells show beside what they compute.

    Attributes
    ----------
    remarks : tuple of Remark
        For the output of the next cell that runs.
    waiting : str
        What a cell shows while it is held for its GPU; nothing else than before when empty.
    """

    remarks: tuple[Remark, ...] = ()
    waiting: str = ""


class KernelHost(Protocol):
    """The kernels of one Jupyter server, as the runtime needs them."""

    async def attach(self, kernel_id: str, session_id: str, env: Mapping[str, str | None], carry: Carry) -> None:
        """Restart a kernel behind the agent with the share's environment (same id, same kernelspec name).

        Raises
        ------
        NotFound
            No such kernel.
        Conflict
            The kernel is attached to another session.
        """
        ...

    async def detach(self, kernel_id: str, session_id: str, carry: Carry, *, stop_cell: bool = False) -> None:
        """Restart it without. Idempotent; safe when the kernel is gone.

        ``stop_cell``: a running cell is interrupted, so that the variables can be carried all the same.
        """
        ...

    async def bind_in_place(self, kernel_id: str, session_id: str, env: Mapping[str, str | None]) -> None:
        """Remember that a kernel has put itself on a share, so that its next restart keeps it."""
        ...

    async def unbind(self, kernel_id: str, session_id: str) -> None:
        """Forget a kernel that has taken itself off a share without having used it. Idempotent."""
        ...

    async def preview(self, kernel_id: str) -> Mapping[str, object]:
        """What attaching would do to a kernel: the fields of `swangpu.wire.KernelPreview`."""
        ...

    async def gate(self, kernel_id: str, closed: bool, message: str = "") -> None:
        """Close or open the agent's gate: while closed, execute requests are held in order."""
        ...

    async def say(self, kernel_id: str, saying: Saying) -> None:
        """Have a kernel's cells show this in the place of what they were to show before. Idempotent.

        Nothing happens where no agent speaks for the kernel.
        """
        ...

    async def suspend(
        self, kernel_id: str, methods: Sequence[str], budget_bytes: int | None = None, stays_bytes: int = 0
    ) -> Suspension:
        """Close the gate, see that nothing runs, and put aside what the kernel has on the device.

        Idempotent. ``methods`` are tried in their order; without one that works only the gate is closed. One that would
        take more than ``budget_bytes`` of host memory refuses before it moves anything. What is no more than
        ``stays_bytes`` may stay on the device behind the closed gate.

        Raises
        ------
        Conflict
            A cell runs, or the kernel has no gate; it goes on as before. With the parameter ``doubtful`` it goes on
            after it was touched, with ``lost`` it does not.
        """
        ...

    async def resume(self, kernel_id: str, env: Mapping[str, str | None]) -> Resumption:
        """Bring back what was put aside, and open the gate. Idempotent.

        ``env`` is that of the shares which it comes back to.

        Raises
        ------
        Conflict
            It could not be brought back; the gate stays closed. With the parameter ``lost`` it never will be, with
            ``own_device`` it can be on the device that it was on, and on no other.
        """
        ...

    async def refresh(self, *, patient: bool = False) -> None:
        """Learn anew which kernels there are, and their notebooks' paths, from which ``kernels`` and ``find`` answer.

        Parameters
        ----------
        patient : bool
            Somebody needs one that is not known: who is slow to say what it has is waited for.
        """
        ...

    def kernels(self) -> Sequence[KernelInfo]: ...

    def find(self, path: str) -> str | None:
        """The kernel id of the notebook at ``path``, or None."""
        ...


class Ledger(Protocol):
    """Durable storage. Synchronous and single-threaded: the runtime calls it on its one writer thread.

    Every method raises `swangpu.errors.LedgerUnavailable` when the disk or database does not do it, and then
    nothing of that call is stored.
    """

    def load(self) -> tuple[tuple[int, str] | None, Sequence[JournalEntry]]:
        """The newest readable snapshot (its seq and JSON), and all journal entries after it, in order."""
        ...

    def append(
        self,
        entries: Sequence[JournalEntry],
        usage: Sequence[UsageRecord] = (),
        demand: Sequence[DemandRecord] = (),
    ) -> None:
        """Write all of it in one transaction, on disk when this returns."""
        ...

    def save_snapshot(self, seq: int, state: str) -> None:
        """Keep a snapshot after entry ``seq``, and drop journal entries and snapshots older than the last two."""
        ...

    def usage(self, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]:
        """Sums grouped by ``user``, ``group``, ``flavor`` or ``pool``; of one user only unless ``user`` is None."""
        ...

    def demand(self, by: str, start: float, end: float, user: str | None) -> Sequence[Mapping[str, object]]: ...

    def add_profile(self, record: ProfileRecord) -> None:
        """Keep what a cell did; of a notebook, or a session without one, only the newest are kept."""
        ...

    def profiles(self, session_id: str) -> Sequence[ProfileRecord]:
        """What is kept of a session's cells, oldest first."""
        ...

    def run_peaks(self, user: str, path: str, limit: int) -> Sequence[RunPeak]:
        """The newest runs of a notebook, newest first, if all cells were profiled and an allocator told its peak."""
        ...

    def close(self) -> None: ...
