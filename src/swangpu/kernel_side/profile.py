"""``%%gpu --profile`` and ``%gpu profile on``: one line after a cell that says what it did on the GPU.

What this process knows (time, allocators) is there at once. What the server has read comes a moment later, on a thread,
into the same line: the prompt does not wait for it. While a cell runs, the same thread asks the server to look each
second, again and again, so that looking ends with the kernel.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import secrets
import threading
import time
from typing import Any, Protocol

import IPython.display

from . import allocators, hold, render, words
from .api import Api, ApiError, find

__all__ = ["Cell", "Profiler", "Told", "last", "line"]

Json = dict[str, Any]

#: a cell that has ended by then needs no look: no reading would lie inside of it
SOON_S = 0.3
#: the server looks for so long, and is asked again well before that is over, in seconds
LOOK_S, LOOK_AGAIN_S = 30.0, 8.0
#: the figures are asked for so long after the cell's end: what says that it has ended goes out first, in seconds
ASIDE_S = 0.02
#: cells whose figures are waited for at a time
MOST = 16

_display: Any = IPython.display.display
_last: Cell | None = None


class Peaks(Protocol):
    """Who can say at a cell's end what frameworks needed."""

    def end(self) -> list[allocators.Peak]: ...


class Told:
    """What another process has said of its frameworks, once it has."""

    def __init__(self) -> None:
        self.peaks: list[allocators.Peak] = []

    def end(self) -> list[allocators.Peak]:
        return self.peaks


class Cell:
    """One profiled cell; ``profile`` has the fields of `swangpu.wire.ProfileView`, complete when ``known`` is set."""

    def __init__(self, session_id: str, every_cell: bool, peaks: Peaks) -> None:
        self.session_id = session_id
        self.every_cell = every_cell
        #: kept, and not shown
        self.quiet = False
        self.profile: Json = {}
        self.ended = threading.Event()
        self.known = threading.Event()
        self.context = contextvars.copy_context()
        self.body: Json = {}
        self.handle: Any = None
        self.peaks = peaks
        self.started_at = time.time()
        self._begun = time.perf_counter()

    def end(self, run_id: str) -> None:
        """It has run: what this process knows of it."""
        wall_s = max(1e-6, time.perf_counter() - self._begun)
        peaks = self.peaks.end()
        self.body = {
            "started_at": self.started_at,
            "ended_at": self.started_at + wall_s,
            "run_id": run_id,
            "kernel_id": hold.this_kernel(),
            "every_cell": self.every_cell,
            "allocators": [one.name for one in peaks],
        }
        source = None
        if peaks:
            # several frameworks need not have had their peaks at the same time
            exact = len(peaks) == 1 and peaks[0].exact
            source = "allocator" if exact else "allocator_at_most"
            self.body["allocator_peak_bytes"] = sum(one.cell_bytes for one in peaks)
            self.body["allocator_at_most"] = not exact
            self.body["run_peak_bytes"] = sum(one.run_bytes for one in peaks)
        self.profile = {
            "session_id": self.session_id,
            "path": None,
            "kernel_id": self.body["kernel_id"],
            "started_at": self.started_at,
            "ended_at": self.body["ended_at"],
            "wall_s": wall_s,
            "busy_percent": None,
            "busy_percent_min": None,
            "busy_percent_max": None,
            "memory_peak_bytes": self.body.get("allocator_peak_bytes"),
            "memory_source": source,
            "allocators": self.body["allocators"],
            "energy_mj": None,
            "samples": 0,
            "shared": None,
            "simulated": None,
            "missing": self._missing("asking"),
            "verdict": None,
        }

    def fail(self, why: str) -> None:
        """The server's figures do not come."""
        self.profile = {**self.profile, "missing": self._missing(why)}

    def _missing(self, why: str) -> Json:
        known = self.body.get("allocator_peak_bytes") is not None
        return dict.fromkeys(("busy_percent", *(() if known else ("memory_peak_bytes",)), "energy_mj"), why)


