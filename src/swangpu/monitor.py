"""``swangpu.Monitor()``: GPUs and sessions over time, in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from . import client, errors, wire
from .kernel_side import live, render, watch
from .kernel_side.api import Api, ApiError

__all__ = ["Monitor", "Picture"]

MOST_ROWS = 24


def Monitor(
    devices: Iterable[str | int] | None = None, sessions: Iterable[str | wire.SessionView] | None = None
) -> Any:
    """A live view of GPUs and sessions, with the charts of the GPU Monitor.

    Parameters
    ----------
    devices : iterable of str or int, optional
        UUIDs of devices or MIG devices, or indices of devices; all when not said, none when empty. A device brings
        its MIG devices along.
    sessions : iterable of str or SessionView, optional
        Sessions or their ids; all of yours when not said, none when empty.

    Returns
    -------
    ipywidgets.DOMWidget or Picture
        A picture in text where this Python has no anywidget, or where there is no notebook.

    Raises
    ------
    swangpu.errors.SwanGpuError
        No server is running, or there is no such device.
    """
    with client.discover() as found:
        api = Api(found.base, found.token)
    try:
        wanted = live.Wanted(
            None if devices is None else _uuids(devices, api.devices()),
            None if sessions is None else [one.id if isinstance(one, wire.SessionView) else one for one in sessions],
        )
    except ApiError as error:
        raise client.error_of(error.status, error.code, error.detail, error.hint, error.params) from None
    widget = live.new(api, wanted) if _has_page() else None
    return Picture(api, wanted) if widget is None else widget


class Picture:
    """The last minutes of GPUs and sessions in text; looked at again whenever it is shown.

    Parameters
    ----------
    api : Api
    wanted : Wanted
    """

    def __init__(self, api: Api, wanted: live.Wanted) -> None:
        self._api = api
        self._wanted = wanted

    def __repr__(self) -> str:
        return self.view().text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        view = self.view()
        return {"text/plain": view.text, "text/html": view.html}

    def view(self) -> render.View:
        """A row for each session and device."""
        view = render.View()
        try:
            rows = live.subjects(self._api.sessions(), self._api.devices(), self._wanted)
            start = time.time() - watch.WINDOW_S
            view.table(["", "Busy, last 10 min", "Now", "Memory"], [self._row(row, start) for row in rows[:MOST_ROWS]])
        except ApiError as error:
            return view.add("error", error.detail).add("hint", error.hint)
        if not rows:
            view.add("line", "Nothing that can be watched from here.")
        elif len(rows) > MOST_ROWS:
            view.add("hint", f"And {len(rows) - MOST_ROWS} more; name those that you want.")
        return view

    def _row(self, row: dict[str, Any], start: float) -> list[str]:
        kind = "session" if row["kind"] == "session" else "device"
        title = f"  {row['title']}" if row["kind"] == "mig" else row["title"]
        if row["trouble"]:
            return [title, "", row["trouble"], ""]
        past = self._api.past(kind, row["id"], watch.POINTS, start)
        busy = past.get("utilization_percent") or []
        said = watch.busy_text(busy, past.get("missing") or {})
        return [
            title,
            watch.sparkline(busy),
            said,
            watch.memory_text(past.get("memory_used_bytes") or [], row["memory_bytes"]),
        ]


def _uuids(devices: Iterable[str | int], known: list[dict[str, Any]]) -> list[str]:
    # of another machine's, an index says nothing
    by_index = {device["index"]: device["uuid"] for device in known if not device.get("remote")}
    uuids = {one["uuid"] for device in known for one in [device, *device["mig_devices"]]}
    found = []
    for device in devices:
        uuid = by_index.get(device) if isinstance(device, int) else device
        if uuid not in uuids:
            raise errors.NotFound(
                f"There is no GPU {device!r}.",
                hint=f"There are {', '.join(sorted(uuids)) or 'none'}.",
                code="no_such_device",
            )
        found.append(str(uuid))
    return found


def _has_page() -> bool:
    """Whether there is a page that can show a widget: in a kernel, not in a terminal or a script."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None
