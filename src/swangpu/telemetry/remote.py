"""The site's GPUs beside those of this machine: read-only, at the pace of who scrapes them, and with their age.

``RemoteGpus(source, clock)`` starts nothing and asks nothing. With `RemoteGpus.watch` or `RemoteGpus.look` Prometheus
is asked, on threads of its own: while it is slow or away, nobody waits for long, and nothing else waits at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..domain.telemetry import DeviceInfo, DriverStatus, Sample
from ..ports import Clock
from ..tasks import within
from .dcgm import Holder
from .dcgm_source import DcgmSource
from .history import History
from .history_files import HistoryFiles
from .sampler import Sampler, Snapshot, Watch

__all__ = ["READ_S", "RemoteDevice", "RemoteGpus", "RemoteSnapshot"]

#: Prometheus is asked so often, in seconds, while somebody looks: scrapes are rarely closer than this
READ_S = 10.0
#: three questions of a few seconds each, and some time for their answers to be read
HANG_S = 40.0
#: who asks which GPUs there are waits so long for Prometheus, in seconds, and then gets what is known
WAIT_S = 1.5
#: devices that are shown at most
MOST_DEVICES = 512
#: its history, in bytes: beside that of this machine, which it must not push out
HISTORY_BYTES = 32 * 2**20
#: a scrape stands for the time since the one before, if that is not longer ago than this (seconds)
HOLD_S = 130

_SILENT = DriverStatus("not_answering", "Prometheus does not answer in time.", "It is asked again every now and then.")


@dataclass(frozen=True)
class RemoteDevice:
    """A GPU of another machine.

    Attributes
    ----------
    host : str
        Empty where the exporter does not say.
    scraped_at : float or None
        Of the newest value, in Unix seconds; None where there was none yet.
    holders : mapping of str to tuple of Holder, or None
        Which pods hold it and its MIG instances, by UUID. None: the exporter names no pods, so nobody knows.
    """

    info: DeviceInfo
    host: str
    scraped_at: float | None
    holders: Mapping[str, tuple[Holder, ...]] | None


@dataclass(frozen=True)
class RemoteSnapshot:
    """What was read last. ``left_out``: devices beyond those that are shown; ``number`` counts readings."""

    status: DriverStatus
    devices: tuple[RemoteDevice, ...] = ()
    samples: Mapping[str, Sample] = field(default_factory=dict)
    left_out: int = 0
    number: int = 0


class RemoteGpus:
    """Reads a `DcgmSource` for everybody who looks.

    Parameters
    ----------
    source : DcgmSource
        Closed with this.
    clock : Clock
    files : HistoryFiles, optional
        Where the history is kept over a restart.
    read_s : float
        Seconds between readings while somebody looks.
    """

    def __init__(
        self, source: DcgmSource, clock: Clock, files: HistoryFiles | None = None, *, read_s: float = READ_S
    ) -> None:
        self._source = source
        self._files = files
        self._restored = False
        self._read_s = read_s
        self._made: tuple[Snapshot, frozenset[str], RemoteSnapshot] | None = None
        self.history = History(max_bytes=HISTORY_BYTES, hold_s=HOLD_S)
        self._sampler = Sampler(
            source,
            clock,
            look_interval_s=read_s,
            hang_s=HANG_S,
            history=self.history,
            name="swangpu-remote",
            silent=_SILENT,
        )

    def watch(self) -> Watch:
        """Somebody looks, until the answer is closed."""
        return self._sampler.watch()

    async def look(self) -> None:
        """Have a reading that is not old, if Prometheus gives one soon; one that did not the last time is not waited
        for.
        """
        before = self._sampler.snapshot
        reading = self._sampler.refresh(self._read_s)
        if before.status.ok or not before.number:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(asyncio.wrap_future(reading), WAIT_S)

    def snapshot(self, local: Collection[str] = ()) -> RemoteSnapshot:
        """What was read last, by host and index. Asks nothing and never waits.

        Parameters
        ----------
        local : collection of str
            UUIDs of this machine's devices: what its own driver says of them counts.
        """
        read, without = self._sampler.snapshot, frozenset(local)
        made = self._made
        if made is None or made[0] is not read or made[1] != without:
            made = self._made = (read, without, self._shown(read, without))
        return made[2]

    def _shown(self, read: Snapshot, local: Collection[str]) -> RemoteSnapshot:
        found = []
        named = False
        for info in read.devices.values():
            seen = self._source.seen(info.uuid)
            named = named or (seen is not None and any(seen.holders.values()))
            if info.uuid not in local:
                host = seen.host if seen is not None else ""
                at = seen.samples[0].taken_at if seen is not None else None
                found.append(RemoteDevice(info, host, at, seen.holders if seen is not None else None))
        if not named:
            found = [RemoteDevice(one.info, one.host, one.scraped_at, None) for one in found]
        found.sort(key=lambda one: (one.host, one.info.index, one.info.uuid))
        shown = tuple(found[:MOST_DEVICES])
        units = (u for one in shown for u in (one.info.uuid, *(m.uuid for m in one.info.mig_devices)))
        samples = {u: read.samples[u] for u in units if u in read.samples}
        return RemoteSnapshot(read.status, shown, samples, len(found) - len(shown), read.number)

    def restore(self) -> None:
        """Bring back the history of before a restart. May block."""
        if self._files is not None:
            self._files.restore(self.history)
        self._restored = True

    def save(self) -> None:
        """Keep the history. May block; never raises."""
        # what was not read yet would be taken for let go of, and removed
        if self._files is not None and self._restored:
            self._files.save(self.history)

    def close(self) -> None:
        """Ask nothing any more, and keep the history. May block for a few seconds."""
        self._sampler.close()
        self.save()
