"""The live view of GPUs and sessions in a notebook's output: the Monitor's charts, fed by the server's event stream.

`new` makes it, where anywidget is in this Python and the charts are built; the caller shows text where it answers None.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import words
from .api import Api, ApiError, find

__all__ = ["Wanted", "new", "subjects"]

Json = dict[str, Any]

#: the charts, built of the labextension's TypeScript
BUNDLE = Path(__file__).parent / "_charts"
SPAN_S = 3600.0
#: what comes along with a widget for the time in which its kernel is busy
POINTS = 180
MOST_PAST = 16
MOST_POINTS = 2000
DEVICES_EVERY_S = 60.0
LONGEST_WAIT_S = 30.0
#: how often to look whether a widget that nobody sees is still there
UNSEEN_S = 60.0
#: questions about the past that are asked at the same time
AT_ONCE = 4
_SHOWN = ("active", "paused", "ending")


class Wanted:
    """What to show: ids of devices (MIG devices come with theirs) and of sessions; None means all, empty none."""

    def __init__(self, devices: Iterable[str] | None = None, sessions: Iterable[str] | None = None) -> None:
        self.devices = None if devices is None else tuple(devices)
        self.sessions = None if sessions is None else tuple(sessions)

    @property
    def lists(self) -> list[str]:
        named = [("sessions", self.sessions), ("devices", self.devices)]
        return [name for name, ids in named if ids is None or ids]

    def has_session(self, session: Json) -> bool:
        return self.sessions is None or session["id"] in self.sessions

    def has_device(self, uuid: str, parent: str = "") -> bool:
        return self.devices is None or uuid in self.devices or parent in self.devices


def subjects(sessions: list[Json], devices: list[Json], wanted: Wanted) -> list[Json]:
    """The rows: sessions that have begun, then devices with their MIG devices."""
    rows = [_session(one) for one in sessions if one.get("state") in _SHOWN and wanted.has_session(one)]
    for device in devices:
        if wanted.has_device(device["uuid"]):
            rows.append(_device(device))
        rows += [
            _mig(device, mig, number)
            for number, mig in enumerate(device.get("mig_devices") or [], start=1)
            if wanted.has_device(mig["uuid"], device["uuid"])
        ]
    return rows


def _row(thing: Json, kind: str, subject: str, title: str, detail: str, trouble: str = "") -> Json:
    return {
        "id": subject,
        "kind": kind,
        "title": words.clean(title),
        "detail": words.clean(detail),
        "memory_bytes": thing.get("memory_bytes"),
        "simulated": bool(thing.get("simulated")),
        "remote": False,
        "trouble": words.clean(trouble),
    }


def _session(session: Json) -> Json:
    title = words.title({**session, "simulated": False})  # the list says that
    return _row(session, "session", session["id"], title, words.state(session).replace("`", ""))


def _device(device: Json) -> Json:
    name = str(device.get("name") or "").replace("NVIDIA ", "")
    pool = str(device.get("pool") or "")
    detail = f"{pool} · simulated" if device.get("simulated") else pool
    title = f"GPU {device.get('index')} · {name}"
    remote = device.get("remote")
    if remote:
        # numbers are the same on all machines
        title = f"{remote.get('host') or 'another machine'} · GPU {device.get('index')}"
        detail = f"{name} · {_pods(remote.get('pods'))}"
    lost = device.get("lost") or {}
    return {**_row(device, "device", device["uuid"], title, detail, lost.get("text") or ""), "remote": bool(remote)}


def _mig(device: Json, mig: Json, number: int) -> Json:
    lost = device.get("lost") or {}
    title, detail = f"Slice {number} · {mig.get('profile')}", _pods(mig.get("pods"))
    return {
        **_row(mig, "mig", mig["uuid"], title, detail, lost.get("text") or ""),
        "remote": bool(device.get("remote")),
    }


def _pods(pods: Json | None) -> str:
    """Who holds a GPU of another machine; operators are told the names."""
    if not pods:
        return ""
    count, items = pods.get("count"), pods.get("items")
    if count is None:
        return "who holds it is not known"
    if not count:
        return "no pod holds it"
    if items:
        return ", ".join(f"{one.get('namespace')}/{one.get('name')}" for one in items)
    return f"held by {count} pod{'' if count == 1 else 's'}"


@functools.cache
def _widget_class() -> Any:
    """None where there is no anywidget, or the charts are not built."""
    try:
        import anywidget
        import traitlets

        script = (BUNDLE / "widget.js").read_text(encoding="utf-8")
        style = (BUNDLE / "widget.css").read_text(encoding="utf-8")
    except (ImportError, OSError):
        return None

    class GpuMonitor(anywidget.AnyWidget):
        """GPUs and sessions over time."""

        _esm = script
        _css = style
        subjects: Any = traitlets.List().tag(sync=True)
        readings = traitlets.Dict().tag(sync=True)
        past = traitlets.Dict().tag(sync=True)
        note = traitlets.Unicode().tag(sync=True)
        lists: Any = traitlets.List().tag(sync=True)
        opened: Any = traitlets.List().tag(sync=True)
        span_s = traitlets.Float(SPAN_S).tag(sync=True)

        def __repr__(self) -> str:
            readings = self.readings.get("items") or {}
            lines = [f"{row['title']}: {_figures(readings.get(row['id']))}" for row in self.subjects]
            return "\n".join([*lines, self.note] if self.note else lines) or "GPU monitor"

    return GpuMonitor


def _figures(reading: Json | None) -> str:
    if not reading:
        return "nothing measured yet"
    busy, used, total = (
        reading.get(name) for name in ("utilization_percent", "memory_used_bytes", "memory_total_bytes")
    )
    parts = ["busy: not known" if busy is None else f"{busy:.0f} % busy"]
    if used is not None:
        parts.append(words.memory(used) + (f" of {words.memory(total)}" if total is not None else ""))
    return " · ".join(parts)


def new(api: Api, wanted: Wanted, *, span_s: float = SPAN_S, opened: Iterable[str] = ()) -> Any:
    """A widget that shows what is wanted, live; None where this kernel can't have one."""
    kind = _widget_class()
    if kind is None:
        return None
    widget = kind(lists=wanted.lists, opened=list(opened), span_s=span_s)
    feeder = Feeder(weakref.ref(widget), api, wanted)
    widget.on_msg(feeder.hear)
    threading.Thread(target=feeder.run, name="swangpu-monitor", daemon=True).start()
    return widget


