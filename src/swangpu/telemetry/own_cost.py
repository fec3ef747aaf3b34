"""What reading the driver costs this process: the processor time of the threads that do it, as Linux counts it."""

from __future__ import annotations

import threading
from pathlib import Path

__all__ = ["ThreadTime"]

#: how the sampler and its caller name their threads
NAMES = ("swangpu-sampler", "swangpu-lookout", "swangpu-probe")


class ThreadTime:
    """Adds up the processor time of threads by their name, those included that have ended meanwhile.

    Parameters
    ----------
    names : tuple of str
    tasks : Path
        Where the system keeps a folder for each thread.
    """

    def __init__(self, names: tuple[str, ...] = NAMES, tasks: Path = Path("/proc/self/task")) -> None:
        self._names = names
        self._tasks = tasks
        self._ended_ns = 0
        #: by thread id, what it had used when it was last seen
        self._seen_ns: dict[int, int] = {}

    def seconds(self) -> float | None:
        """So far; None where no such thread was seen, or the system does not tell."""
        for thread in threading.enumerate():
            if thread.name in self._names and thread.native_id is not None:
                self._add(thread.native_id)
        if not self._seen_ns:
            return None
        return (self._ended_ns + sum(self._seen_ns.values())) / 1e9

    def _add(self, thread_id: int) -> None:
        try:
            used_ns = int((self._tasks / str(thread_id) / "schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return  # it has just ended, or this is another system
        before_ns = self._seen_ns.get(thread_id, 0)
        if used_ns < before_ns:  # a new thread under the id of one that has ended
            self._ended_ns += before_ns
        self._seen_ns[thread_id] = used_ns
