"""``%%gpu``: a cell runs in a process beside a GPU, which holds the share for the cell only.

What it reads is sent there, what it sets and changes comes back, and the notebook's own process never sees the GPU.
What can't be sent is named before a GPU is asked for.
"""

from __future__ import annotations

import contextlib
import linecache
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

from . import allocators, hold, profile, reading, render, words
from .api import Api, ApiError
from .companion import Companion, Lost, Order, Outcome
from .grammar import Command
from .mirror import Unreadable
from .packing import Parcel
from .screen import Progress, Relay, show, warn

__all__ = ["CellNotRun", "Cells"]

Json = dict[str, Any]

#: a cell that is still running when this is over goes on, and its share with it, if nobody waits
CELL_LEASE_S = 3600.0
#: how often to look whether a share is still ours
LOOK_S = 10.0
#: between two attempts to stop a cell whose share is gone: it may have to come to an end of its own first
GRACE_S = 10.0


class CellNotRun(Exception):
    """Why a cell did not run, or not to its end: it stops the notebook as any error does."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(f"{detail} {hint}".strip())
        self.detail = detail
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """Our own frames are nobody's business."""
        return [f"{type(self).__name__}: {self.detail}", *([self.hint] if self.hint else [])]


class CellLost(CellNotRun):
    """The companion has ended in the middle of the cell."""


def _raised(error: Json) -> BaseException:
    """What a cell raised elsewhere, to be raised here: it has the name of what it was, and its traceback."""

    def rendered(self: BaseException) -> list[str]:
        return list(error["traceback"]) or [f"{error['ename']}: {error['evalue']}"]

    kind = type(error["ename"], (Exception,), {"_render_traceback_": rendered, "__module__": "builtins"})
    raised: BaseException = kind(error["evalue"])
    return raised


