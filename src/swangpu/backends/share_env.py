"""The environment that puts a process on its shares, and the watch over those that are only advice. Pure.

A time-slice is advice: CUDA does not enforce it. What the frameworks offer as environment is set (JAX, TensorFlow,
CuPy). PyTorch reads a limit from its environment in its newest versions only, and the older ones refuse to start on
a setting that they do not know, so it is left alone; ``SWANGPU_MEMORY_LIMIT_BYTES`` is there for
``torch.cuda.set_per_process_memory_fraction`` and for everybody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..domain.devices import Share, ShareKind
from ..domain.telemetry import Sample

__all__ = ["VARIABLES", "Overuse", "as_asked", "environment_of", "overuse"]

#: everything that may be set; what a share does not need is unset, so that nothing of an earlier share stays behind
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "CUPY_GPU_MEMORY_LIMIT",
    "SWANGPU_MEMORY_LIMIT_BYTES",
)

#: above its limit by this factor a slice is told: contexts and allocators round up
TOLERANCE = 1.05


def environment_of(
    shares: Sequence[Share], device_memory: Mapping[str, int] | None = None, mps_pipe_directory: str | None = None
) -> dict[str, str | None]:
    """Variables by name; None unsets one.

    Parameters
    ----------
    shares : sequence of Share
        Those of one process. Without any, the process sees no device.
    device_memory : mapping of str to int, optional
        Bytes of each device by UUID, for the frameworks that want their limit as a fraction.
    mps_pipe_directory : str, optional
    """
    env: dict[str, str | None] = dict.fromkeys(VARIABLES)
    env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    visible = list(dict.fromkeys(s.mig_uuid or s.device_uuid for s in shares))
    env["CUDA_VISIBLE_DEVICES"] = ",".join(visible)
    kinds = {s.kind for s in shares}
    if kinds == {ShareKind.MPS}:
        # Limits go by the ordinal that the client sees, which is the place in CUDA_VISIBLE_DEVICES.
        limits = [f"{i}={s.memory_bytes // 2**20}M" for i, s in enumerate(shares)]
        env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = ",".join(limits)
        env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(min(s.compute_percent for s in shares))
        env["CUDA_MPS_PIPE_DIRECTORY"] = mps_pipe_directory
    if kinds and kinds <= {ShareKind.MPS, ShareKind.TIME_SLICE}:
        limit = min(s.memory_bytes for s in shares)
        fraction = min(_fraction(s, device_memory or {}) for s in shares)
        env["SWANGPU_MEMORY_LIMIT_BYTES"] = str(limit)
        env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        env["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{fraction:.3f}"
        env["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        env["CUPY_GPU_MEMORY_LIMIT"] = str(limit)
    return env


def as_asked(env: Mapping[str, str | None], shares: Sequence[Share], memory_bytes: int | None) -> dict[str, str | None]:
    """The environment of a share for somebody who asked for so much memory.

    Who asked for less than there is may have others beside it, who have stayed while they are paused: its frameworks
    take memory as they need it then, and not most of the device when they start.
    """
    out = dict(env)
    if memory_bytes is not None and any(memory_bytes < share.memory_bytes for share in shares):
        growing = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        out.update({name: value for name, value in growing.items() if name in env})
    return out


def _fraction(share: Share, device_memory: Mapping[str, int]) -> float:
    total = device_memory.get(share.device_uuid)
    if total:
        return share.memory_bytes / total
    # The device is not known just now; a flavor such as t4/time-4 says the same.
    parts = share.flavor.rpartition("-")[2]
    return 1 / int(parts) if parts.isdigit() and int(parts) else 1.0


@dataclass(frozen=True)
class Overuse:
    """A session uses more memory of a device than its share of it. ``victims`` are the others on that device."""

    session_id: str
    device_uuid: str
    used_bytes: int
    limit_bytes: int
    victims: tuple[str, ...]


def overuse(
    shares_by_session: Mapping[str, Sequence[Share]],
    pids_by_session: Mapping[str, Collection[int]],
    samples: Mapping[str, Sample],
) -> list[Overuse]:
    """Which sessions take more of a time-sliced device than their share, and whom that hurts.

    Where the driver does not show processes, nothing is said: a whole device's memory is nobody's in particular.

    Parameters
    ----------
    shares_by_session, pids_by_session : mapping
        By session id: the shares held, and the ids of its processes, children included.
    samples : mapping of str to Sample
        By device UUID.
    """
    limits: dict[str, dict[str, int]] = {}
    for session_id, shares in shares_by_session.items():
        for share in shares:
            if share.kind is ShareKind.TIME_SLICE:
                on_device = limits.setdefault(share.device_uuid, {})
                on_device[session_id] = on_device.get(session_id, 0) + share.memory_bytes
    out = []
    for device_uuid, on_device in sorted(limits.items()):
        sample = samples.get(device_uuid)
        if sample is None or sample.processes is None:
            continue
        for session_id, limit in sorted(on_device.items()):
            pids = pids_by_session.get(session_id, ())
            used = sum(p.memory_bytes or 0 for p in sample.processes if p.pid in pids)
            if used > limit * TOLERANCE:
                victims = tuple(sorted(on_device.keys() - {session_id}))
                out.append(Overuse(session_id, device_uuid, used, limit, victims))
    return out
