"""``%gpu`` and ``%%gpu``: the same three verbs as the panel, Get, Extend and Release."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class

from . import cells, complete, getting, hold, profile, render, stack, words
from .api import Api, ApiError, find
from .grammar import Command, GrammarError, parse, parse_cell
from .screen import show

__all__ = ["GpuMagics", "load_ipython_extension", "unload_ipython_extension"]

Json = dict[str, Any]

EXTEND_S = 3600.0
_LIVE = ("queued", "ready", "active", "paused")


@magics_class
class GpuMagics(Magics):
    """One for each kernel; remembers what this kernel asked for and what it is on."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.getter = getting.Getter(shell)
        self.profiler = profile.Profiler(shell)
        self.cells = cells.Cells(shell, self.profiler)
        self._verbs: dict[str, Callable[[Api, Command], render.View | None]] = {
            "": self._look,
            "get": self._get,
            "mine": self._mine,
            "extend": self._extend,
            "release": self._release,
            "undo": self._undo,
            "why": self._why,
            "watch": self._watch,
            "profile": self._profile,
            "cluster get": self._cluster,
        }

    @line_cell_magic
    def gpu(self, line: str, cell: str | None = None) -> None:
        """GPUs from this notebook: ``%gpu help``."""
        __tracebackhide__ = True  # what a cell raises is about the cell
        if cell is not None:
            try:
                self._cell(line, cell)
            except (GrammarError, ApiError) as error:
                # what comes after it may need what it would have computed
                raise cells.CellNotRun(error.detail, error.hint) from None
            return
        try:
            command = parse(line)
            view = render.help_page() if command.verb == "help" else self._verbs[command.verb](find(), command)
        except (GrammarError, ApiError) as error:
            view = render.problem(error.detail, error.hint)
        except KeyboardInterrupt:
            view = render.note("Stopped.")
        if view is not None:
            show(view)

    # -- looking ----------------------------------------------------------------------------------

    def _look(self, api: Api, command: Command) -> render.View:
        mine = self._own(api.sessions())
        view = render.kernel(mine, _sample(api, mine) if mine else None)
        if mine is None:
            found = stack.warning(stack.look())
            if found is not None:
                view.add("line", found["text"])
        items, advice = _offers(api)
        return view.extend(render.offers(items)).extend(advice)

    def _mine(self, api: Api, command: Command) -> render.View:
        live = [one for one in api.sessions() if one["state"] != "ended"]
        return render.sessions(live, hold.this_kernel())

    def _why(self, api: Api, command: Command) -> render.View:
        session, view = self._chosen(api, command)
        return view if session is None else render.explanation(session, api.explain(session["id"]))

    def _watch(self, api: Api, command: Command) -> render.View | None:
        session, view = self._chosen(api, command)
        if session is None:
            return view
        from . import watch

        return watch.show(api, session)

    def _profile(self, api: Api, command: Command) -> render.View:
        if command.target is not None:
            self.profiler.turn(command.target == "on")
        if not self.profiler.every_cell:
            return render.note("Cells are not profiled.").add(
                "hint", "`%gpu profile on`, or `%%gpu --profile` for one."
            )
        view = render.note("Each cell of this kernel that runs on a GPU says what it did there.")
        if self._own(api.sessions()) is None:
            view.add("line", "Now it is on none.")
        return view.add("hint", "`%gpu profile off` ends it.")

    # -- changing ---------------------------------------------------------------------------------

    def _get(self, api: Api, command: Command) -> render.View | None:
        mine = self._own(api.sessions())
        if mine is None and command.wants_something and command.count == 1:
            with contextlib.suppress(ApiError):
                advice = _offers(api, memory_bytes=command.memory_bytes, flavor=command.flavor)[1]
                if advice.text:
                    show(advice)
        # what is kept warm for the next cell would be a second one
        self.cells.cool()
        return self.getter.get(api, command, mine)

    def _extend(self, api: Api, command: Command) -> render.View:
        session, view = self._chosen(api, command)
        if session is None:
            return view
        after = api.extend(session["id"], command.duration_s or EXTEND_S)
        return render.note(f"{words.title(after)}: {words.ending(after) or words.state(after)}.")

    def _release(self, api: Api, command: Command) -> render.View:
        session, view = self._chosen(api, command)
        return view if session is None else self.getter.release(api, session, command)

    def _undo(self, api: Api, command: Command) -> render.View:
        ending = [one for one in api.sessions() if one["state"] == "ending" and one.get("undo_until")]
        mine = [one for one in ending if one["id"] == self.getter.released_id] or ending
        if len(mine) != 1:
            return render.note("There is no release of this kernel to take back.")
        return self.getter.undo(api, mine[0])

    def _cluster(self, api: Api, command: Command) -> render.View:
        if not command.wants_something:
            raise GrammarError("How many GPUs, and how much memory?", "Write it like `%gpu cluster get 4x10GB`.")
        session = hold.request(api, hold.body(command, kind="cluster"))
        return render.note(f"{words.title(session)}: {words.state(session)}.")

    # -- the cell ---------------------------------------------------------------------------------

    def _cell(self, line: str, cell: str) -> None:
        __tracebackhide__ = True
        command = parse_cell(line)
        api = find()
        mine = self._own(api.sessions())
        if mine is not None and mine["state"] in ("active", "paused"):
            # it has a GPU already: holding a second one would only take it from others
            self._run(cell, mine["id"] if command.profile else None)
        elif command.wants_something:
            self.cells.run(api, command, line, cell)
        else:
            raise ApiError(
                "This kernel is on no GPU, so there is nothing to profile.",
                "Get one for this cell with `%%gpu 10GB --profile`, or to keep with `%gpu get 10GB`.",
                code="no_gpu",
            )

    def _run(self, cell: str, profiled: str | None) -> None:
        """Run a cell; what it did on the session ``profiled`` is said once, whoever asked for that."""
        __tracebackhide__ = True
        if profiled is None or self.profiler.now is not None:
            self._execute(cell)
            return
        seen = self.profiler.begin(profiled)
        try:
            self._execute(cell)
        finally:
            self.profiler.end(seen)

    def _execute(self, cell: str) -> None:
        """Run a cell as IPython does, except that what it raises is raised here: the notebook stops at it."""
        __tracebackhide__ = True
        shell: Any = self.shell
        source = shell.transform_cell(cell)
        name = shell.compile.cache(source, shell.execution_count)
        tree = ast.parse(source, name)
        last = [tree.body.pop()] if tree.body and isinstance(tree.body[-1], ast.Expr) else []
        exec(shell.compile(ast.Module(tree.body, []), name, "exec"), shell.user_ns)  # noqa: S102 - it is the cell
        if last:
            exec(shell.compile(ast.Interactive(last), name, "single"), shell.user_ns)  # noqa: S102

    # -- which session ----------------------------------------------------------------------------

    def _own(self, sessions: list[Json]) -> Json | None:
        """This kernel's session: what it is on, else what it asked for."""
        live = [one for one in sessions if one["state"] in _LIVE]
        kernel_id = hold.this_kernel()
        for one in live:
            if kernel_id is not None and kernel_id in (one.get("kernel_ids") or []):
                return one
        return next((one for one in live if one["id"] == self.getter.asked_id), None)

    def _chosen(self, api: Api, command: Command) -> tuple[Json | None, render.View]:
        """The session that a command is about: named, or this kernel's. It is never guessed."""
        live = [one for one in api.sessions() if one["state"] in _LIVE]
        if command.target is not None:
            named = [one for one in live if str(one["id"]).startswith(command.target)]
            if len(named) == 1:
                return named[0], render.View()
            said = "No session of yours" if not named else "More than one session"
            raise ApiError(f"{said} has an id that begins with {command.target[:40]!r}.", "`%gpu mine` lists them.")
        mine = self._own(live)
        if mine is not None:
            return mine, render.View()
        view = render.note("This kernel has no GPU and waits for none.").extend(render.sessions(live))
        if live:
            view.add("hint", f"To mean one of these, name it: `%gpu {command.verb} {live[0]['id'][:6]}`")
        return None, view