class Cells:
    """Runs the cells of one kernel beside GPUs.

    Parameters
    ----------
    shell : InteractiveShell
    profiler : profile.Profiler
    """

    def __init__(self, shell: Any, profiler: profile.Profiler) -> None:
        self._shell = shell
        self._profiler = profiler
        self._warm: _Warm | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def run(self, api: Api, command: Command, line: str, cell: str) -> None:
        """Run a cell.

        Raises
        ------
        CellNotRun
        Exception
            What the cell raised, by its name.
        """
        try:
            outcome = self._run_beside(api, command, line, cell)
        except BaseException as error:
            _let_go(error)
            raise
        if outcome.error is not None:
            raise _raised(outcome.error)

    def _run_beside(self, api: Api, command: Command, line: str, cell: str) -> Outcome:
        namespace: Json = self._shell.user_ns
        try:
            found = reading.read(self._shell.transform_cell(cell), namespace)
        except SyntaxError as error:
            lines = self._shell.SyntaxTB.structured_traceback(type(error), error, [])
            raise _raised({"ename": type(error).__name__, "evalue": str(error), "traceback": lines}) from None
        if found.refusal is not None:
            raise CellNotRun(found.refusal.detail, found.refusal.hint)
        companion, holding, parcel = self._ready(command, found)
        kept = False
        try:
            holding = holding or self._hold(api, command, companion)
            order = self._order(command, line, cell, found)
            outcome = self._run(companion, holding, order, parcel)
            kept = True
            self._say(outcome, command, found)
        except Unreadable as problem:
            raise CellNotRun(
                f"`{problem.name}` can't be made in the process beside the GPU: {problem.why}.",
                "Make it in the cell itself, or say what is to be sent: `%%gpu 10GB -i data,model`.",
            ) from None
        except Lost as lost:
            raise CellLost(lost.detail, lost.hint) from None
        except KeyboardInterrupt:
            if kept:
                raise
            raise CellNotRun("Stopped; the cell did not run.") from None
        finally:
            if holding is None:
                companion.end()
            else:
                show(self._end(companion, holding, command.warm_s if kept else 0.0))
        return outcome

    def _ready(self, command: Command, found: reading.Reading) -> tuple[Companion, hold.Holding | None, Parcel]:
        """A companion, with its share if it is warm, and what it is to get."""
        warm: _Warm | None = None
        companion: Companion | None = None
        try:
            warm = self._take_warm(command)
            companion = self._start() if warm is None else warm.companion
            return companion, None if warm is None else warm.holding, self._pack(companion, command, found)
        except BaseException as error:
            if warm is not None:
                self._keep(warm)
            elif companion is not None:
                companion.end()
            if isinstance(error, KeyboardInterrupt):
                raise CellNotRun("Stopped; the cell did not run.") from None
            raise

    def _start(self) -> Companion:
        try:
            return Companion(self._shell.user_ns)
        except OSError as error:
            raise CellNotRun(
                f"No process can be started for the cell: {error.strerror}.",
                "What else runs on this machine may have to end first.",
            ) from None

    # -- before -----------------------------------------------------------------------------------

    def _pack(self, companion: Companion, command: Command, found: reading.Reading) -> Parcel:
        """What the cell reads, ready to be sent; what can't be sent is named."""
        namespace: Json = self._shell.user_ns
        if command.inputs is not None:
            missing = [name for name in command.inputs if name not in namespace]
            if missing:
                raise CellNotRun(f"There is no variable `{missing[0]}` to send.", "`%who` lists the notebook's.")
            names = list(command.inputs)
        else:
            names = sorted((found.reads | found.mentions) & set(namespace))
        parcel = companion.mirror.pack({n: namespace[n] for n in names}, follow=command.inputs is None)
        # what it sets itself, and what only looks like a name, it may do without
        spare = frozenset() if command.inputs is not None else found.binds | found.mentions
        left = {name: why for name, why in parcel.left.items() if name not in spare}
        if left:
            of = {name: "" if name in names else " (a function of the notebook uses it)" for name in left}
            said = "; ".join(f"`{name}`{of[name]}: {why}" for name, why in sorted(left.items()))
            raise CellNotRun(
                f"The cell did not run, since what it reads can't be sent to a process beside a GPU. {said}.",
                "Make it in the cell itself, or say what is to be sent: `%%gpu 10GB -i data,model`.",
            )
        return parcel

    def _hold(self, api: Api, command: Command, companion: Companion) -> hold.Holding:
        warn()
        progress = Progress()
        wanted = hold.body(command, pid=companion.pid, purpose="a cell")
        wanted["duration_s"] = CELL_LEASE_S
        session = hold.request(api, wanted)
        try:
            session = hold.wait(
                api,
                session,
                lambda now: progress.say(f"{words.title(now)}: {words.state(now)}.", "The cell runs then."),
            )
            holding = hold.Holding(api, session, in_place=False)
        except BaseException:
            hold.give_up(api, session["id"])
            raise
        settings = {name: getattr(self._shell, name) for name in ("colors", "xmode") if hasattr(self._shell, name)}
        try:
            companion.begin(holding.environment, settings, holding.guard_fd)
        except BaseException:
            holding.release()
            raise
        return holding

    def _order(self, command: Command, line: str, cell: str, found: reading.Reading) -> Order:
        count = self._shell.execution_count
        # the line of the magic stays, so that lines have the same numbers as in the notebook
        code = f"# %%gpu {line}".rstrip() + f"\n{cell}"
        name = self._shell.compile.cache(self._shell.transform_cell(code), count, code)
        deletes = found.deletes & set(self._shell.user_ns) - set(command.inputs or ())
        profiled = command.profile or self._profiler.every_cell
        outputs = None if command.outputs is None else list(command.outputs)
        return Order(code, name, count, sorted(deletes), outputs, profiled, command.warm_s > 0, self._sources())

    def _sources(self) -> dict[str, tuple[int, str]]:
        """The notebook's cells by the names of their code: a traceback shows lines of functions defined there."""
        counts: dict[str, int] = getattr(self._shell.compile, "_filename_map", {})
        return {name: (count, "".join(linecache.getlines(name))) for name, count in counts.items()}

    # -- the cell ---------------------------------------------------------------------------------

    def _run(self, companion: Companion, holding: hold.Holding, order: Order, parcel: Parcel) -> Outcome:
        relay, told = Relay(self._shell), profile.Told()
        seen = self._profiler.begin(holding.session["id"], told) if order.profile else None
        watch = _Watch(companion, holding)
        try:
            outcome = companion.run(order, parcel, relay)
            told.peaks = [allocators.Peak(*one) for one in outcome.peaks]
            return outcome
        finally:
            watch.done.set()
            if watch.over:
                show(render.problem(f"The GPU went back while the cell ran, so the cell was stopped. {watch.over}."))
            if seen is not None:
                self._profiler.end(seen)

    # -- after ------------------------------------------------------------------------------------

    def _say(self, outcome: Outcome, command: Command, found: reading.Reading) -> None:
        """What is to be known of a cell that has run."""
        if outcome.last is not None:
            self._shell.displayhook.update_user_ns(outcome.last)
        if outcome.left:
            view = render.View().add("line", "Not brought back to the notebook as it was there:")
            show(view.table(["Variable", "Why"], sorted(outcome.left.items())))
        namespace: Json = self._shell.user_ns
        missing = _missing_name(outcome.error or {})
        if missing in namespace:
            names = command.inputs if command.inputs is not None else found.reads & set(namespace)
            chosen = ",".join(sorted({*names, missing}))
            said = f"`{missing}` is in the notebook, but the cell's code does not show that it is read."
            show(render.note(said).add("hint", f"Send it: `%%gpu 10GB -i {chosen}`"))

    def _end(self, companion: Companion, holding: hold.Holding, warm_s: float) -> render.View:
        """Give the share back, now or after a while."""
        name, held = words.title(holding.session), words.duration(time.monotonic() - holding.held_since)
        if warm_s > 0:
            self._keep(_Warm(companion, holding, time.monotonic() + warm_s))
            return render.note(f"Ran on {name}; it is kept for {words.duration(warm_s)} more.")
        try:
            companion.end()
        finally:
            holding.release()
        return render.note(f"Ran on {name}, held for {held}.")

    def _keep(self, warm: _Warm) -> None:
        with self._lock:
            self._warm = warm
        self._look_after(warm)

    def _take_warm(self, command: Command) -> _Warm | None:
        with self._lock:
            warm, self._warm = self._warm, None
        if warm is None:
            return None
        try:
            session = warm.session()
        except BaseException:  # Stop too: nobody would give back what is taken and not kept
            self._keep(warm)
            raise
        enough = (session.get("memory_bytes") or 0) >= (command.memory_bytes or 0)
        same = command.flavor in (None, session.get("flavor")) and command.pool in (None, session.get("pool"))
        if session["state"] == "active" and enough and same and warm.companion.alive():
            return warm
        warm.end()
        return None

    def _look_after(self, warm: _Warm) -> None:
        """Come back in a while, and end what has been warm for long enough, or whose share is somebody else's now."""

        def look() -> None:
            if self._warm is warm and warm.is_over():
                self.cool(warm)
            elif self._warm is warm:
                self._look_after(warm)

        timer = threading.Timer(max(0.0, min(LOOK_S, warm.until - time.monotonic())), look)
        timer.daemon = True
        with self._lock:
            if self._warm is not warm:
                return
            before, self._timer = self._timer, timer
        if before is not None:
            # one that is kept again after a cell that was refused is not looked after twice
            before.cancel()
        timer.start()

    def cool(self, only: _Warm | None = None) -> None:
        """End the companion that is kept for the next cell, if there is one, or only if it is still this one."""
        with self._lock:
            if only is not None and self._warm is not only:
                return
            warm, self._warm = self._warm, None
        if warm is not None:
            warm.end()


