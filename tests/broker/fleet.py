"""Small fleets for the broker's tests: whole devices, MIG, time-slices, and one device cut in two ways."""

from __future__ import annotations

from swangpu.domain.devices import Flavor, PoolInventory, Share, ShareKind

GB = 10**9


def mig(device: str, n: int, pool: str = "local") -> list[Share]:
    return [
        Share(
            f"MIG-{device}-{i}", pool, "a100-40gb/1g.5gb", ShareKind.MIG, device, 5 * GB, f"MIG-{device}-{i}", "1g.5gb"
        )
        for i in range(n)
    ]


def whole(device: str, flavor: str = "t4", memory_gb: int = 16, pool: str = "local") -> Share:
    return Share(device, pool, flavor, ShareKind.WHOLE, device, memory_gb * GB)


def slices(device: str, n: int, pool: str = "local") -> list[Share]:
    return [
        Share(f"{device}/time-{i}of{n}", pool, f"t4/time-{n}", ShareKind.TIME_SLICE, device, 16 * GB // n)
        for i in range(n)
    ]


FLAVORS = (
    Flavor("a100-40gb/1g.5gb", "A100 slice, 5 GB", 5 * GB, ShareKind.MIG),
    Flavor("t4", "T4", 16 * GB, ShareKind.WHOLE, max_per_kernel=2),
    Flavor("t4/time-2", "T4 half, 8 GB", 8 * GB, ShareKind.TIME_SLICE),
)


def inventory(
    as_of: float = 0.0, *, lost: tuple[str, ...] = (), taken: tuple[str, ...] = (), available: bool = True
) -> PoolInventory:
    """Three MIG devices, one T4 that can be had whole or in halves, one T4 that can be had whole only."""
    shares = [*mig("A", 3), whole("T1"), *slices("T1", 2), whole("T2")]
    return PoolInventory(
        pool="local",
        title="This machine",
        managed=True,
        available=available,
        as_of=as_of,
        shares=tuple(sorted(shares, key=lambda s: s.id)) if available else (),
        flavors=FLAVORS if available else (),
        lost=lost,
        taken=taken,
        reason_code=None if available else "driver_not_loaded",
        reason_text=None if available else "The NVIDIA driver is not loaded.",
    )
