"""One reading of a device through NVML: six calls, what changes slowly in turns.

Every second: utilization, memory, the batch of counters, processes and, when there are some, what each of them uses. In
turns, each every fourth second: temperature, clock, why the clock is low, and XID errors. At the first reading, and
after a pause, all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..domain.telemetry import DeviceInfo, MigInfo, ProcessUse, Sample
from .nvml_calls import Counters, NvmlCalls, Settled, Utilization
from .nvml_errors import LOST, REOPEN, reason_for_code
from .nvml_gpm import Activity, Gpm
from .pids import visible
from .reading import DEVICE_ONLY, Reading, of_migs

__all__ = ["Device", "Mig", "Sampling"]

#: what is read in turns; the fourth turn belongs to the XID errors
_SLOW = ("temperature", "clock", "reasons")
TURNS = 4
#: after a pause of so many seconds what was read before says nothing about now
STALE_S = 25.0

#: of a device that was not read just before, so much of the driver's samples tells what is now, in microseconds: it
#: keeps some 20 s of them
NOW_US = 1_000_000

#: how long what a process used is believed when the driver has nothing newer, in seconds
USES_KEPT_S = 3.0
#: how long a process that was seen counts as seen while the driver tells of it, in seconds
PIDS_KEPT_S = 5.0

_ALL_THERE = (False,) * len(Counters._fields)
_Rates = tuple[float | None, float | None, float | None, float | None]


@dataclass
class Mig:
    info: MigInfo
    handle: Any
    gpu_instance: int | None = None
    unsupported: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Known:
    """What a device does not tell, as long as it tells the rest: which counters, and why what is missing."""

    absent: tuple[bool, ...]
    missing: tuple[tuple[str, str], ...]
    calls: Settled


@dataclass
class Device:
    """A device with what is remembered from one reading to the next."""

    info: DeviceInfo
    handle: Any
    migs: tuple[Mig, ...] = ()
    gpm: bool = False
    unsupported: set[str] = field(default_factory=set)
    #: NVML's own time stamps (microseconds) of the last samples seen
    uses_seen_us: int = 0
    uses: dict[int, float] = field(default_factory=dict)
    uses_at: float = float("-inf")
    #: the processes that were all ours to see, and when
    pids: list[int] = field(default_factory=list)
    pids_at: float = float("-inf")
    utilization: Utilization | None = None
    turn: int = 0
    read_at: float = float("-inf")
    counters: Counters | None = None
    slow: dict[str, tuple[Any, str | None]] = field(default_factory=dict)
    xid: tuple[int, float] | None = None
    #: set after a close look at a device of which nothing has to be looked at closely
    settled: Known | None = None


class Sampling:
    """Reads devices.

    Parameters
    ----------
    calls : NvmlCalls
    gpm : Gpm
    now : callable
        Unix seconds, for ``Sample.taken_at``.
    host_pids : bool
        Whether NVML's process ids are those of our own PID namespace.
    """

    def __init__(self, calls: NvmlCalls, gpm: Gpm, now: Callable[[], float], host_pids: bool) -> None:
        self._calls = calls
        self._gpm = gpm
        self._now = now
        self._host_pids = host_pids
        self._slow = {
            "temperature": calls.temperature,
            "clock": calls.sm_clock_mhz,
            "reasons": calls.throttle_reasons,
        }

    def sample(self, device: Device) -> tuple[Sample, ...]:
        """The device, then each of its MIG devices. Raises what is about the whole device."""
        own = self._quick(device)
        if own is not None:
            return (own,)
        paused = time.monotonic() - device.read_at > STALE_S
        migs = tuple([self._sample_mig(device, mig, paused) for mig in device.migs])
        return (self._sample_device(device, migs, paused), *migs)

    def _quick(self, device: Device) -> Sample | None:
        """The reading of a device that tells what it told the last time; None where it has to be looked at closely.

        This is most of what the sampler costs, so it is written out in one piece.
        """
        known, before, last, slow = device.settled, device.counters, device.utilization, device.slow
        if known is None or before is None or last is None or time.monotonic() - device.read_at > STALE_S:
            return None
        handle, calls = device.handle, self._calls
        turn = device.turn % TURNS
        try:
            utilization = calls.utilization(handle, last.seen_us, device.unsupported)
            used, total = known.calls.memory(handle)
            counters = calls.counters(handle, device.unsupported)
            now = time.monotonic()
            if turn < len(_SLOW):
                slow[_SLOW[turn]] = (self._slow[_SLOW[turn]](handle), None)
            rows = self._visible(device, known.calls.processes(handle), now)
            found = known.calls.process_utilization(handle, device.uses_seen_us) if rows else None
        except Exception:
            # What it is the close look says.
            return None
        absent = tuple([c is None for c in counters]) if None in counters else _ALL_THERE
        if rows is None or absent != known.absent:
            return None
        utilization = last if utilization is None else utilization
        tx, rx, link_tx, link_rx = _rates(before, counters, now - device.read_at)
        if (tx is None, rx is None, link_tx is None, link_rx is None) != known.absent[2:6]:
            # A counter has begun anew: the close look says so.
            return None
        if device.counters is not before:
            # This call was given up, and others have been made since.
            return None
        device.utilization, device.counters = utilization, counters
        device.read_at, device.turn = now, device.turn + 1
        xid, xid_at = device.xid or (None, None)
        # in the order of its fields: by their names it would take three times as long
        return Sample(
            device.info.uuid,
            self._now(),
            utilization.mean_percent,
            used,
            total,
            counters.power_mw,
            counters.energy_mj,
            slow["temperature"][0],
            slow["clock"][0],
            utilization.max_percent,
            None,  # multiprocessors: a device that tells of them is always looked at closely
            slow["reasons"][0],
            tx,
            rx,
            link_tx,
            link_rx,
            counters.ecc_uncorrected_count,
            xid,
            xid_at,
            self._with_use(device, rows, found) if found is not None else (),
            known.missing,
        )

    def _sample_device(self, device: Device, migs: Sequence[Sample], paused: bool) -> Sample:
        handle, calls = device.handle, self._calls
        reading = Reading(device.unsupported, fatal=LOST | REOPEN)
        before, before_at = device.counters, device.read_at
        utilization = self._utilization(reading, device, paused)
        used, total = reading.of("memory", calls.memory, handle) or (None, None)
        counters: Counters | None = reading.of("counters", calls.counters, handle, device.unsupported)
        refused = calls.refusals(device.unsupported) if counters is not None else ()
        now = time.monotonic()
        rates = _rates(None if paused else before, counters, now - before_at)
        self._read_slow(reading, device, paused)
        activity = self._activity(reading, device, device.info.uuid, None, paused) if device.gpm else None
        if device.info.mig_enabled:
            processes = of_migs(migs, reading.missing)
        else:
            rows = self._rows(reading, handle)
            processes = None if rows is None else tuple([ProcessUse(*row) for row in rows])
            found = reading.of("uses", calls.process_utilization, handle, device.uses_seen_us) if rows else None
            if rows and found is not None:
                processes = self._with_use(device, rows, found)
        if device.counters is before:
            # Else this call was given up, and others have been made since.
            device.counters, device.read_at, device.turn = counters, now, device.turn + 1
        missing = reading.missing
        if counters is not None:
            _note_missing(missing, counters, rates, refused)
        if not device.gpm:
            missing["sm_activity_percent"] = "not_supported"
        elif activity is None:
            missing.setdefault("sm_activity_percent", "not_yet")
        if utilization is None and activity is not None and activity.time_percent is not None:
            utilization = Utilization(activity.time_percent, activity.time_percent, 0)
            missing.pop("utilization_percent", None)
            missing.pop("utilization_percent_max", None)
        slow = device.slow
        device.settled = _settled(device, counters, utilization, missing, calls)
        return Sample(
            uuid=device.info.uuid,
            taken_at=self._now(),
            utilization_percent=None if utilization is None else utilization.mean_percent,
            memory_used_bytes=used,
            memory_total_bytes=total,
            power_mw=None if counters is None else counters.power_mw,
            energy_mj=None if counters is None else counters.energy_mj,
            temperature_c=slow["temperature"][0],
            sm_clock_mhz=slow["clock"][0],
            utilization_percent_max=None if utilization is None else utilization.max_percent,
            sm_activity_percent=None if activity is None else activity.sm_percent,
            throttle_reasons=slow["reasons"][0],
            pcie_tx_bytes_per_s=rates[0],
            pcie_rx_bytes_per_s=rates[1],
            nvlink_tx_bytes_per_s=rates[2],
            nvlink_rx_bytes_per_s=rates[3],
            ecc_uncorrected_count=None if counters is None else counters.ecc_uncorrected_count,
            last_xid=None if device.xid is None else device.xid[0],
            last_xid_at=None if device.xid is None else device.xid[1],
            processes=processes,
            missing=tuple(missing.items()),
        )

    def _sample_mig(self, device: Device, mig: Mig, paused: bool) -> Sample:
        mig.unsupported.update(DEVICE_ONLY)
        reading = Reading(mig.unsupported, fatal=REOPEN)
        utilization = reading.of("utilization", self._calls.utilization, mig.handle, 0, mig.unsupported, NOW_US)
        used, total = reading.of("memory", self._calls.memory, mig.handle) or (None, None)
        for what in DEVICE_ONLY:
            reading.lacks(what, "not_supported")
        activity = None
        if device.gpm and mig.gpu_instance is not None:
            activity = self._activity(reading, device, mig.info.uuid, mig.gpu_instance, paused)
            if activity is None:
                reading.missing.setdefault("sm_activity_percent", "not_yet")
        else:
            reading.missing["sm_activity_percent"] = "not_supported"
        rows = self._rows(reading, mig.handle)
        busy = None if utilization is None else utilization.mean_percent
        if busy is None and activity is not None and activity.time_percent is not None:
            busy = activity.time_percent
            reading.missing.pop("utilization_percent", None)
            reading.missing.pop("utilization_percent_max", None)
        return Sample(
            uuid=mig.info.uuid,
            taken_at=self._now(),
            utilization_percent=busy,
            utilization_percent_max=busy if utilization is None else utilization.max_percent,
            sm_activity_percent=None if activity is None else activity.sm_percent,
            memory_used_bytes=used,
            memory_total_bytes=total,
            processes=None if rows is None else tuple([ProcessUse(*row, mig.info.uuid) for row in rows]),
            missing=tuple(reading.missing.items()),
        )

    def _utilization(self, reading: Reading, device: Device, paused: bool) -> Utilization | None:
        """Of the time since the reading before; after a pause only what is newest counts."""
        before = None if paused else device.utilization
        seen_us = device.utilization.seen_us if device.utilization is not None else 0
        newest_us = NOW_US if before is None else None
        found: Utilization | None = reading.of(
            "utilization", self._calls.utilization, device.handle, seen_us, device.unsupported, newest_us
        )
        if found is None and reading.why("utilization") is None:
            # Nothing new since the last time: the driver samples less often than we ask.
            found = before
            if found is None:
                reading.lacks("utilization", "not_yet")
        if found is not None:
            device.utilization = found
        return found

    def _read_slow(self, reading: Reading, device: Device, paused: bool) -> None:
        turn = device.turn % TURNS
        for number, what in enumerate(_SLOW):
            if paused or turn == number or what not in device.slow:
                value = reading.of(what, self._slow[what], device.handle)
                device.slow[what] = (value, reading.why(what))
            else:
                why = device.slow[what][1]
                if why is not None:
                    reading.lacks(what, why)

    def _activity(
        self, reading: Reading, device: Device, uuid: str, instance: int | None, paused: bool
    ) -> Activity | None:
        found: Activity | None = reading.of("activity", self._gpm.activity, uuid, device.handle, instance, paused)
        return found

    def _with_use(
        self, device: Device, rows: Sequence[tuple[int, int | None]], found: tuple[dict[int, float], int]
    ) -> tuple[ProcessUse, ...]:
        percent, seen_us = found
        now = time.monotonic()
        if seen_us > device.uses_seen_us:
            device.uses, device.uses_seen_us, device.uses_at = percent, seen_us, now
        elif now - device.uses_at > USES_KEPT_S:
            device.uses = {}
        uses = device.uses
        # The driver tells only of those that computed.
        return tuple([ProcessUse(pid, memory, None, uses.get(pid, 0.0)) for pid, memory in rows])

    def _visible(
        self, device: Device, rows: list[tuple[int, int | None]], now: float
    ) -> list[tuple[int, int | None]] | None:
        """Which of them are ours to see; those that were so a moment ago are not asked for again."""
        pids = [row[0] for row in rows]
        if pids == device.pids and now - device.pids_at < PIDS_KEPT_S:
            return rows
        seen = visible(rows, self._host_pids)
        device.pids, device.pids_at = pids if seen == rows else [], now
        return seen

    def _rows(self, reading: Reading, handle: Any) -> list[tuple[int, int | None]] | None:
        found = reading.of("processes", self._calls.processes, handle)
        if found is None:
            return None
        seen = visible(found, self._host_pids)
        if seen is None:
            reading.missing["processes"] = "not_visible"
        return seen


def _settled(
    device: Device,
    counters: Counters | None,
    utilization: Utilization | None,
    missing: Mapping[str, str],
    calls: NvmlCalls,
) -> Known | None:
    plain = not device.gpm and not device.info.mig_enabled and counters is not None and utilization is not None
    told = all(device.slow[what][1] is None for what in _SLOW)
    if not plain or not told or counters is None or {"not_yet", "not_visible"} & set(missing.values()):
        return None
    if missing.keys() & {"processes", "memory_used_bytes"}:
        return None
    return Known(tuple([c is None for c in counters]), tuple(missing.items()), calls.settled())


_RATES = ("pcie_tx_bytes", "pcie_rx_bytes", "nvlink_tx_bytes", "nvlink_rx_bytes")
_PLAIN = ("power_mw", "energy_mj", "ecc_uncorrected_count")


def _rates(before: Counters | None, after: Counters | None, seconds: float) -> _Rates:
    """Bytes a second of the counters; None at the first reading, and where a counter has begun anew."""
    if before is None or after is None or seconds <= 0:
        return (None, None, None, None)
    return (
        _rate(before.pcie_tx_bytes, after.pcie_tx_bytes, seconds),
        _rate(before.pcie_rx_bytes, after.pcie_rx_bytes, seconds),
        _rate(before.nvlink_tx_bytes, after.nvlink_tx_bytes, seconds),
        _rate(before.nvlink_rx_bytes, after.nvlink_rx_bytes, seconds),
    )


def _rate(before: int | None, after: int | None, seconds: float) -> float | None:
    return None if before is None or after is None or after < before else (after - before) / seconds


def _note_missing(missing: dict[str, str], counters: Counters, rates: _Rates, refused: Sequence[int]) -> None:
    why = dict(zip(Counters._fields, map(reason_for_code, refused), strict=True))
    for name in _PLAIN:
        if getattr(counters, name) is None:
            missing[name] = why[name]
    for name, rate in zip(_RATES, rates, strict=True):
        if rate is None:
            missing[f"{name}_per_s"] = why[name] if getattr(counters, name) is None else "not_yet"
