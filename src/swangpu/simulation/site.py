"""What a simulated site consists of: devices and how they are cut, ways to host memory, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ..domain.devices import Flavor, PoolInventory, Share, ShareKind
from .workload import GB

__all__ = ["CUTS", "NO_FAULTS", "POOL", "Cut", "Faults", "Site", "inventory", "layout"]

POOL = "site"
DEVICE_BYTES = 40 * GB


@dataclass(frozen=True)
class Cut:
    """One way to cut an A100 with 40 GB: into how many parts, of which memory."""

    flavor: str
    title: str
    parts: int
    memory_bytes: int
    kind: ShareKind


#: smallest first
CUTS = {
    "1g.5gb": Cut("a100-40gb/1g.5gb", "A100 slice, 5 GB", 7, 5 * GB, ShareKind.MIG),
    "2g.10gb": Cut("a100-40gb/2g.10gb", "A100 slice, 10 GB", 3, 10 * GB, ShareKind.MIG),
    "3g.20gb": Cut("a100-40gb/3g.20gb", "A100 slice, 20 GB", 2, 20 * GB, ShareKind.MIG),
    "whole": Cut("a100-40gb", "A100 whole, 40 GB", 1, DEVICE_BYTES, ShareKind.WHOLE),
}


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as parts of all cases or as a mean time between two, in seconds (0: never).

    Attributes
    ----------
    start_fails, stop_fails, pause_fails, resume_fails, slow : float
        Of what the site is told to do. ``slow``: takes thirty times as long.
    lost : float
        Of failed pauses and resumes, those that the kernel does not survive.
    report_lost, report_twice, report_late : float
        Of reports on their way; a late one comes up to two minutes late, and so behind others.
    commit_fails : float
        Of events: nothing of them stays.
    """

    start_fails: float = 0.0
    stop_fails: float = 0.0
    pause_fails: float = 0.0
    resume_fails: float = 0.0
    slow: float = 0.0
    lost: float = 0.0
    report_lost: float = 0.0
    report_twice: float = 0.0
    report_late: float = 0.0
    commit_fails: float = 0.0
    vanish_every_s: float = 0.0
    crash_every_s: float = 0.0
    jump_every_s: float = 0.0
    device_lost_every_s: float = 0.0
    memory_short_every_s: float = 0.0
    outage_every_s: float = 0.0


NO_FAULTS = Faults()


@dataclass(frozen=True)
class Site:
    """Devices, and how fast things go there.

    Attributes
    ----------
    devices : mapping of str to int
        How many are cut in each way of `CUTS`.
    bandwidth_bytes_s : float
        From a device to host memory and back; those who move at the same time on one device share it.
    host_bytes : int or None
        What may be put aside in all; None is without limit.
    start_s, stop_s : float
        Starting a kernel with a GPU, and ending one.
    offload_s, carry_s, restart_s, checkpoint_s : float
        What each way of putting aside or bringing back costs beside the bytes. A carried kernel is started anew when it
        is brought back: that takes ``restart_s``.
    context_bytes : int
        What an offloaded kernel leaves on its share.
    untouched_anywhere : bool
        A kernel that has never opened its device has nothing there: it can be put aside in any case, and goes on with
        any device.
    """

    devices: Mapping[str, int] = field(default_factory=lambda: {"whole": 4})
    bandwidth_bytes_s: float = 12.0 * GB
    host_bytes: int | None = None
    start_s: float = 6.0
    stop_s: float = 1.0
    offload_s: float = 0.3
    carry_s: float = 1.0
    restart_s: float = 5.0
    checkpoint_s: float = 1.0
    context_bytes: int = 400 * 10**6
    untouched_anywhere: bool = True
    faults: Faults = NO_FAULTS

    @property
    def count(self) -> int:
        """How many devices there are."""
        return sum(self.devices.values())


def layout(count: int, memory_gb: Sequence[tuple[float, float]]) -> dict[str, int]:
    """How a site cuts so many devices: in the proportions of what is asked for, by largest remainders.

    One device at least stays whole where somebody asks for that much: a small share can be served by a larger one, and
    a large one by nothing else.
    """
    weights: dict[str, float] = dict.fromkeys(CUTS, 0.0)
    for gigabytes, part in memory_gb:
        name = next((n for n, cut in CUTS.items() if cut.memory_bytes >= gigabytes * GB), "whole")
        weights[name] += part / CUTS[name].parts
    largest = [n for n in CUTS if weights[n] > 0][-1:] or ["whole"]
    total = sum(weights.values()) or 1.0
    ideal = {n: count * w / total for n, w in weights.items()}
    out = {n: int(ideal[n]) for n in CUTS}
    for name in sorted(CUTS, key=lambda n: (-(ideal[n] - out[n]), -CUTS[n].memory_bytes)):
        if sum(out.values()) >= count:
            break
        out[name] += 1
    if count and not out[largest[0]]:
        out[max(out, key=lambda n: out[n])] -= 1
        out[largest[0]] += 1
    return {name: n for name, n in out.items() if n}


def inventory(
    devices: Mapping[str, int], as_of: float, *, lost: frozenset[str] = frozenset(), available: bool = True
) -> PoolInventory:
    """What the site's backend says it has; ``lost`` names devices that do not answer."""
    shares, flavors = _made(tuple(sorted(devices.items())))
    return PoolInventory(
        pool=POOL,
        title="Simulated site",
        managed=True,
        available=available,
        as_of=as_of,
        shares=shares if available else (),
        flavors=flavors if available else (),
        lost=tuple(s.id for s in shares if s.device_uuid in lost) if available else (),
        reason_code=None if available else "away",
        reason_text=None if available else "The site does not answer.",
        simulated=True,
    )


@lru_cache(maxsize=64)
def _made(devices: tuple[tuple[str, int], ...]) -> tuple[tuple[Share, ...], tuple[Flavor, ...]]:
    shares: list[Share] = []
    flavors: list[Flavor] = []
    for name, cut in CUTS.items():
        count = dict(devices).get(name, 0)
        if count:
            flavors.append(Flavor(cut.flavor, cut.title, cut.memory_bytes, cut.kind))
        for n in range(count):
            device = f"GPU-{name}-{n:03d}"
            shares += _cut(device, name, cut)
    return tuple(sorted(shares, key=lambda s: s.id)), tuple(flavors)


def _cut(device: str, name: str, cut: Cut) -> list[Share]:
    if cut.kind is ShareKind.WHOLE:
        return [Share(device, POOL, cut.flavor, cut.kind, device, cut.memory_bytes)]
    fraction = 1.0 / cut.parts
    return [
        Share(
            f"MIG-{device}-{i}", POOL, cut.flavor, cut.kind, device, cut.memory_bytes, f"MIG-{device}-{i}", name,
            100 // cut.parts, fraction,
        )
        for i in range(cut.parts)
    ]  # fmt: skip
