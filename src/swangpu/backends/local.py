"""The GPUs of this machine: whole devices, the MIG devices that exist, MPS shares and time-slices.

::

    backend = LocalBackend(LocalPoolConfig(slices_per_model={"T4": 4}), sampler)
    inventory = await backend.inventory()
    env = backend.environment(shares)

A share reaches a process as environment, so starting and stopping have no side effect: whoever starts the process
(the kernel provisioner, ``swangpu run``) applies `LocalBackend.environment`. What processes of others use counts as
taken. The driver is read by the sampler, never here and never on the event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from ..domain.devices import PoolInventory, Share, ShareKind
from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from ..ports import BackendStatus, StartSpec
from .flavors import LocalPoolConfig, check, flavors_of, shares_of
from .mps import MpsState, find_mps
from .share_env import Overuse, environment_of, overuse

__all__ = ["LocalBackend", "LocalPoolConfig", "Overuse", "Sampled", "Snapshot", "overuse", "taken_shares"]

#: a reading not older than this, in seconds, is good enough for an inventory
FRESH_S = 1.0


class Snapshot(Protocol):
    """What is used of a reading of the sampler."""

    @property
    def status(self) -> DriverStatus: ...
    @property
    def devices(self) -> Mapping[str, DeviceInfo]: ...
    @property
    def samples(self) -> Mapping[str, Sample]: ...
    @property
    def as_of(self) -> float: ...
    @property
    def simulated(self) -> bool: ...


class Sampled(Protocol):
    """What is used of the sampler."""

    @property
    def snapshot(self) -> Snapshot: ...

    def refresh(self, max_age_s: float = 0.0) -> Future[Any]: ...


def _nobody() -> frozenset[int]:
    return frozenset()


class LocalBackend:
    """The pool of this machine's devices.

    Parameters
    ----------
    config : LocalPoolConfig
    sampler : Sampler
        Reads the driver; closed by whoever made it.
    own_pids : callable, optional
        The ids of all processes that work on sessions of ours, children included. Called on a thread of its own. What
        other processes use counts as taken.

    Raises
    ------
    Misconfigured
        A setting makes no sense.
    """

    def __init__(
        self, config: LocalPoolConfig, sampler: Sampled, own_pids: Callable[[], Collection[int]] = _nobody
    ) -> None:
        check(config)
        self.name = config.name
        self._config = config
        self._sampler = sampler
        self._own_pids = own_pids

    async def inventory(self) -> PoolInventory:
        """What there is now, or why there is nothing. Never raises."""
        snapshot: Snapshot = await asyncio.wrap_future(self._sampler.refresh(FRESH_S))
        if not snapshot.status.ok:
            status = snapshot.status
            return self._nothing(snapshot, status.code, status.text, status.hint)
        own = await asyncio.to_thread(self._own_pids)
        mps = self._mps()
        devices = tuple(snapshot.devices.values())
        usable = mps is None or mps.pipe_directory is not None
        offered = {d.uuid: shares_of(d, self._config, mps=usable) for d in devices}
        everything = [share for d in devices for share in offered[d.uuid]]
        answering = [share for d in devices if d.lost_reason is None for share in offered[d.uuid]]
        lost = {share.id for share in everything} - {share.id for share in answering}
        said = list(self._troubles(snapshot, mps, offered))
        if not answering:
            code, text, hint = said[0] if said else _no_devices(self._config)
            return self._nothing(snapshot, code, text, hint, lost)
        ignored = _none_ignored if snapshot.simulated else _not_a_user
        return PoolInventory(
            pool=self.name,
            title=self._config.title,
            managed=True,
            available=True,
            as_of=snapshot.as_of,
            shares=tuple(sorted(answering, key=lambda s: s.id)),
            flavors=flavors_of(devices, everything),
            taken=tuple(sorted(taken_shares(answering, snapshot.samples, own, ignored))),
            lost=tuple(sorted(lost)),
            reason_code=said[0][0] if said else None,
            reason_text=" ".join(text for _, text, _ in said) or None,
            hint=" ".join(dict.fromkeys(hint for _, _, hint in said)) or None,
            simulated=snapshot.simulated,
        )

    async def start(self, spec: StartSpec) -> AsyncIterator[str]:
        """One checkpoint; the environment is all there is to do, and its user applies it."""
        devices = sorted({s.device_uuid for s in spec.shares})
        yield json.dumps({"v": 1, "session": spec.session_id, "devices": devices}, sort_keys=True)

    async def status(self, checkpoints: Mapping[str, str]) -> dict[str, BackendStatus]:
        """Running, unless a device does not answer: then ``unknown``, since it may come back."""
        snapshot: Snapshot = await asyncio.wrap_future(self._sampler.refresh(60.0))
        return {session_id: _status(checkpoint, snapshot) for session_id, checkpoint in checkpoints.items()}

    async def stop(self, checkpoint: str) -> None:
        """Nothing was started, so nothing is to be stopped."""

    def environment(self, shares: Sequence[Share]) -> dict[str, str | None]:
        """The variables that put a process on these shares; None unsets one."""
        memory = {uuid: device.memory_bytes for uuid, device in self._sampler.snapshot.devices.items()}
        pipe = None
        if any(s.kind is ShareKind.MPS for s in shares):
            pipe = find_mps(self._config.mps_pipe_directory).pipe_directory
        return environment_of(shares, memory, pipe)

    async def close(self) -> None:
        """Nothing is held open here."""

    def _mps(self) -> MpsState | None:
        """The MPS daemon, or None when the configuration has nothing to do with one."""
        wanted = self._config.slice_kind == "mps" and self._config.slices_per_model
        return find_mps(self._config.mps_pipe_directory) if wanted else None

    def _troubles(
        self, snapshot: Snapshot, mps: MpsState | None, offered: Mapping[str, Sequence[Share]]
    ) -> list[tuple[str, str, str]]:
        """What is wrong although the driver works: code, sentence, hint."""
        devices = snapshot.devices.values()
        out = []
        away = [d for d in devices if d.lost_reason is not None and offered[d.uuid]]
        lost = [d for d in away if d.lost_reason != "no_permission"]
        if lost:
            verb = "does" if len(lost) == 1 else "do"
            out.append(
                (
                    "device_lost",
                    f"{_names(lost)} {verb} not answer now.",
                    "Sessions there wait for it. If it stays away, nvidia-smi and the system's log tell more.",
                )
            )
        refused = [d for d in away if d.lost_reason == "no_permission"]
        if refused:
            text = f"{_names(refused)} may not be used by this account."
            out.append(("no_permission", text, "Ask for access to /dev/nvidia*."))
        uncut = [d for d in devices if d.mig_enabled and not d.mig_devices and d.lost_reason is None]
        if uncut:
            text = f"MIG is on and has no slices on {_names(uncut)}."
            out.append(("mig_empty", text, "Make them with nvidia-smi mig -cgi."))
        if mps is not None and mps.pipe_directory is None:
            out.append((mps.code, mps.text, mps.hint))
        known = {d.uuid for d in devices} | {str(d.index) for d in devices}
        absent = [d for d in self._config.devices if d not in known]
        if absent and devices:
            text = f"Not in this machine: {', '.join(absent)}."
            out.append(("no_such_device", text, "Look at the configured devices; nvidia-smi -L lists what there is."))
        if snapshot.status.text:
            out.append(("devices_missing", snapshot.status.text, snapshot.status.hint))
        hidden = [d for d in devices if any(_hidden(share, snapshot.samples) for share in offered[d.uuid])]
        if hidden:
            text = f"Processes on {_names(hidden)} are not visible from here, so what they use counts as taken."
            hint = "This is usual in a container. It is free again when they have ended."
            out.append(("processes_not_visible", text, hint))
        return out

    def _nothing(
        self, snapshot: Snapshot, code: str, text: str, hint: str, lost: Collection[str] = ()
    ) -> PoolInventory:
        return PoolInventory(
            pool=self.name,
            title=self._config.title,
            managed=True,
            available=False,
            as_of=snapshot.as_of,
            reason_code=code,
            reason_text=text,
            hint=hint,
            lost=tuple(sorted(lost)),
            simulated=snapshot.simulated,
        )


def taken_shares(
    shares: Sequence[Share],
    samples: Mapping[str, Sample],
    own_pids: Collection[int],
    ignored: Callable[[int], bool] = lambda pid: False,
) -> set[str]:
    """The ids of shares that processes of others use. Pure.

    A process on a device takes all shares of it; one on a MIG device that MIG device only. Where processes are not
    visible, but there are some, a whole device or MIG device is taken: our own would hold it already. Of a device in
    slices that would be too much, since the process may well be on another slice of ours.

    Parameters
    ----------
    samples : mapping of str to Sample
        By UUID, of devices and of MIG devices.
    own_pids : collection of int
    ignored : callable
        Process ids that are nobody's: CUDA's own daemons, processes that have ended meanwhile.
    """
    out = set()
    for share in shares:
        sample = samples.get(share.mig_uuid or share.device_uuid)
        if sample is None:
            continue
        seen = sample.processes or ()
        if _hidden(share, samples) or any(p.pid not in own_pids and not ignored(p.pid) for p in seen):
            out.add(share.id)
    return out


def _hidden(share: Share, samples: Mapping[str, Sample]) -> bool:
    """Whether a share counts as taken because there are processes that can't be seen."""
    sample = samples.get(share.mig_uuid or share.device_uuid)
    sliced = share.kind in (ShareKind.MPS, ShareKind.TIME_SLICE)
    if sample is None or sliced or sample.processes is not None:
        return False
    return dict(sample.missing).get("processes") == "not_visible"


