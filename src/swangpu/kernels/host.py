"""The kernels of one Jupyter server, as the runtime needs them."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ..domain.sessions import Carry
from ..errors import Conflict, NotFound, Unavailable
from ..ports import KernelInfo, Resumption, Saying, Suspension
from . import carried, registry, variables
from .activity import Activity
from .bindings import BINDINGS, Adoption, Binding
from .culling import idle_limit_s
from .door import ask
from .methods import Left, Subject
from .restarting import RESTART_S, restart
from .saying import say
from .suspend import Suspender

__all__ = ["JupyterKernelHost"]

log = logging.getLogger(__name__)

#: how often, and how many seconds apart, an agent is asked that replaces its kernel: the process before has to be gone
#: from its device first
SETTLE_LOOKS, SETTLE_EVERY_S = 300, 0.1


class JupyterKernelHost:
    """Implements `swangpu.ports.KernelHost` on a Jupyter server's managers.

    Parameters
    ----------
    kernel_manager : MappingKernelManager
    session_manager : SessionManager
        Jupyter's: the notebook of a kernel is in its notebook sessions.
    on_gone : callable
        Called with kernel id and session id when a kernel on a session has ended for good.
    on_activity : callable
        Called with session id and whether a cell runs, when that changes.
    on_left : callable
        Called with kernel id, session id, the names of variables that unexpectedly did not come along with a restart,
        and a sentence when none did.

    Attributes
    ----------
    suspender : Suspender
        How kernels are put aside; replaced by whoever can do more.
    """

    def __init__(
        self,
        kernel_manager: Any,
        session_manager: Any,
        *,
        on_gone: Callable[[str, str], None] = lambda kernel_id, session_id: None,
        on_activity: Callable[[str, bool], None] = lambda session_id, busy: None,
        on_left: Callable[[str, str, Sequence[str], str], None] = lambda kernel_id, session_id, names, why: None,
    ) -> None:
        self._manager = kernel_manager
        self._sessions = session_manager
        self.on_gone = on_gone
        self.on_activity = on_activity
        self.on_left = on_left
        self.suspender = Suspender()
        #: Jupyter's notebook session of each kernel: id, path, name, type
        self._notebooks: dict[str, dict[str, str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._adopting = asyncio.Lock()
        self._gated = BINDINGS.gated
        self._activity = Activity(
            BINDINGS.of_kernel,
            self._gated,
            seems_busy=self._seems_busy,
            ask=self._ask_busy,
            tell=lambda session_id, busy: self.on_activity(session_id, busy),
        )
        BINDINGS.gone = self._gone
        BINDINGS.notebook = lambda kernel_id: self._notebooks.get(kernel_id)

    # -- the port ---------------------------------------------------------------------------------

    async def attach(self, kernel_id: str, session_id: str, env: Mapping[str, str | None], carry: Carry) -> None:
        async with self._lock(kernel_id):
            self._kernel(kernel_id)
            await self.suspender.learn()
            known = BINDINGS.of_kernel.get(kernel_id)
            if known is not None and known.session_id != session_id:
                raise Conflict("This kernel is on another session.", hint="Release that first.", code="kernel_attached")
            # asked again after a crash, or by a second click: a restart would lose the variables for nothing
            if known != Binding(session_id, dict(env)):
                await self._restart(kernel_id, Binding(session_id, dict(env)), carry, session_id)
        self._activity.start()

    async def detach(self, kernel_id: str, session_id: str, carry: Carry, *, stop_cell: bool = False) -> None:
        async with self._lock(kernel_id):
            known = BINDINGS.of_kernel.get(kernel_id)
            if known is None or known.session_id != session_id:
                return
            if kernel_id not in self._manager:
                BINDINGS.of_kernel.pop(kernel_id, None)
                return
            await self._restart(kernel_id, None, carry, session_id, stop_cell=stop_cell)

    async def bind_in_place(self, kernel_id: str, session_id: str, env: Mapping[str, str | None]) -> None:
        self._kernel(kernel_id)
        await self.suspender.learn()
        BINDINGS.of_kernel[kernel_id] = Binding(session_id, dict(env))
        self._activity.start()

    async def unbind(self, kernel_id: str, session_id: str) -> None:
        known = BINDINGS.of_kernel.get(kernel_id)
        if known is not None and known.session_id == session_id:
            BINDINGS.of_kernel.pop(kernel_id, None)

    async def gate(self, kernel_id: str, closed: bool, message: str = "") -> None:
        subject = self._subject(kernel_id)
        if subject is None:
            raise _no_gate()
        request = {"do": "close", "message": message} if closed else {"do": "open"}
        await asyncio.to_thread(ask, subject.socket, request)
        (self._gated.add if closed else self._gated.discard)(kernel_id)

    async def say(self, kernel_id: str, saying: Saying) -> None:
        subject = self._subject(kernel_id)
        if subject is not None:
            await say(subject.socket, saying, magics=variables.is_python(subject.kernel))

    async def suspend(
        self, kernel_id: str, methods: Sequence[str], budget_bytes: int | None = None, stays_bytes: int = 0
    ) -> Suspension:
        async with self._lock(kernel_id):
            subject = self._subject(kernel_id)
            if subject is None:
                raise _no_gate()
            found = await self.suspender.suspend(subject, methods, budget_bytes, stays_bytes)
            self._gated.add(kernel_id)
            return found

    async def resume(self, kernel_id: str, env: Mapping[str, str | None]) -> Resumption:
        async with self._lock(kernel_id):
            self._rebind(kernel_id, env)
            subject = self._subject(kernel_id)
            if subject is None:
                return Resumption()
            known = BINDINGS.of_kernel.get(kernel_id)
            session_id = known.session_id if known is not None else ""

            def tell(left: Left) -> None:
                self.on_left(kernel_id, session_id, left.names, left.where)

            done = await self.suspender.resume(subject, tell)
            self._gated.discard(kernel_id)
            # it is told with the answer: only what changes from here on is news
            self._activity.told(kernel_id, session_id, done.busy)
            return done

    async def adopt(self) -> int:
        """Take over the kernels that outlived an earlier server; how many there were.

        Those of a server that is alive are its own. A record whose processes are gone, or are others by now, goes.
        """
        runtime_dir = BINDINGS.runtime_dir
        if runtime_dir is None or not (runtime_dir / "agents").is_dir():
            return 0
        # One at a time, here and among the user's servers: who takes over a kernel that another has just taken over
        # would start a second one.
        async with self._adopting:
            with (runtime_dir / "agents" / ".adopting").open("w") as lock:
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
                return await self._adopt_all(runtime_dir)

    async def _adopt_all(self, runtime_dir: Path) -> int:
        adopted = 0
        for path, record in list(registry.records(runtime_dir)):
            if record is None or record.get("host") != registry.claim() or path.stem in self._manager:
                continue
            if not registry.alive(record):
                registry.forget(path)
                continue
            if registry.process_start(int(record.get("server_pid") or 0)) == record.get("server_start"):
                continue
            try:
                await self._adopt(path, record)
                adopted += 1
            except Exception:
                log.exception("The kernel %s of an earlier server could not be taken over", path.stem)
                BINDINGS.adoptions.pop(path.stem, None)
                BINDINGS.of_kernel.pop(path.stem, None)
        known = {path.stem for path, _ in registry.records(runtime_dir)}
        await asyncio.to_thread(self.suspender.tidy, known.union(self._manager.list_kernel_ids()))
        if adopted:
            await self.suspender.learn()
            self._activity.start()
        return adopted

    async def _adopt(self, path: Path, record: registry.Record) -> None:
        kernel_id = path.stem
        state = await _settled(Path(record["socket"]))
        # what the agent has changed of it meanwhile
        record = registry.read(path) or record
        record.update(server_pid=os.getpid(), server_start=registry.process_start(os.getpid()))
        registry.write(path, record)
        BINDINGS.of_kernel[kernel_id] = Binding(str(record["session_id"]), dict(record["env"]))
        BINDINGS.adoptions[kernel_id] = Adoption(record, path)
        notebook = record.get("notebook") or {}
        folder = str(PurePosixPath(notebook.get("path") or "").parent).strip(".")
        # folder and environment are for its next restart, which must be as every other
        await self._manager.start_kernel(
            kernel_id=kernel_id, kernel_name=record["kernel_name"], path=folder, env=self._environment(notebook)
        )
        self._manager.get_kernel(kernel_id).execution_state = "busy" if state.get("busy") else "idle"
        if state.get("closed"):
            self._gated.add(kernel_id)
        if carried.kept_of(state.get("saved") or []) is not None:
            BINDINGS.carried[kernel_id] = state["saved"]
        if notebook.get("path"):
            # The same id: an open Lab asks for its notebook session by it, and then goes on as if nothing had been.
            await self._sessions.save_session(
                notebook.get("id") or uuid.uuid4().hex,
                path=notebook["path"],
                name=notebook.get("name"),
                type=notebook.get("type") or "notebook",
                kernel_id=kernel_id,
            )
            self._notebooks[kernel_id] = dict(notebook)
        log.info("Kernel %s of an earlier server goes on", kernel_id)

    def _environment(self, notebook: Mapping[str, str]) -> dict[str, str]:
        """What Jupyter would start a notebook's kernel with."""
        if notebook.get("path") and hasattr(self._sessions, "get_kernel_env"):
            return dict(self._sessions.get_kernel_env(notebook["path"], notebook.get("name") or None))
        return dict(os.environ)

    async def preview(self, kernel_id: str) -> Mapping[str, Any]:
        return {"kernel_id": kernel_id, **await variables.preview(self._kernel(kernel_id))}

    def kernels(self) -> Sequence[KernelInfo]:
        out = []
        for kernel_id in self._manager.list_kernel_ids():
            kernel = self._manager.get_kernel(kernel_id)
            binding = BINDINGS.of_kernel.get(kernel_id)
            env = binding.env if binding is not None else {}
            out.append(
                KernelInfo(
                    kernel_id=kernel_id,
                    session_id=binding.session_id if binding else None,
                    execution_state=getattr(kernel, "execution_state", "") or "idle",
                    path=self._notebooks.get(kernel_id, {}).get("path"),
                    kernel_name=str(kernel.kernel_name),
                    agent_pid=getattr(kernel.provisioner, "pid", None) if self._record_path(kernel_id) else None,
                    pid=getattr(kernel.provisioner, "pid", None),
                    gated=kernel_id in self._gated,
                    idle_limit_s=idle_limit_s(self._manager, kernel_id),
                    # without an agent there is no gate
                    pause_methods=self.suspender.methods_of(kernel, env) if self._record_path(kernel_id) else (),
                )
            )
        return out

    def find(self, path: str) -> str | None:
        wanted = path.strip("/")
        for kernel_id, known in self._notebooks.items():
            if known.get("path") == wanted and kernel_id in self._manager:
                return kernel_id
        return None

    async def refresh(self, *, patient: bool = False) -> None:
        """Read the notebooks' paths from Jupyter's notebook sessions."""
        listed: Awaitable[list[dict[str, Any]]] = self._sessions.list_sessions()
        self._notebooks = {
            s["kernel"]["id"]: {
                "id": str(s["id"]),
                "path": str(s["path"]).strip("/"),
                "name": str(s.get("name") or ""),
                "type": str(s.get("type") or "notebook"),
            }
            for s in await listed
            if s.get("kernel")
        }

    async def close(self) -> None:
        await self._activity.close()
        await self.suspender.close()
        # Jupyter fails to end its kernels, and then itself, while one of them is being restarted, by whomever.
        kernels = [self._manager.get_kernel(kernel_id) for kernel_id in self._manager.list_kernel_ids()]
        if kernels:
            await asyncio.wait([asyncio.wrap_future(kernel.ready) for kernel in kernels], timeout=RESTART_S)

    # -- inside -----------------------------------------------------------------------------------

    def _lock(self, kernel_id: str) -> asyncio.Lock:
        return self._locks.setdefault(kernel_id, asyncio.Lock())

    def _kernel(self, kernel_id: str) -> Any:
        if kernel_id not in self._manager:
            raise NotFound("There is no such kernel.", hint="Start the notebook's kernel first.", code="no_such_kernel")
        return self._manager.get_kernel(kernel_id)

    async def _restart(
        self, kernel_id: str, binding: Binding | None, carry: Carry, session_id: str, *, stop_cell: bool = False
    ) -> None:
        interrupt = partial(self._manager.interrupt_kernel, kernel_id) if stop_cell else None
        tell = partial(self.on_left, kernel_id, session_id)
        self._kernel(kernel_id)
        await restart(self._manager, kernel_id, binding, carry, tell, interrupt)

    def _rebind(self, kernel_id: str, env: Mapping[str, str | None]) -> None:
        """The next restart, and the next server, are to find the kernel on the shares that it has now."""
        known, path, record = BINDINGS.of_kernel.get(kernel_id), self._record_path(kernel_id), self._record(kernel_id)
        if known is None or not env or dict(known.env) == dict(env):
            return
        BINDINGS.of_kernel[kernel_id] = Binding(known.session_id, dict(env))
        if path is not None and record is not None:
            registry.write(path, {**record, "env": dict(env)})

    def _subject(self, kernel_id: str) -> Subject | None:
        """A kernel as it is put aside, None for one without a gate."""
        kernel, record, binding = self._kernel(kernel_id), self._record(kernel_id), BINDINGS.of_kernel.get(kernel_id)
        if record is None:
            return None
        env = binding.env if binding is not None else {}
        return Subject(kernel, Path(record["socket"]), int(record.get("kernel_pid") or 0), env, kernel_id)

    def _record_path(self, kernel_id: str) -> Path | None:
        return getattr(self._manager.get_kernel(kernel_id).provisioner, "record_path", None)

    def _record(self, kernel_id: str) -> registry.Record | None:
        path = self._record_path(kernel_id)
        return registry.read(path) if path is not None else None

    def _gone(self, kernel_id: str) -> None:
        binding = BINDINGS.of_kernel.pop(kernel_id, None)
        self._activity.forget(kernel_id)
        self._gated.discard(kernel_id)
        BINDINGS.carried.pop(kernel_id, None)
        if binding is not None:
            self.on_gone(kernel_id, binding.session_id)

    def _seems_busy(self, kernel_id: str) -> bool | None:
        if kernel_id not in self._manager:
            return None
        return bool(getattr(self._manager.get_kernel(kernel_id), "execution_state", "") == "busy")

    async def _ask_busy(self, kernel_id: str) -> bool | None:
        """Whether a cell of a gated kernel runs or waits, as its agent knows best."""
        record = self._record(kernel_id) if kernel_id in self._manager else None
        if record is None:
            return None
        try:
            state = await asyncio.to_thread(ask, Path(record["socket"]), {"do": "status"})
        except Unavailable:
            return None
        return bool(state.get("busy"))


async def _settled(socket: Path) -> dict[str, Any]:
    """An agent's state, once it is not in the middle of putting another process in its kernel's place."""
    for _ in range(SETTLE_LOOKS):
        state = await asyncio.to_thread(ask, socket, {"do": "status"})
        if not state.get("replacing"):
            break
        await asyncio.sleep(SETTLE_EVERY_S)
    return state


def _no_gate() -> Conflict:
    return Conflict("This kernel cannot be paused.", hint="Release its GPU instead.", code="cannot_be_paused")
