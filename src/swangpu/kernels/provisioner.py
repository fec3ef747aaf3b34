"""The provisioner: the standard one, until a kernel is attached to a session; then the agent is its parent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from . import registry
from .bindings import BINDINGS, Binding
from .carried import discard, kept_of
from .desk import make_private, socket_folder
from .freeports import free_port
from .gate import WAITING

__all__ = ["PROVISIONER_NAME", "SwanGpuProvisioner", "make_default"]

PROVISIONER_NAME = "swangpu-provisioner"

#: the folder that makes ``%gpu`` importable in a kernel whose Python has nothing of ours
SITE = Path(__file__).resolve().parent.parent / "kernel_side" / "_site"
AGENT = Path(__file__).resolve().parent / "agent.py"

log = logging.getLogger(__name__)

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class AdoptedProcess:
    """Stands where a child process would: a living agent that another server has started.

    Parameters
    ----------
    record : dict
        Of a living agent; pid and start time are compared at each look, so a reused pid is never signalled.
    """

    def __init__(self, record: registry.Record) -> None:
        self._record = record
        self.pid = int(record["agent_pid"])
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None

    def poll(self) -> int | None:
        if self.returncode is None and registry.process_start(self.pid) != self._record["agent_start"]:
            self.returncode = 0
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        return self.poll() or 0


class SwanGpuProvisioner(LocalProvisioner):
    """A `LocalProvisioner` that starts a kernel behind the agent, with its shares' environment, when it has any."""

    #: of the running agent, None for a plain kernel
    record_path: Path | None = None
    #: it was ended by somebody, and has not died by itself
    _asked_to_end = False

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """The standard preparation, then ours. Called again at a restart, which keeps the shares."""
        if self.kernel_id in BINDINGS.adoptions:
            return self._prepare_adoption(kwargs)
        self._forget_carried()
        prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        env = dict(prepared.get("env") or os.environ)
        kernel_id = str(self.kernel_id or "")
        env.update(BINDINGS.kernel_env(kernel_id))
        env["SWANGPU_KERNEL_ID"] = kernel_id
        command = list(prepared.get("cmd") or [])
        python = self._runs_ipykernel(command)
        if python:
            env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH", ""), str(SITE)) if p)
            # `extra_extensions` is for this: what the user's own configuration loads stays as it is.
            command.append("--IPKernelApp.extra_extensions=swangpu_kernel")
        binding = BINDINGS.of_kernel.get(kernel_id)
        self.record_path = None
        if binding is not None:
            for name, value in binding.env.items():
                if value is None:
                    env.pop(name, None)
                else:
                    env[name] = value
            if kernel_id in BINDINGS.carried:
                env["CUDA_VISIBLE_DEVICES"] = ""
            if BINDINGS.runtime_dir is not None:
                command = self._behind_agent(command, binding, BINDINGS.runtime_dir, python=python)
        prepared["env"] = env
        prepared["cmd"] = command
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Launch, or go on with what an earlier server has launched."""
        adoption = BINDINGS.adoptions.pop(str(self.kernel_id or ""), None)
        if adoption is None:
            return await super().launch_kernel(cmd, **kwargs)
        adopted: Any = AdoptedProcess(adoption.record)
        self.process = adopted
        self.pid = int(adoption.record["agent_pid"])
        self.pgid = None
        self.record_path = adoption.path
        return self.connection_info

    async def send_signal(self, signum: int) -> None:
        """To the agent, and not to its group: the agent decides whether the kernel gets it."""
        if self.record_path is not None and self.process is not None:
            self.process.send_signal(signum)
            return
        await super().send_signal(signum)

    async def shutdown_requested(self, restart: bool = False) -> None:
        """The kernel is told to end."""
        self._asked_to_end = self.process is not None and self.process.poll() is None
        await super().shutdown_requested(restart=restart)

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel; its agent then ends by itself, and is killed when it does not."""
        self._asked_to_end |= self.process is not None and self.process.poll() is None
        record = registry.read(self.record_path) if self.record_path is not None else None
        if record is not None and self.process is not None:
            pid = record.get("kernel_pid")
            if isinstance(pid, int) and registry.process_start(pid) == record.get("kernel_start"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            for _ in range(50):
                if self.process.poll() is not None:
                    return
                await asyncio.sleep(0.02)
        await super().kill(restart=restart)

    async def cleanup(self, restart: bool = False) -> None:
        """The kernel has ended; unless it comes back its share may go."""
        await super().cleanup(restart=restart)
        if self.record_path is not None and self.process is None:
            registry.forget(self.record_path)
        if not restart:
            self._forget_carried()
            BINDINGS.gone(str(self.kernel_id or ""))

    def _forget_carried(self) -> None:
        """Who ends or restarts a kernel that is put aside ends its variables; one that has died comes back to them."""
        asked, self._asked_to_end = self._asked_to_end, False
        kept = kept_of(BINDINGS.carried.pop(str(self.kernel_id or ""), [])) if asked else None
        if kept is not None:
            discard(kept.path)

    def _prepare_adoption(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Give the kernel manager the ports and the key of the living agent."""
        manager: Any = self.parent
        outer = BINDINGS.adoptions[str(self.kernel_id)].record["outer"]
        manager.transport, manager.ip = outer["transport"], outer["ip"]
        manager.session.key = outer["key"].encode()
        for channel in CHANNELS:
            setattr(manager, f"{channel}_port", outer[f"{channel}_port"])
        for name in ("curve_publickey", "curve_secretkey"):
            if name in outer:
                setattr(manager, name, outer[name].encode())
        # Jupyter Server sets this a moment after it lists the kernel, and whoever asks in between gets an error.
        if manager.has_trait("last_activity"):
            manager.last_activity = datetime.now(timezone.utc)
        # its clients know these ports: a restart keeps them
        self.ports_cached = True
        manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        return {**kwargs, "cmd": ["adopted"]}

    def _behind_agent(self, command: list[str], binding: Binding, runtime_dir: Path, *, python: bool) -> list[str]:
        """The command that starts the agent, which starts the kernel on ports of its own."""
        manager: Any = self.parent
        kernel_id = str(self.kernel_id or "")
        outer = {
            "transport": manager.transport,
            "ip": manager.ip,
            "key": manager.session.key.decode(),
            "signature_scheme": manager.session.signature_scheme,
            **{f"{c}_port": getattr(manager, f"{c}_port") for c in CHANNELS},
        }
        for name in ("curve_publickey", "curve_secretkey"):
            if (value := getattr(manager, name, None)) is not None:
                outer[name] = value.decode() if isinstance(value, bytes) else str(value)
        door = f"{kernel_id}.sock"
        # another name at each start: what was there before may end late, and takes its files with it
        channels = f"{kernel_id[:12]}.{secrets.token_hex(4)}"
        try:
            sockets = socket_folder(runtime_dir, max(len(door), len(channels) + 2))
            make_private(sockets)
        except OSError as problem:
            log.warning("Kernel %s runs without its agent: %s", kernel_id, problem)
            return command
        inner = {**outer, **_inner_addresses(sockets / channels if python else None)}
        # The same name as without us: people's code finds its kernel's id in it.
        inner_file = runtime_dir / "agents" / "inner" / f"kernel-{kernel_id}.json"
        kernel = [part.replace(os.path.realpath(manager.connection_file), str(inner_file)) for part in command]
        if kernel == command:
            # It finds its ports in a way that we do not know: better on its shares without an agent than not at all.
            return command
        inner_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        inner_file.touch(mode=0o600)
        inner_file.write_text(json.dumps({**inner, "kernel_name": manager.kernel_name}))
        path = registry.path_of(runtime_dir, kernel_id)
        aside = BINDINGS.carried.get(kernel_id)
        waits = aside is not None or kernel_id in BINDINGS.gated
        registry.write(
            path,
            {
                "version": registry.VERSION,
                "host": registry.claim(),
                "kernel_id": kernel_id,
                "kernel_name": manager.kernel_name,
                "connection_file": manager.connection_file,
                "outer": outer,
                "inner": inner,
                "inner_file": str(inner_file),
                "socket": str(sockets / door),
                "session_id": binding.session_id,
                "env": dict(binding.env),
                "notebook": dict(BINDINGS.notebook(kernel_id) or {}),
                # restarted while it is paused: it has nothing on any device, and is put on one before a cell runs
                "closed": WAITING if waits else "",
                "aside": "carry" if aside is not None else "offload" if waits and python else "",
                "saved": aside or [],
                "server_pid": os.getpid(),
                "server_start": registry.process_start(os.getpid()),
            },
        )
        self.record_path = path
        return [sys.executable, "-I", "-S", str(AGENT), str(path), os.pathsep.join(_import_path()), "--", *kernel]

    def _runs_ipykernel(self, command: list[str]) -> bool:
        language = getattr(self.kernel_spec, "language", "")
        return str(language).lower() == "python" and any("ipykernel" in part for part in command)


def _inner_addresses(files: Path | None) -> dict[str, Any]:
    """Where a kernel behind its agent listens: at socket files, which nobody else can open and which are faster, or at
    ports, since other kernels may know no files."""
    if files is not None:
        return {"transport": "ipc", "ip": str(files), **{f"{c}_port": n for n, c in enumerate(CHANNELS, 1)}}
    return {"transport": "tcp", "ip": "127.0.0.1", **{f"{c}_port": free_port("127.0.0.1") for c in CHANNELS}}


def _import_path() -> list[str]:
    """Where the agent, which runs without ``site``, finds us and pyzmq."""
    import zmq

    return [str(AGENT.parents[2]), str(Path(zmq.__file__).resolve().parents[1])]


def make_default() -> tuple[str, str]:
    """Make ours the default provisioner, unless the site has chosen another.

    Returns
    -------
    (str, str)
        A code for ``swangpu doctor`` (``ours`` or ``site``) and the name of the default.
    """
    chosen = os.environ.get(KernelProvisionerFactory.default_provisioner_name_env)
    if chosen and chosen != PROVISIONER_NAME:
        return "site", chosen
    factory = KernelProvisionerFactory.instance()
    if factory.default_provisioner_name not in ("local-provisioner", PROVISIONER_NAME):
        return "site", factory.default_provisioner_name
    factory.default_provisioner_name = PROVISIONER_NAME
    return "ours", PROVISIONER_NAME