def _names(devices: Collection[DeviceInfo]) -> str:
    return ", ".join(f"GPU {d.index}" for d in sorted(devices, key=lambda d: d.index))


def _none_ignored(pid: int) -> bool:
    """Simulated processes need not exist."""
    return False


def _not_a_user(pid: int) -> bool:
    """Whether a process is CUDA's own daemon, or has ended since the reading."""
    try:
        return (Path("/proc") / str(pid) / "comm").read_text(encoding="utf-8").startswith("nvidia-cuda-mps")
    except FileNotFoundError:
        return Path("/proc/self").exists() and not _alive(pid)
    except OSError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _status(checkpoint: str, snapshot: Snapshot) -> BackendStatus:
    try:
        said = json.loads(checkpoint)
        devices = [str(uuid) for uuid in said["devices"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return BackendStatus("unknown", "bad_checkpoint", "This session was not started by this pool.")
    for uuid in devices:
        info = snapshot.devices.get(uuid)
        if info is None or info.lost_reason is not None:
            name = f"GPU {info.index}" if info is not None else "The device"
            return BackendStatus("unknown", "device_lost", f"{name} does not answer now.", "It may come back.")
    return BackendStatus("running")


def _no_devices(config: LocalPoolConfig) -> tuple[str, str, str]:
    text = "There is no GPU in this machine." if not config.devices else "None of the configured GPUs is here."
    return ("no_devices", text, "nvidia-smi -L lists what there is.")