def _offers(api: Api, **wanted: Any) -> tuple[list[Json], render.View]:
    """What can be had, and whether less would do for this notebook."""
    answer = api.call("GET", "/offers", query={**wanted, "kernel_id": hold.this_kernel()})
    items, advice = answer.get("items"), _json(answer.get("advice"))
    view = render.View()
    if advice is not None:
        flavor = (advice.get("params") or {}).get("flavor")
        view.add("line", str(advice.get("text", ""))).add("hint", f"`%gpu get {flavor}`" if flavor else "")
    return (items if isinstance(items, list) else []), view


def _sample(api: Api, session: Json) -> Json | None:
    """The latest reading of a session's first share."""
    shares = session.get("shares") or []
    if not shares:
        return None
    try:
        devices = api.devices()
    except ApiError:
        return None
    for device in devices:
        if device.get("uuid") == shares[0].get("device_uuid"):
            for mig in device.get("mig_devices") or []:
                if mig.get("uuid") == shares[0].get("mig_uuid"):
                    return _json(mig.get("sample"))
            return _json(device.get("sample"))
    return None


def _json(value: Any) -> Json | None:
    return value if isinstance(value, dict) else None


def load_ipython_extension(ip: Any) -> None:
    """Make ``%gpu`` known, once, whichever way it comes: from the provisioner's folder or by ``%load_ext swangpu``."""
    if isinstance(ip.magics_manager.registry.get("GpuMagics"), Magics):
        return
    ip.register_magics(GpuMagics(ip))
    complete.register(ip)


def unload_ipython_extension(ip: Any) -> None:
    """Forget ``%gpu``."""
    ip.magics_manager.registry.pop("GpuMagics", None)
    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop("gpu", None)
