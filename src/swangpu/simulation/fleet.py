"""What a simulated fleet consists of."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from ..domain.telemetry import DeviceInfo, MigInfo

__all__ = ["DeviceSpec", "FleetSpec", "demo_fleet"]

GB = 10**9


@dataclass(frozen=True)
class DeviceSpec:
    """One device. ``mig`` lists profile and memory of its MIG devices, e.g. ``("1g.5gb", 5 * GB)``.

    ``utilization`` false: the driver gives none, as NVML on the MIG devices of an A100. ``processes_visible`` false:
    nor who computes there, as in a container that can't map the host's process ids.
    """

    name: str
    memory_bytes: int
    mig: tuple[tuple[str, int], ...] = ()
    utilization: bool = True
    processes_visible: bool = True
    idle_power_mw: int = 36_000
    max_power_mw: int = 250_000
    idle_clock_mhz: int = 210
    max_clock_mhz: int = 1410
    nvlink: bool = True


@dataclass(frozen=True)
class FleetSpec:
    """Devices in the order of their index; ``seed`` makes their UUIDs and the other users."""

    devices: tuple[DeviceSpec, ...]
    seed: str = "demo"
    #: how many devices or MIG devices other users may occupy at a time
    others: int = 0

    def infos(self) -> tuple[DeviceInfo, ...]:
        """The devices as a driver names them; the same UUIDs for the same seed, always."""
        out = []
        for index, spec in enumerate(self.devices):
            device = f"GPU-{self._uuid(index)}"
            migs = tuple(
                MigInfo(f"MIG-{self._uuid(index, n)}", profile, memory_bytes)
                for n, (profile, memory_bytes) in enumerate(spec.mig)
            )
            out.append(DeviceInfo(device, index, spec.name, spec.memory_bytes, bool(migs), migs))
        return tuple(out)

    def places_of_others(self) -> tuple[tuple[str, int], ...]:
        """Where others may be, with its memory: of a cut device all places but the first two.

        Those two, and every whole device, stay free for a newcomer.
        """
        return tuple((m.uuid, m.memory_bytes) for info in self.infos() for m in info.mig_devices[2:])

    def _uuid(self, *parts: int) -> uuid.UUID:
        text = "/".join([self.seed, *map(str, parts)])
        return uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4)


_T4 = DeviceSpec(
    "Tesla T4",
    16 * GB,
    idle_power_mw=9_000,
    max_power_mw=70_000,
    idle_clock_mhz=300,
    max_clock_mhz=1590,
    nvlink=False,
)


def demo_fleet() -> FleetSpec:
    """A small site: slices of two A100, one A100 as a whole, two T4 that are shared in time."""
    return FleetSpec(
        devices=(
            DeviceSpec("NVIDIA A100-SXM4-40GB", 40 * GB, tuple([("1g.5gb", 5 * GB)] * 7), utilization=False),
            DeviceSpec("NVIDIA A100-SXM4-40GB", 40 * GB, tuple([("2g.10gb", 10 * GB)] * 3)),
            DeviceSpec("NVIDIA A100-SXM4-40GB", 40 * GB),
            _T4,
            _T4,
        ),
        others=5,
    )
