"""The small program beside the GPU: the kernel's parent, and the owner of the ports that clients see.

It starts the kernel first and everything else while the kernel boots, so that a kernel behind the agent is ready as
soon as one without. It needs the standard library and pyzmq, belongs to no server, and ends when its kernel does.

``python -I -S agent.py <record> <import path> -- <kernel command>``; the record is described in ``registry.py``.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]


def _spawn(command: list[str], changes: dict[str, str | None]) -> int:
    """Start the kernel as the leader of its own session, as Jupyter does, and give its pid.

    Only what is needed for that is imported before: the kernel must not wait for us. In ``changes`` of the environment
    None unsets a variable.
    """
    environment = {k: v for k, v in {**os.environ, **changes}.items() if v is not None}
    # ipykernel ends with the process that this names
    environment["JPY_PARENT_PID"] = str(os.getpid())
    # Python ignores these; a kernel must not inherit that
    restored = [s for s in (getattr(signal, n, None) for n in ("SIGPIPE", "SIGXFSZ")) if s is not None]
    try:
        return os.posix_spawnp(command[0], command, environment, setsid=True, setsigdef=restored)
    except NotImplementedError:
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            for number in restored:
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(command[0], command, environment)  # noqa: S606 - the kernel's own command
        finally:
            os._exit(127)


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is not loaded before the kernel runs
    except OSError:
        return "/"


def main(argv: list[str]) -> int:
    """Run a kernel and relay for it until it ends."""
    record_path, import_path, command = argv[1], argv[2], argv[argv.index("--") + 1 :]
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(caught, lambda _number, _frame: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Python writes each signal's number there, also for those that come before the loop runs
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    folder = _folder()
    try:
        kernel_pid = _spawn(command, {})
    except OSError as problem:
        sys.stderr.write(f"cannot start the kernel: {problem.strerror}: {command[0]}\n")
        return 127

    from contextlib import suppress
    from pathlib import Path

    # `site` is not loaded, which would cost a kernel's start: these hold us and pyzmq
    sys.path += import_path.split(os.pathsep)
    from swangpu.kernels.child import Child
    from swangpu.kernels.watchman import Watchman

    def spawn_again(changes: dict[str, str | None]) -> int:
        with suppress(OSError):
            os.chdir(folder)
        try:
            return _spawn(command, changes)
        finally:
            os.chdir("/")

    # so that no file system is kept busy by us
    os.chdir("/")
    path = Path(record_path)
    status = Watchman(path, Child(kernel_pid, spawn_again, path), wake_read).run()
    if os.WIFSIGNALED(status):
        # end as the kernel did, so that who waits for us sees it
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), number)
        return 128 + number
    return os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