class _Watch:
    """Stops a cell whose share is somebody else's now: its lease has ended, or an operator took it."""

    def __init__(self, companion: Companion, holding: hold.Holding) -> None:
        self._companion = companion
        self._holding = holding
        self.done = threading.Event()
        self.over = ""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        # again and again: who does not listen is ended
        pause_s = LOOK_S
        while not self.done.wait(pause_s):
            with contextlib.suppress(ApiError):
                session = self._holding.refresh()
                if session["state"] in ("ending", "ended"):
                    self.over = words.state(session).replace("`", "")
                    self._companion.stop()
                    pause_s = GRACE_S


@dataclass(frozen=True, eq=False)
class _Warm:
    """A companion between two cells."""

    companion: Companion
    holding: hold.Holding
    until: float

    def session(self) -> Json:
        try:
            return self.holding.refresh()
        except ApiError as error:
            # a server that restarts knows the session again soon
            return {"state": "ended" if error.status else "unknown"}

    def is_over(self) -> bool:
        done = time.monotonic() >= self.until or not self.companion.alive()
        return done or self.session()["state"] not in ("active", "unknown")

    def end(self) -> None:
        try:
            self.companion.end()
        finally:
            self.holding.release()


def _let_go(error: BaseException | None) -> None:
    """The notebook keeps the last error: not with it all that was packed, and objects that the person has deleted."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _missing_name(error: Json) -> str:
    """The name that a `NameError` is about."""
    parts = str(error.get("evalue")).split("'")
    return parts[1] if error.get("ename") == "NameError" and len(parts) > 2 else ""
