"""A driver without devices: load follows the real processes that are bound to them.

A cell that computes moves the chart of the share that its kernel is on, because the chart is the processor time of
the kernel's processes. Nothing here is drawn at random and nothing is played back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import psutil

from ..domain.telemetry import DeviceInfo, DriverStatus, ProcessUse, Sample
from ..ports import Clock
from .fleet import FleetSpec
from .others import others_at

__all__ = ["SimulatedDriver"]

#: memory that a CUDA context takes on a device before anything is allocated
CONTEXT_BYTES = 300 * 10**6


class SimulatedDriver:
    """Implements `swangpu.ports.GpuDriver`.

    Parameters
    ----------
    fleet : FleetSpec
    clock : Clock

    Notes
    -----
    `bind` tells which process is on which device or MIG device. Utilization is the processor time of the process and
    its children over the time since the last sample, as percent of one core; memory is their resident memory.
    """

    simulated = True

    def __init__(self, fleet: FleetSpec, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._lock = threading.Lock()
        self._infos = {info.uuid: info for info in fleet.infos()}
        self._has_utilization = {
            info.uuid: spec.utilization for info, spec in zip(fleet.infos(), fleet.devices, strict=True)
        }
        self._bound: dict[int, str] = {}
        self._cpu: dict[int, tuple[float, float]] = {}
        self._energy_mj: dict[str, tuple[float, float]] = {}
        self._lost: dict[str, str] = {}
        self._status = DriverStatus("ok", driver_version="simulated")

    # -- the port ---------------------------------------------------------------------------------

    def open(self) -> DriverStatus:
        return self._status

    def devices(self) -> Sequence[DeviceInfo]:
        if not self._status.ok:
            return ()
        with self._lock:
            return [
                DeviceInfo(
                    i.uuid, i.index, i.name, i.memory_bytes, i.mig_enabled, i.mig_devices, self._lost.get(i.uuid)
                )
                for i in self._infos.values()
            ]

    def sample(self, uuid: str) -> Sequence[Sample]:
        info = self._infos.get(uuid)
        if info is None or not self._status.ok:
            return ()
        now = self._clock.now()
        with self._lock:
            if uuid in self._lost:
                return [Sample(uuid, now, missing=(("utilization_percent", "lost"), ("memory_used_bytes", "lost")))]
            places = [(m.uuid, m.memory_bytes) for m in info.mig_devices] or [(info.uuid, info.memory_bytes)]
            loads = {place: self._load(place, memory_bytes, now) for place, memory_bytes in places}
        out = [self._of_device(info, loads, now)]
        out += [self._of_mig(info, m.uuid, m.memory_bytes, loads[m.uuid], now) for m in info.mig_devices]
        return out

    def close(self) -> None:
        pass

    # -- the world --------------------------------------------------------------------------------

    def bind(self, pid: int, uuid: str) -> None:
        """A process computes on a device or MIG device from now on."""
        with self._lock:
            self._bound[pid] = uuid

    def unbind(self, pid: int) -> None:
        with self._lock:
            self._bound.pop(pid, None)
            self._cpu.pop(pid, None)

    def rebind(self, bound: dict[int, str]) -> None:
        """These processes, and no others, compute now, each on its device or MIG device."""
        with self._lock:
            self._bound = dict(bound)
            self._cpu = {pid: seen for pid, seen in self._cpu.items() if pid in bound}

    def lose(self, uuid: str, reason: str = "GPU is lost") -> None:
        """The device stops answering."""
        with self._lock:
            self._lost[uuid] = reason

    def restore(self, uuid: str) -> None:
        with self._lock:
            self._lost.pop(uuid, None)

    def fail(self, status: DriverStatus) -> None:
        """The whole driver is in this state from now on."""
        self._status = status

    # -- inside -----------------------------------------------------------------------------------

    def _load(self, uuid: str, memory_bytes: int, now: float) -> tuple[float, list[ProcessUse]]:
        utilization, processes = 0.0, []
        for pid in [p for p, place in self._bound.items() if place == uuid]:
            busy_percent, used = self._process(pid, now)
            if used is None:
                self._bound.pop(pid, None)
                continue
            utilization += busy_percent
            processes.append(ProcessUse(pid, min(memory_bytes, CONTEXT_BYTES + used), sm_percent=busy_percent))
        for other in others_at(self._fleet.seed, self._places(), self._fleet.others, now):
            if other.uuid == uuid and not processes:
                utilization += other.utilization_percent
                processes.append(ProcessUse(other.pid, other.memory_bytes, sm_percent=other.utilization_percent))
        return min(100.0, utilization), processes

    def _process(self, pid: int, now: float) -> tuple[float, int | None]:
        """Percent of one core since the last sample, and resident bytes; None when it is gone."""
        try:
            family = [psutil.Process(pid)]
            family += family[0].children(recursive=True)
            spent_s, used = 0.0, 0
            for process in family:
                with process.oneshot():
                    times = process.cpu_times()
                    spent_s += times.user + times.system
                    used += process.memory_info().rss
        except psutil.NoSuchProcess:
            return 0.0, None
        except psutil.Error:
            return 0.0, 0
        at, before_s = self._cpu.get(pid, (now, spent_s))
        self._cpu[pid] = (now, spent_s)
        percent = 100.0 * (spent_s - before_s) / (now - at) if now > at else 0.0
        return min(100.0, max(0.0, percent)), used

    def _places(self) -> tuple[tuple[str, int], ...]:
        """Where others may be: of each model's places all but the first two, which stay free for a newcomer."""
        out: list[tuple[str, int]] = []
        for info in self._infos.values():
            out += [(m.uuid, m.memory_bytes) for m in info.mig_devices[2:]]
        return tuple(out)

    def _of_device(self, info: DeviceInfo, loads: dict[str, tuple[float, list[ProcessUse]]], now: float) -> Sample:
        processes = [p for _, found in loads.values() for p in found]
        utilization = sum(u for u, _ in loads.values()) / len(loads)
        power_mw = int(30_000 + 2_700 * utilization)
        used = sum(p.memory_bytes or 0 for p in processes)
        missing: tuple[tuple[str, str], ...] = ()
        known: float | None = utilization
        if info.mig_enabled and not self._has_utilization[info.uuid]:
            known, missing = None, (("utilization_percent", "not_supported"),)
        return Sample(
            uuid=info.uuid,
            taken_at=now,
            utilization_percent=known,
            memory_used_bytes=min(used, info.memory_bytes),
            memory_total_bytes=info.memory_bytes,
            power_mw=power_mw,
            energy_mj=self._energy(info.uuid, power_mw, now),
            temperature_c=int(34 + 0.4 * utilization),
            sm_clock_mhz=int(210 + 12 * utilization),
            processes=tuple(processes),
            missing=missing,
        )

    def _of_mig(
        self, info: DeviceInfo, uuid: str, memory_bytes: int, load: tuple[float, list[ProcessUse]], now: float
    ) -> Sample:
        utilization, processes = load
        known = self._has_utilization[info.uuid]
        return Sample(
            uuid=uuid,
            taken_at=now,
            utilization_percent=utilization if known else None,
            memory_used_bytes=min(memory_bytes, sum(p.memory_bytes or 0 for p in processes)),
            memory_total_bytes=memory_bytes,
            processes=tuple(
                ProcessUse(p.pid, p.memory_bytes, uuid, p.sm_percent if known else None) for p in processes
            ),
            missing=(
                ("power_mw", "not_supported"),
                ("temperature_c", "not_supported"),
                *(() if known else (("utilization_percent", "not_supported"),)),
            ),
        )

    def _energy(self, uuid: str, power_mw: int, now: float) -> int:
        at, spent_mj = self._energy_mj.get(uuid, (now, 0.0))
        spent_mj += power_mw * max(0.0, now - at)
        self._energy_mj[uuid] = (now, spent_mj)
        return int(spent_mj)
