"""``%gpu get`` and ``%gpu release``: how this kernel comes on a share and off it.

A kernel that has not used CUDA, and sees the device, is put on it by its environment alone. Otherwise the server
restarts it, and the person says first what becomes of the variables.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from . import carry, cuda, hold, render, words
from .api import Api, ApiError
from .grammar import Command, GrammarError
from .screen import Progress, warn

__all__ = ["Getter"]

Json = dict[str, Any]

#: between two attempts to restart a kernel in which a cell runs, in seconds
BUSY_PAUSE_S = 0.5


class Getter:
    """What this kernel asked for, and what it is on.

    Attributes
    ----------
    asked_id : str or None
        The session that this kernel asked for and is not on yet.
    released_id : str or None
        The session that it gave back last.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._environment = hold.Environment()
        self.asked_id: str | None = None
        self.released_id: str | None = None
        #: the session that it came on by its environment, and the one that it left so and may come back to
        self._in_place: str | None = None
        self._left: str | None = None

    # -- get --------------------------------------------------------------------------------------

    def get(self, api: Api, command: Command, mine: Json | None) -> render.View | None:
        """Get a GPU for this kernel, or go on with what it asked for before."""
        if mine is not None and mine.get("kernel_ids"):
            return render.note(f"This kernel is on {words.title(mine)} already.").extend(render.kernel(mine))
        if mine is None and not command.wants_something:
            raise GrammarError("How much memory does the GPU need?", "Write it like `%gpu get 10GB`.")
        if mine is not None and command.wants_something:
            raise ApiError(
                f"This kernel has asked already: {words.title(mine)}, {words.state(mine)}.",
                "`%gpu get` goes on with that, `%gpu release` gives it up.",
                code="asked_already",
            )
        if command.carry is not None:
            return self._restart(api, command, mine)
        used = cuda.why_touched()
        if used is not None:
            return self._choose(f"{used[0].upper()}{used[1:]}, so it has to restart to change GPUs.", command)
        progress = Progress()
        if mine is None:
            warn()
            mine = hold.request(api, hold.body(command))
            self.asked_id = str(mine["id"])
        if command.notify and mine["state"] == "queued":
            return render.note(
                f"{words.title(mine)}: {words.state(mine)}.",
                "You will be told when it is ready; then `%gpu get` puts this kernel on it.",
            )
        try:
            mine = hold.wait(api, mine, progress.queue)
        except KeyboardInterrupt:
            return render.note("You keep your place. `%gpu get` waits on, `%gpu release` gives it up.")
        except ApiError as error:
            if error.code == "session_ended":
                self.asked_id = None
            raise
        if not hold.here(mine):
            return self._choose("That GPU is on another machine, so the kernel has to restart there.", Command("get"))
        self._attach_in_place(api, mine, progress)
        return None

    @staticmethod
    def _kernel() -> str:
        kernel_id = hold.this_kernel()
        if kernel_id is None:
            raise ApiError("This Python is no kernel of a Jupyter server.", code="no_such_kernel")
        return kernel_id

    def _attach_in_place(self, api: Api, session: Json, progress: Progress) -> None:
        progress.say(f"{words.title(session)}: starting.")
        session = api.claim(session["id"])
        self._environment.apply(session.get("environment") or {})
        try:
            session = api.attach(session["id"], self._kernel(), in_place=True)
        except ApiError as error:
            self._environment.restore()
            self.asked_id = None
            hold.give_up(api, session["id"])
            if error.code == "no_such_kernel":
                error.hint = "Hold a GPU for a cell with `%%gpu`, or in a program with `swangpu.session()`."
            raise
        self.asked_id, self._in_place = None, session["id"]
        progress.say(
            f"This kernel is on {words.title(session)}. {words.ending(session) or words.state(session)}.",
            "No restart was needed; your variables are as they were.",
        )

    def _choose(self, why: str, command: Command) -> render.View:
        parts = ["%gpu get"]
        if command.memory_bytes is not None:
            parts.append(words.memory(command.memory_bytes).replace(" ", ""))
        elif command.flavor is not None:
            parts.append(command.flavor)
        if command.duration_s is not None:
            parts.append(f"--for {command.duration_s / 60:g}min")
        if command.pool is not None:
            parts.append(f"--on {command.pool}")
        again = " ".join(parts)
        view = render.variables(carry.preview(), why)
        return view.add("hint", f"Carry them: `{again} --carry` · start without variables: `{again} --drop`")

    def _restart(self, api: Api, command: Command, mine: Json | None) -> render.View:
        kernel_id, choice = self._kernel(), command.carry or "none"
        if mine is None:
            warn()
            mine = hold.request(api, hold.body(command))
            self.asked_id = str(mine["id"])
        kept = "with your variables" if choice == "all" else "without your variables"
        when = "its turn has come" if mine["state"] == "queued" else "this cell has ended"
        self._after_cell(lambda: self._move(api, mine, kernel_id, choice))
        return render.note(
            f"{words.title(mine)}: {words.state(mine)}.", f"The kernel restarts on it {kept} when {when}."
        )

    @staticmethod
    def _move(api: Api, session: Json, kernel_id: str, choice: str) -> None:
        """Wait for the turn, and then for a moment in which no cell runs: a kernel can be saved only then."""
        session = hold.wait(api, session, lambda now: None)
        while True:
            # the kernel says that it is idle a little after its cell has ended
            time.sleep(BUSY_PAUSE_S)
            try:
                api.attach(session["id"], kernel_id, carry=choice)
            except ApiError as error:
                if error.code != "kernel_busy":
                    raise
            else:
                return

    def _after_cell(self, work: Callable[[], object]) -> None:
        """Do something once this cell has ended: the server can only restart a kernel that is idle."""
        progress, events = Progress(), self._shell.events

        def run() -> None:
            try:
                work()
            except ApiError as error:
                progress.say(error.detail, error.hint)

        def start(*args: object) -> None:
            events.unregister("post_run_cell", start)
            threading.Thread(target=run, daemon=True).start()

        events.register("post_run_cell", start)

    # -- release ----------------------------------------------------------------------------------

    def release(self, api: Api, session: Json, command: Command) -> render.View:
        """Give a session back; what would be lost by that is said before."""
        ours = hold.this_kernel() in (session.get("kernel_ids") or []) and session["state"] in ("active", "paused")
        # a kernel that came in place and has not used the share can leave as it came: without a restart
        in_place = ours and self._in_place == session["id"] and not cuda.touched()
        if ours and not in_place and command.carry is None:
            report = carry.preview()
            if report["left"] or report.get("error"):
                view = render.variables(report, "The kernel restarts without the GPU.")
                return view.add("hint", "Release it nevertheless: `%gpu release --drop`")
        if in_place:
            self._left = api.leave(session["id"], self._kernel())["id"]
            self._environment.restore()
        after = api.release(session["id"])
        if session["id"] == self.asked_id:
            self.asked_id = None
        self.released_id = str(session["id"])
        restart = " The kernel then restarts, with its variables." if ours and not in_place else ""
        view = render.note(f"{words.title(session)} goes back.{restart}")
        until = after.get("undo_until")
        if until:
            view.add("hint", f"Take that back within {words.duration(until - time.time())}: `%gpu undo`")
        return view

    def undo(self, api: Api, session: Json) -> render.View:
        """Take a release back."""
        after = api.undo(session["id"])
        self.released_id = None
        if self._left == after["id"]:
            self._environment.apply(after.get("environment") or {})
            after = api.attach(after["id"], self._kernel(), in_place=True)
            self._left = None
        elif after["state"] in ("queued", "ready"):
            self.asked_id = str(after["id"])
        return render.note(f"{words.title(after)} is yours again. {words.state(after)}.")
