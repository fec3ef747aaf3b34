"""Processes on devices as people may see them. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from .. import wire
from ..domain.telemetry import DeviceInfo, Sample
from ..telemetry.attribution import Attributed

__all__ = ["processes"]

Kind = Literal["mine", "others", "unheld"]

#: CUDA's own daemons are nobody's work
_DAEMONS = ("nvidia-cuda-mps", "nvidia-persiste")

_WHY = {
    "not_visible": "Processes are not visible from here: their ids belong to another container, or to the machine.",
    "no_permission": "This account may not see the processes.",
    "lost": "The device does not answer.",
    "not_answering": "The device does not answer in time.",
}
_HINT = {"not_visible": "A server that shares the machine's process ids (hostPID) sees them, or an agent on the node."}


def processes(
    devices: Mapping[str, DeviceInfo],
    samples: Mapping[str, Sample],
    found: Sequence[Attributed],
    users: Mapping[str, str],
    paths: Mapping[str, str | None],
    user: str,
    *,
    operator: bool,
) -> tuple[list[wire.ProcessView], list[wire.HiddenProcesses]]:
    """What somebody sees: own processes and, for operators, all; of the rest how many, and why some are not seen.

    Parameters
    ----------
    users : mapping of str to str
        Whose a session is.
    paths : mapping of str to str or None
        The notebook of a kernel.
    """
    shown: list[wire.ProcessView] = []
    counted: dict[tuple[str, str | None], list[int | None]] = {}
    for one in found:
        if one.facts is not None and one.facts.name.startswith(_DAEMONS):
            continue
        owner = users.get(one.owner.session_id) if one.owner is not None else None
        kind = _kind(one, owner, user)
        if kind == "mine" or operator or (kind == "unheld" and _ours(one)):
            shown.append(_view(one, kind, paths))
        else:
            counted.setdefault((one.device_uuid, one.use.mig_uuid), []).append(one.use.memory_bytes)
    hidden = [
        wire.HiddenProcesses(device_uuid, mig_uuid, len(amounts), _sum(amounts), None)
        for (device_uuid, mig_uuid), amounts in counted.items()
    ]
    return shown, [*hidden, *_unseen(devices, samples)]


def _kind(one: Attributed, owner: str | None, user: str) -> Kind:
    if one.owner is None:
        return "unheld"
    return "mine" if owner == user else "others"


def _ours(one: Attributed) -> bool:
    """A process of the same account as this server's: the person's own, outside of any session."""
    return one.facts is not None and one.facts.user_id is not None and one.facts.user_id == os.getuid()


def _view(one: Attributed, kind: Kind, paths: Mapping[str, str | None]) -> wire.ProcessView:
    owner = one.owner
    kernel_id = owner.kernel_id if owner is not None else None
    return wire.ProcessView(
        device_uuid=one.device_uuid,
        mig_uuid=one.use.mig_uuid,
        pid=one.use.pid,
        name=one.facts.name if one.facts is not None else "",
        kind=kind,
        session_id=owner.session_id if owner is not None else None,
        kernel_id=kernel_id,
        path=paths.get(kernel_id or ""),
        how=one.how,
        memory_bytes=one.use.memory_bytes,
        sm_percent=None if one.use.sm_percent is None else round(one.use.sm_percent, 1),
    )


def _unseen(devices: Mapping[str, DeviceInfo], samples: Mapping[str, Sample]) -> list[wire.HiddenProcesses]:
    out = []
    for device in sorted(devices.values(), key=lambda d: d.index):
        for unit in [m.uuid for m in device.mig_devices] or [device.uuid]:
            sample = samples.get(unit)
            code = dict(sample.missing).get("processes") if sample is not None and sample.processes is None else None
            if code is not None:
                text = _WHY.get(code, "The driver does not tell its processes.")
                reason = wire.ReasonView(code=code, params={"hint": _HINT.get(code, "")}, text=text)
                out.append(wire.HiddenProcesses(device.uuid, unit if unit != device.uuid else None, None, None, reason))
    return out


def _sum(amounts: Sequence[int | None]) -> int | None:
    known = [a for a in amounts if a is not None]
    return sum(known) if len(known) == len(amounts) else None