class Profiler:
    """Profiles the cells of one kernel.

    Attributes
    ----------
    every_cell : bool
        Whether each cell that runs on a GPU is profiled.
    now : Cell or None
        The cell that is being profiled because of that.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._run_id = secrets.token_hex(8)
        self._run_bytes: dict[str, int] = {}
        self._free = threading.BoundedSemaphore(MOST)
        self._api: Api | None = None
        self._gap = False
        self.every_cell = False
        self.now: Cell | None = None

    def turn(self, on: bool) -> None:
        """Profile each cell from the next one on, or no more."""
        if on is self.every_cell:
            return
        self.every_cell = on
        change = self._shell.events.register if on else self._shell.events.unregister
        change("pre_run_cell", self._before)
        change("post_run_cell", self._after)
        if not on:
            # what this run needs is not known from now on, and the record of this cell says so
            self._gap = True
            cell, self.now = self.now, None
            if cell is not None:
                cell.every_cell = False
                cell.quiet = True
                cell.end(self._run_id)
                cell.ended.set()

    def begin(self, session_id: str, peaks: Peaks | None = None) -> Cell:
        """A cell begins to run on a session's share, in this process unless another tells of its ``peaks``."""
        peaks = peaks or allocators.begin(self._run_bytes)
        cell = Cell(session_id, self.every_cell and not self._gap, peaks)
        if not self._free.acquire(blocking=False):
            cell.known.set()
            return cell
        try:
            threading.Thread(target=self._see_to, args=(cell,), daemon=True).start()
        except RuntimeError:  # this process may have no more threads; the cell is what matters
            self._free.release()
            cell.known.set()
        return cell

    def end(self, cell: Cell) -> None:
        """It has ended, one way or another: say what is known of it at once."""
        global _last
        cell.end(self._run_id)
        if cell.known.is_set():
            cell.fail("too_many")
        _last = cell
        cell.context = contextvars.copy_context()
        if getattr(self._shell, "kernel", None) is not None:
            cell.handle = _display(render.note(line(cell.profile)), display_id=True)
        cell.ended.set()

    # -- inside -----------------------------------------------------------------------------------

    def _before(self, *args: object) -> None:
        session_id = os.environ.get("SWANGPU_SESSION_ID")
        self.now = self.begin(session_id) if session_id else None

    def _after(self, *args: object) -> None:
        cell, self.now = self.now, None
        if cell is not None:
            self.end(cell)

    def _see_to(self, cell: Cell) -> None:
        """On a thread: have it looked at, and ask what it did."""
        path = f"/sessions/{cell.session_id}"
        try:
            soon = cell.ended.wait(SOON_S)
            while not soon:
                with contextlib.suppress(ApiError):
                    self._ask(f"{path}/look", {"for_s": LOOK_S})
                soon = cell.ended.wait(LOOK_AGAIN_S)
            time.sleep(ASIDE_S)
            try:
                cell.profile = self._ask(f"{path}/profiles", cell.body)
            except ApiError as error:
                cell.fail("no_answer" if not error.status else error.code)
            if not cell.quiet:
                cell.context.run(self._show, cell)
        finally:
            self._free.release()
            cell.known.set()

    def _ask(self, path: str, body: Json) -> Json:
        """A call of the server, which is looked for anew when it does not answer: to find it costs more than to ask."""
        self._api = api = self._api or find()
        try:
            return api.call("POST", path, body)
        except ApiError:
            self._api = None
            raise

    @staticmethod
    def _show(cell: Cell) -> None:
        view = render.note(line(cell.profile))
        with contextlib.suppress(Exception):  # the kernel is going away
            if cell.handle is not None:
                cell.handle.update(view)
            else:
                _display(view)


def last(timeout_s: float = 5.0) -> Json | None:
    """What the last profiled cell did; waits so long for what the server has read. None when there was none."""
    cell = _last
    if cell is None:
        return None
    cell.known.wait(timeout_s)
    return dict(cell.profile)


_NAMES = {"busy_percent": "busy", "memory_peak_bytes": "memory", "energy_mj": "energy"}
_WHY = {
    "asking": "being read",
    "too_short": "the cell is shorter than a reading",
    "no_readings": "nothing was read meanwhile",
    "few_readings": "too little was read",
    "shared": "others share this GPU",
    "not_supported": "not available on this slice",
    "no_permission": "not allowed to see",
    "not_visible": "not visible from here",
    "not_yet": "not known yet",
    "lost": "the GPU did not answer",
    "not_answering": "the GPU did not answer",
    "no_answer": "the server does not answer",
    "no_such_session": "the session is over",
    "too_many": "too many cells at once",
    "bad_times": "the server's clock differs",
}


def line(profile: Json) -> str:
    """One line: what is known, then what is not and why, then a verdict where it is certain."""
    parts = [_seconds(profile["wall_s"])]
    busy = profile.get("busy_percent")
    if busy is not None:
        simulated, whose = profile.get("simulated"), " with this" if profile.get("shared") else ""
        parts.append(f"GPU{' (simulated)' if simulated else ''} {busy:.0f} % busy{whose}{_between(profile)}")
    if profile.get("memory_peak_bytes") is not None:
        parts.append(f"memory {_memory(profile)}")
    if profile.get("energy_mj") is not None:
        parts.append(f"energy {_joule(profile['energy_mj'] / 1000)}")
    by_reason: dict[str, list[str]] = {}
    for name, why in (profile.get("missing") or {}).items():
        if name in _NAMES:
            by_reason.setdefault(_WHY.get(why, "not known"), []).append(_NAMES[name])
    order = list(_NAMES.values())
    for why, names in by_reason.items():
        parts.append(f"{', '.join(sorted(names, key=order.index))}: {why}")
    said = " · ".join(parts)
    verdict = profile.get("verdict")
    return f"{said} · {verdict['text']}" if verdict else f"{said}."


def _between(profile: Json) -> str:
    """What is certain of the share, where that is much less than what was measured."""
    low, high = profile.get("busy_percent_min"), profile.get("busy_percent_max")
    if low is None or high is None or high - low < 5:
        return ""
    return f" (surely {low:.0f} to {high:.0f} %)"


def _memory(profile: Json) -> str:
    """The peak, whose it is, and whether it was more or less."""
    size = words.memory(profile["memory_peak_bytes"])
    source, names = profile.get("memory_source"), " and ".join(profile.get("allocators") or [])
    if source == "allocator":
        return f"peak {size} ({names}'s own count)"
    if source == "allocator_at_most":
        return f"peak at most {size} ({names}'s own count)"
    if source == "processes":
        return f"peak {size} (the readings of its processes)"
    return f"peak {size} (the device's readings)"


def _seconds(wall_s: float) -> str:
    if wall_s < 0.1:
        return f"{1000 * wall_s:.0f} ms"
    return f"{wall_s:.1f} s" if wall_s < 90 else words.duration(wall_s)


def _joule(energy_j: float) -> str:
    for unit, factor in (("MJ", 1e6), ("kJ", 1e3)):
        if energy_j >= factor:
            return f"{energy_j / factor:.1f} {unit}"
    return f"{energy_j:.0f} J"
