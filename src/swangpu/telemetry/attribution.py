"""Whose a process on a device is: process, kernel, session. Pure, but for what is asked about a process.

A process belongs to the kernel (or command) that it descends from. One whose parents have ended is known by the
environment that it was started with, if it runs as the same user; one that is not, by a cgroup that is only that
kernel's. What is left holds no session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..domain.telemetry import DeviceInfo, ProcessUse, Sample

__all__ = ["Attributed", "Owner", "ProcessFacts", "attribute"]

How = Literal["tree", "environment", "cgroup"]
#: a chain of parents that is longer is taken for a loop
LONGEST_CHAIN = 256
#: everything descends from process 1, and 0 is the kernel's own: neither stands for anybody
LOWEST_PID = 2
#: starts that are further apart, in seconds, are those of two processes: a clock that is set moves what is told of one
START_S = 2.0


@dataclass(frozen=True)
class ProcessFacts:
    """What the machine says of a process.

    Attributes
    ----------
    session_id, kernel_id : str or None
        Of the environment that it was started with.
    cgroup : str or None
        Its control group's path.
    started_at : float or None
        Unix seconds.
    """

    pid: int
    parent_pid: int
    user_id: int | None = None
    name: str = ""
    session_id: str | None = None
    kernel_id: str | None = None
    cgroup: str | None = None
    started_at: float | None = None


@dataclass(frozen=True)
class Owner:
    """The session, and in it the kernel, that a process computes for.

    ``started_at``: when the process that stands for it began (Unix seconds). Its id can be given to another one.
    """

    session_id: str
    kernel_id: str | None = None
    started_at: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Attributed:
    """A process on a device or MIG device, and whose it is; ``owner`` is None where it holds no session."""

    device_uuid: str
    use: ProcessUse
    owner: Owner | None
    how: How | None = None
    facts: ProcessFacts | None = None


def attribute(
    devices: Mapping[str, DeviceInfo],
    samples: Mapping[str, Sample],
    owners: Mapping[int, Owner],
    facts_of: Callable[[int], ProcessFacts | None],
) -> tuple[Attributed, ...]:
    """Whose the processes on all devices are, in the order of devices and process ids.

    Parameters
    ----------
    devices, samples : mapping
        By UUID; samples of MIG devices too.
    owners : mapping of int to Owner
        The processes that stand for kernels and commands, by process id.
    facts_of : callable
        What is known of a process, or None when it has ended or can't be seen.
    """
    owners = {pid: owner for pid, owner in owners.items() if _stands(pid, owner, facts_of)}
    groups = _own_groups(owners, facts_of)
    out = []
    for device_uuid, use in _uses(devices, samples):
        owner, how = _owner(use.pid, owners, facts_of, groups)
        out.append(Attributed(device_uuid, use, owner, how, facts_of(use.pid)))
    return tuple(out)


def _stands(pid: int, owner: Owner, facts_of: Callable[[int], ProcessFacts | None]) -> bool:
    """Whether a process id is still that of the process that stands for an owner."""
    if pid < LOWEST_PID:
        return False
    facts = facts_of(pid) if owner.started_at is not None else None
    if owner.started_at is None or facts is None or facts.started_at is None:
        return True
    return abs(facts.started_at - owner.started_at) <= START_S


def _uses(devices: Mapping[str, DeviceInfo], samples: Mapping[str, Sample]) -> Iterator[tuple[str, ProcessUse]]:
    """Each process once a device: a device in MIG mode repeats those of its MIG devices."""
    for device in sorted(devices.values(), key=lambda d: d.index):
        units: Sequence[str] = [m.uuid for m in device.mig_devices] or [device.uuid]
        for unit in units:
            sample = samples.get(unit)
            for use in sorted(sample.processes or (), key=lambda p: p.pid) if sample is not None else ():
                yield device.uuid, use


def _owner(
    pid: int,
    owners: Mapping[int, Owner],
    facts_of: Callable[[int], ProcessFacts | None],
    groups: Mapping[str, Owner],
) -> tuple[Owner | None, How | None]:
    at: int | None = pid
    for _ in range(LONGEST_CHAIN):
        if at is None or at <= 0:
            break
        if at in owners:
            return owners[at], "tree"
        found = facts_of(at)
        at = found.parent_pid if found is not None else None
    facts = facts_of(pid)
    if facts is None:
        return None, None
    for owner_pid, owner in sorted(owners.items()):
        told = facts.kernel_id is not None and facts.kernel_id == owner.kernel_id
        if not (told or (owner.kernel_id is None and facts.session_id == owner.session_id)):
            continue
        kernel = facts_of(owner_pid)
        # Anybody can write an environment: it is believed of processes of the same user only.
        if kernel is not None and kernel.user_id is not None and kernel.user_id == facts.user_id:
            return owner, "environment"
    if facts.cgroup is not None and facts.cgroup in groups:
        return groups[facts.cgroup], "cgroup"
    return None, None


def _own_groups(owners: Mapping[int, Owner], facts_of: Callable[[int], ProcessFacts | None]) -> dict[str, Owner]:
    """The control groups that are one owner's alone; where kernels share their server's, it says nothing."""
    found: dict[str, set[Owner]] = {}
    shared = set()
    for pid, owner in owners.items():
        facts = facts_of(pid)
        if facts is None or facts.cgroup is None:
            continue
        found.setdefault(facts.cgroup, set()).add(owner)
        parent = facts_of(facts.parent_pid)
        if parent is None or parent.cgroup == facts.cgroup:
            shared.add(facts.cgroup)
    return {group: next(iter(whose)) for group, whose in found.items() if len(whose) == 1 and group not in shared}