class Feeder:
    """Keeps one widget up to date from a thread of its own, until the widget is closed or its sessions have ended.

    Parameters
    ----------
    widget : callable
        The widget, or None when nobody has it any more.
    """

    def __init__(self, widget: Callable[[], Any], api: Api, wanted: Wanted) -> None:
        self._widget = widget
        self._api = api
        self._wanted = wanted
        self._views: int | None = None  # the first is about to come
        self._wake = threading.Event()
        self._asking = threading.BoundedSemaphore(AT_ONCE)
        self._sessions: list[Json] = []
        self._devices: list[Json] = []
        self._looked_at = float("-inf")

    def run(self) -> None:
        failures = 0
        while self._shown() is not None:
            if self._views == 0:
                # Nobody sees it: the driver is left alone until somebody does.
                self._wake.wait(UNSEEN_S)
                self._wake.clear()
                continue
            try:
                self._look()
                if self._follow():
                    return
                failures = 0
            except ApiError as error:
                self._set(note=error.detail)
                self._wake.wait(min(LONGEST_WAIT_S, 2.0**failures))
                failures += 1
                with contextlib.suppress(ApiError):
                    self._api = find()  # a server that was restarted may be elsewhere

    def hear(self, widget: Any, content: Any, buffers: Any) -> None:
        """A message of the page; answered from another thread, since this is the kernel's."""
        if not isinstance(content, dict):
            return
        if content.get("kind") == "view":
            self._views = max(0, (self._views or 0) + (1 if content.get("change") == 1 else -1))
            self._wake.set()
        elif content.get("kind") == "past":
            threading.Thread(target=self._answer, args=(content,), daemon=True).start()

    # -- inside -----------------------------------------------------------------------------------

    def _shown(self) -> Any:
        widget = self._widget()
        return None if widget is None or widget.comm is None else widget

    def _set(self, **traits: Any) -> None:
        widget = self._shown()
        if widget is not None:
            for name, value in traits.items():
                setattr(widget, name, value)

    def _look(self) -> None:
        """What there is, and what it did in the last hour."""
        self._sessions = self._api.sessions() if "sessions" in self._wanted.lists else []
        self._devices = self._api.devices() if "devices" in self._wanted.lists else []
        self._looked_at = time.monotonic()
        rows = subjects(self._sessions, self._devices, self._wanted)
        self._set(subjects=rows, note="")
        widget = self._shown()
        if widget is not None:
            start = time.time() - widget.span_s
            past = {}
            for row in rows[:MOST_PAST]:
                with contextlib.suppress(ApiError):  # its row then says so when it asks
                    past[row["id"]] = self._api.past(_kind(row["kind"]), row["id"], POINTS, start)
            self._set(past=past)

    def _follow(self) -> bool:
        """Take events until nobody looks any more; True when there is nothing left to show."""
        topics = ["telemetry", "sessions", *(["devices"] if "devices" in self._wanted.lists else [])]
        for name, event in self._api.stream(topics):
            if self._shown() is None:
                return True
            if self._views == 0:
                return False
            if name == "telemetry":
                self._readings(event)
            elif name == "sessions" and self._have_ended(event):
                return True
            if time.monotonic() - self._looked_at > DEVICES_EVERY_S and "devices" in self._wanted.lists:
                self._devices = self._api.devices()
                self._looked_at = time.monotonic()
                self._set(subjects=subjects(self._sessions, self._devices, self._wanted))
        return False

    def _readings(self, event: Json) -> None:
        widget = self._shown()
        if widget is not None:
            known = {**(event.get("samples") or {}), **(event.get("sessions") or {})}
            items = {row["id"]: known[row["id"]] for row in widget.subjects if row["id"] in known}
            widget.readings = {"as_of": event.get("as_of"), "items": items}

    def _have_ended(self, event: Json) -> bool:
        """Whether sessions were named, and none of them is live any more."""
        self._sessions = [one for one in event.get("items") or [] if one.get("mine", True)]
        rows = subjects(self._sessions, self._devices, self._wanted)
        named = self._wanted.sessions
        if named and not any(row["kind"] == "session" for row in rows) and self._wanted.lists == ["sessions"]:
            ended = [one for one in self._sessions if one["id"] in named]
            self._set(note=" · ".join(words.state(one).replace("`", "") for one in ended) or "It has ended.")
            return True
        self._set(subjects=rows)
        return False

    def _answer(self, asked: Json) -> None:
        """One question about the past: the same number with what is known, or with why it is not."""
        answer: Json = {"kind": "past", "number": asked.get("number")}
        widget = self._shown()
        if widget is None:
            return
        kinds = {row["id"]: _kind(row["kind"]) for row in widget.subjects}
        try:
            subject, points = str(asked["id"]), max(1, min(MOST_POINTS, int(asked["points"])))
            with self._asking:
                answer["history"] = self._api.past(
                    kinds[subject], subject, points, max(0.0, float(asked["from"])), float(asked["to"])
                )
        except ApiError as error:
            answer["problem"] = error.detail
        except (KeyError, TypeError, ValueError):
            answer["problem"] = "This can't be asked."
        widget.send(answer)


def _kind(kind: str) -> str:
    return "session" if kind == "session" else "device"
