"""The site's other GPUs as people may see them: read-only, and pods of others as a number. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import wire
from ..domain.telemetry import DriverStatus
from ..telemetry.dcgm_live import NO_METRICS
from .device_views import device_view

if TYPE_CHECKING:
    # not at the start: most servers have no such GPUs
    from ..telemetry.remote import RemoteDevice, RemoteSnapshot

__all__ = ["remote_devices", "remote_trouble"]

#: what the panel translates, by what the source says of itself
_CODES = {"no_permission": "prometheus_refuses", "not_answering": "prometheus_away"}
_UNTOLD = wire.ReasonView(
    code="pods_not_told", params={}, text="The metrics of this site name no pods, so who holds it is not known."
)


def remote_devices(remote: RemoteSnapshot, now: float, *, operator: bool) -> list[wire.Device]:
    """By host and index.

    Parameters
    ----------
    now : float
        Unix seconds; what the ages count to.
    operator : bool
        Who is one sees which pods hold a GPU, others how many.
    """
    return [_device(one, remote, now, operator) for one in remote.devices]


def remote_trouble(remote: RemoteSnapshot) -> wire.ReasonView | None:
    """Why these GPUs are not all there, or None; None too while Prometheus is being asked for the first time."""
    if remote.number and not remote.status.ok:
        return _away(remote.status)
    if remote.left_out:
        text = f"{remote.left_out} more GPUs of the site are not shown here."
        hint = "The setting SwanGpu.prometheus_match chooses some."
        return wire.ReasonView(code="remote_left_out", params={"count": remote.left_out, "hint": hint}, text=text)
    return None


def _away(status: DriverStatus) -> wire.ReasonView:
    text = f"The site's other GPUs can't be seen. {status.text}"
    params: dict[str, str | int | float | None] = {"why": status.text, "hint": status.hint}
    code = "prometheus_has_none" if status == NO_METRICS else _CODES.get(status.code, "prometheus_failed")
    return wire.ReasonView(code=code, params=params, text=text)


def _device(one: RemoteDevice, remote: RemoteSnapshot, now: float, operator: bool) -> wire.Device:
    view = device_view(one.info, remote.samples, "", simulated=False)
    age_s = None if one.scraped_at is None else max(0.0, round(now - one.scraped_at, 1))
    view.remote = wire.RemoteView(host=one.host, age_s=age_s, pods=_pods(one, one.info.uuid, operator))
    for mig in view.mig_devices:
        mig.pods = _pods(one, mig.uuid, operator)
    if view.lost is not None:
        view.lost = _away(remote.status) if not remote.status.ok else _silent(age_s)
    return view


def _silent(age_s: float | None) -> wire.ReasonView:
    text = "Nothing new of it has come to Prometheus: its exporter or its machine may be away."
    return wire.ReasonView(code="not_scraped", params={"age_s": age_s}, text=text)


def _pods(one: RemoteDevice, uuid: str, operator: bool) -> wire.PodsView:
    if one.holders is None:
        return wire.PodsView(count=None, items=None, reason=_UNTOLD)
    holders = one.holders.get(uuid, ())
    items = [wire.PodView(namespace=h.namespace, name=h.pod) for h in holders] if operator else None
    return wire.PodsView(count=len(holders), items=items, reason=None)
