"""A driver without devices: load follows the real processes that are bound to them.

A cell that computes moves the chart of the share that its kernel is on, because the chart is the processor time of
the kernel's processes. Nothing here is drawn at random and nothing is played back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..domain.telemetry import DeviceInfo, DriverStatus, ProcessUse, Sample
from ..ports import Clock
from .fleet import DeviceSpec, FleetSpec
from .others import Other, others_at, period_of
from .processes import ProcessReading, read_process

__all__ = ["SimulatedDriver"]

#: memory that a CUDA context takes on a device before anything is allocated
CONTEXT_BYTES = 300 * 10**6

#: processor time is counted in hundredths of a second; over less than this, in seconds, it says nothing
SHORTEST_INTERVAL_S = 0.2

#: bytes/s that a device at full load receives and sends over PCIe, and over each way of its NVLink: made up, of the
#: order of what training has
PCIE_BYTES_PER_S = (3e9, 5e8)
NVLINK_BYTES_PER_S = 4e10
#: so busy (percent), it is slowed down by its power limit
CAPPED_PERCENT = 98.0

#: what a simulated device never tells
_NEVER = ("sm_activity_percent",)
_NVLINK = ("nvlink_tx_bytes_per_s", "nvlink_rx_bytes_per_s")
_UTILIZATION = ("utilization_percent", "utilization_percent_max")
#: what belongs to the whole device and is not told of a MIG device
_DEVICE_ONLY = (
    "power_mw",
    "energy_mj",
    "temperature_c",
    "sm_clock_mhz",
    "throttle_reasons",
    "pcie_tx_bytes_per_s",
    "pcie_rx_bytes_per_s",
    *_NVLINK,
    "ecc_uncorrected_count",
)
_FIELDS = (*_UTILIZATION, "memory_used_bytes", "memory_total_bytes", *_DEVICE_ONLY, "processes", *_NEVER)


@dataclass(frozen=True)
class _Cpu:
    """A process as last read, and its load over the interval before that."""

    started_at: float
    at: float
    cpu_s: float
    percent: float = 0.0


@dataclass(frozen=True)
class _Load:
    percent: float
    processes: tuple[ProcessUse, ...]

    @property
    def memory_bytes(self) -> int:
        return sum(p.memory_bytes or 0 for p in self.processes)


class SimulatedDriver:
    """Implements `swangpu.ports.GpuDriver`.

    Parameters
    ----------
    fleet : FleetSpec
    clock : Clock
    read : callable, optional
        What a process has used; None when it is gone. The processes of this machine by default.

    Notes
    -----
    `bind` tells which process is on which device or MIG device. Utilization is the processor time of the process and
    its children over the time since the last sample, as percent of one core; memory is their resident memory. Power,
    temperature, clock and traffic follow from the utilization.

    Others never come to where somebody of ours is, or has been within the same quarter of an hour: a kernel that
    restarts keeps its place, and what is given back is seen to be free.
    """

    simulated = True

    def __init__(
        self, fleet: FleetSpec, clock: Clock, read: Callable[[int], ProcessReading | None] = read_process
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._read = read
        self._lock = threading.Lock()
        self._infos = {info.uuid: info for info in fleet.infos()}
        self._specs: dict[str, DeviceSpec] = dict(zip(self._infos, fleet.devices, strict=True))
        self._places = fleet.places_of_others()
        self._bound: dict[int, tuple[str, ...]] = {}
        self._held: frozenset[str] = frozenset()
        #: unit to the period in which somebody of ours was last there
        self._ours: dict[str, int] = {}
        self._cpu: dict[int, _Cpu] = {}
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
            return [replace(info, lost_reason=self._lost.get(info.uuid)) for info in self._infos.values()]

    def sample(self, uuid: str) -> Sequence[Sample]:
        info = self._infos.get(uuid)
        if info is None or not self._status.ok:
            return ()
        now = self._clock.now()
        with self._lock:
            if uuid in self._lost:
                units = [uuid, *(m.uuid for m in info.mig_devices)]
                return [Sample(unit, now, missing=tuple((name, "lost") for name in _FIELDS)) for unit in units]
            places = [(m.uuid, m.memory_bytes) for m in info.mig_devices] or [(info.uuid, info.memory_bytes)]
            others = self._others(now)
            loads = {unit: self._load(unit, memory_bytes, others.get(unit), now) for unit, memory_bytes in places}
            device = self._of_device(info, list(loads.values()), now)
        return [device, *(self._of_mig(info, m.uuid, m.memory_bytes, loads[m.uuid], now) for m in info.mig_devices)]

    def close(self) -> None:
        pass

    # -- the world --------------------------------------------------------------------------------

    def bind(self, pid: int, *uuids: str) -> None:
        """A process computes on these devices or MIG devices from now on."""
        with self._lock:
            self._bound[pid] = uuids

    def unbind(self, pid: int) -> None:
        """It does not any more. Safe when it never did."""
        with self._lock:
            self._bound.pop(pid, None)
            self._cpu.pop(pid, None)

    def rebind(self, bound: Mapping[int, str | tuple[str, ...]], held: Collection[str] = ()) -> None:
        """These processes, and no others, compute now, each on its devices or MIG devices.

        Parameters
        ----------
        bound : mapping of int to str or tuple of str
        held : collection of str
            Devices and MIG devices that are somebody's of ours although nothing may compute there yet.
        """
        with self._lock:
            self._bound = {pid: (on,) if isinstance(on, str) else on for pid, on in bound.items()}
            self._cpu = {pid: seen for pid, seen in self._cpu.items() if pid in bound}
            self._mark_ours(self._clock.now())
            self._held = frozenset(held)

    def lose(self, uuid: str, reason: str = "lost") -> None:
        """The device stops answering."""
        with self._lock:
            self._lost[uuid] = reason

    def restore(self, uuid: str) -> None:
        """It answers again. Safe when it always did."""
        with self._lock:
            self._lost.pop(uuid, None)

    def fail(self, status: DriverStatus) -> None:
        """The whole driver is in this state from now on."""
        self._status = status

    # -- inside -----------------------------------------------------------------------------------

    def _mark_ours(self, now: float) -> None:
        units = {unit for on in self._bound.values() for unit in on} | self._held
        self._ours.update(dict.fromkeys(units, period_of(now)))

    def _others(self, now: float) -> dict[str, Other]:
        """Others by unit, without those who would be where somebody of ours is or just was."""
        self._mark_ours(now)
        period = period_of(now)
        found = others_at(self._fleet.seed, self._places, self._fleet.others, now)
        return {other.uuid: other for other in found if self._ours.get(other.uuid) != period}

    def _load(self, unit: str, memory_bytes: int, other: Other | None, now: float) -> _Load:
        found: list[tuple[int, float, int]] = []
        for pid in [p for p, on in self._bound.items() if unit in on]:
            reading = self._read(pid)
            known = self._cpu.get(pid)
            if reading is None or (known is not None and known.started_at != reading.started_at):
                # Its id may be somebody else's by now.
                del self._bound[pid]
                self._cpu.pop(pid, None)
                continue
            found.append((pid, self._percent(pid, reading, now), CONTEXT_BYTES + reading.rss_bytes))
        if other is not None:
            found.append((other.pid, other.utilization_percent, other.memory_bytes))
        mig = unit if unit not in self._infos else None
        room, processes = memory_bytes, []
        for pid, percent, used in found:
            processes.append(ProcessUse(pid, min(room, used), mig, percent))
            room -= min(room, used)
        return _Load(min(100.0, sum(percent for _, percent, _ in found)), tuple(processes))

    def _percent(self, pid: int, reading: ProcessReading, now: float) -> float:
        """Percent of one core since the last reading."""
        known = self._cpu.get(pid)
        if known is None:
            self._cpu[pid] = _Cpu(reading.started_at, now, reading.cpu_s)
            return 0.0
        if now - known.at < SHORTEST_INTERVAL_S:
            return known.percent
        percent = min(100.0, max(0.0, 100.0 * (reading.cpu_s - known.cpu_s) / (now - known.at)))
        self._cpu[pid] = _Cpu(reading.started_at, now, reading.cpu_s, percent)
        return percent

    def _of_device(self, info: DeviceInfo, loads: Sequence[_Load], now: float) -> Sample:
        spec = self._specs[info.uuid]
        busy = sum(load.percent for load in loads) / len(loads)
        power_mw = int(spec.idle_power_mw + (spec.max_power_mw - spec.idle_power_mw) * busy / 100.0)
        told = spec.utilization
        processes = tuple(p if told else p._replace(sm_percent=None) for load in loads for p in load.processes)
        received, sent = (rate * busy / 100.0 for rate in PCIE_BYTES_PER_S)
        link = NVLINK_BYTES_PER_S * busy / 100.0 if spec.nvlink else None
        return Sample(
            uuid=info.uuid,
            taken_at=now,
            utilization_percent=busy if told else None,
            utilization_percent_max=busy if told else None,
            memory_used_bytes=min(info.memory_bytes, sum(load.memory_bytes for load in loads)),
            memory_total_bytes=info.memory_bytes,
            power_mw=power_mw,
            energy_mj=self._energy(info.uuid, power_mw, now),
            temperature_c=int(34 + 0.4 * busy),
            sm_clock_mhz=int(spec.idle_clock_mhz + (spec.max_clock_mhz - spec.idle_clock_mhz) * min(1.0, busy / 20.0)),
            throttle_reasons=("power_cap",) if busy >= CAPPED_PERCENT else (),
            pcie_tx_bytes_per_s=sent,
            pcie_rx_bytes_per_s=received,
            nvlink_tx_bytes_per_s=link,
            nvlink_rx_bytes_per_s=link,
            ecc_uncorrected_count=0,
            processes=processes if spec.processes_visible else None,
            missing=_missing(spec, *(() if spec.nvlink else _NVLINK)),
        )

    def _of_mig(self, info: DeviceInfo, uuid: str, memory_bytes: int, load: _Load, now: float) -> Sample:
        spec = self._specs[info.uuid]
        told = spec.utilization
        processes = tuple(p if told else p._replace(sm_percent=None) for p in load.processes)
        return Sample(
            uuid=uuid,
            taken_at=now,
            utilization_percent=load.percent if told else None,
            utilization_percent_max=load.percent if told else None,
            memory_used_bytes=load.memory_bytes,
            memory_total_bytes=memory_bytes,
            processes=processes if spec.processes_visible else None,
            missing=_missing(spec, *_DEVICE_ONLY),
        )

    def _energy(self, uuid: str, power_mw: int, now: float) -> int:
        at, spent_mj = self._energy_mj.get(uuid, (now, 0.0))
        spent_mj += power_mw * max(0.0, now - at)
        self._energy_mj[uuid] = (now, spent_mj)
        return int(spent_mj)


def _missing(spec: DeviceSpec, *unsupported: str) -> tuple[tuple[str, str], ...]:
    names = (*(() if spec.utilization else _UTILIZATION), *unsupported, *_NEVER)
    hidden = () if spec.processes_visible else (("processes", "not_visible"),)
    return (*((name, "not_supported") for name in names), *hidden)
