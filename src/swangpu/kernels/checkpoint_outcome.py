"""What becomes of a process that was to be suspended or resumed: data for a broker, with a sentence for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..kernel_side import words

__all__ = ["Held", "Kind", "Outcome", "outcome"]

#: ``suspended``: what was on the device is in host memory, and the device is free of it
#: ``resumed``: it is on a device again, and goes on
#: ``unchanged``: nothing was done; the process goes on with its device
#: ``undone``: something was begun and taken back; the process goes on with its device
#: ``still_suspended``: it could not be brought back, and what was saved is still in host memory
#: ``lost``: nobody knows what became of its GPU state; the kernel has to be restarted
Kind = Literal["suspended", "resumed", "unchanged", "undone", "still_suspended", "lost"]


@dataclass(frozen=True)
class Held:
    """Memory of a device that a process holds; ``memory_bytes`` is None where the driver does not tell."""

    pid: int
    device_uuid: str
    memory_bytes: int | None


@dataclass(frozen=True)
class Outcome:
    """How it ended. Nothing that can be expected to go wrong is an exception.

    Attributes
    ----------
    kind : Kind
        What a broker has to know.
    code : str
        Stable, lower-case: why.
    text, hint : str
        For the person: what happened, and what helps.
    params : mapping
        The values behind the sentence, so that a client can translate it.
    phase : str
        The phase in which it failed: ``lock``, ``checkpoint``, ``restore``, ``unlock``; empty where none was begun.
    said : str
        What the program said, in its own words, for a log.
    saved : tuple of Held
        What was saved; `Checkpointer.resume` wants it back.
    """

    kind: Kind
    code: str = "ok"
    text: str = ""
    hint: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    phase: str = ""
    said: str = ""
    saved: tuple[Held, ...] = ()
    took_s: float = 0.0

    @property
    def frees_device(self) -> bool:
        """Whether the process holds nothing of a device now, so that another can have it."""
        return self.kind in ("suspended", "still_suspended") or self.code == "nothing_there"

    @property
    def usable(self) -> bool:
        """Whether the process can go on computing on its device now."""
        return self.kind in ("resumed", "unchanged", "undone")


_RESTART = "Restart the kernel; save before what it still has, if it answers. What was only on the GPU is lost."
_SAVED = "Its variables are kept in host memory, and it can be tried again."

#: what is said of a phase that failed, by the program's reason
_WHY = {
    "time_is_up": "it took too long",
    "out_of_memory": "there was not enough memory",
    "no_permission": "the system does not permit it",
    "not_supported": "this process uses something that the driver does not support",
    "os_call_failed": "the driver could not do it, as when managed memory or memory of other processes is in use",
    "invalid_argument": "the driver does not accept it",
    "driver_too_old": "the driver is too old for this program",
    "illegal_state": "the process was not in the state for it",
    "no_cuda_there": "CUDA does not answer",
    "not_started": "the program could not be started",
    "killed": "the program was ended in the middle of it",
    "failed": "the program says no more than that it failed",
}

#: sentence and hint of each code; the phases' are made below
_TEXTS: dict[str, tuple[str, str]] = {
    "suspended": ("GPU state saved in host memory ({bytes}); the GPU is free.", ""),
    "already_suspended": ("GPU state was in host memory already; the GPU is free.", ""),
    "resumed": ("GPU state is back on the GPU.", ""),
    "already_running": ("GPU state was on the GPU already.", ""),
    "nothing_there": ("This kernel has nothing on a GPU.", ""),
    "several_processes": (
        "{count} processes of this kernel use a GPU, and they can't be suspended together.",
        "End the others, such as the workers of a data loader that use CUDA.",
    ),
    "busy": ("This kernel is being suspended or resumed already.", ""),
    "not_this_device": ("Its device was not tried in the suspend test, or is cut into MIG devices.", ""),
    "memory_not_known": (
        "The driver does not say how much GPU memory this kernel uses, so nobody knows whether host memory has room.",
        "",
    ),
    "no_room_cgroup": (
        "{bytes} of GPU memory do not fit into host memory: this kernel's memory limit leaves {free}.",
        "Delete what is not needed, or ask for a server with more memory.",
    ),
    "no_room_machine": ("{bytes} of GPU memory do not fit into host memory: the machine has {free} left.", ""),
    "no_room": ("It needs {bytes} of host memory, and {free} are left for paused sessions.", ""),
    "room_not_known": ("How much host memory this kernel may use is not known, so nothing is moved there.", ""),
    "no_room_device": (
        "The GPU has {free} free, and {bytes} are to come back. It was not tried, since a restore that runs out of "
        "memory can't be repeated.",
        _SAVED,
    ),
    "no_map": ("It can't come back on that device: {why}.", "It can come back on its own."),
    "no_program": ("The program that brings GPU state back was not found.", _SAVED),
    "not_answering": ("The driver does not say in which state this kernel's CUDA is: {why}.", ""),
    "failed_before": ("The driver says that CUDA in this kernel has failed.", _RESTART),
    "ended": ("The kernel's process has ended.", _RESTART),
    "state_not_known": ("The driver does not say what became of this kernel's GPU state ({why}).", _RESTART),
    "state_failed": ("Its GPU state could not be saved or brought back, and is lost ({why}).", _RESTART),
    "still_locked": ("CUDA in this kernel stays blocked: it could not be unlocked ({why}).", _RESTART),
    "lock_failed": ("The kernel was not suspended: CUDA in it could not be stopped ({why}).", ""),
    "checkpoint_failed": (
        "The kernel was not suspended: its GPU state could not be saved ({why}). The driver says that CUDA goes on, "
        "but does not promise it.",
        "If a cell with GPU work fails now, restart the kernel.",
    ),
    "restore_failed": (
        "Its GPU state could not be brought back ({why}).",
        f"{_SAVED} Persistence mode of the driver must be on (nvidia-smi -pm 1).",
    ),
    "map_refused": (
        "The driver did not let it come back on another device ({why}).",
        "Its variables are kept in host memory; it can come back on its own device.",
    ),
}


def outcome(
    kind: Kind,
    code: str,
    *,
    phase: str = "",
    why: str = "",
    said: str = "",
    saved: tuple[Held, ...] = (),
    took_s: float = 0.0,
    **params: object,
) -> Outcome:
    """An outcome with its sentence.

    Parameters
    ----------
    why : str, optional
        The program's reason, as `checkpoint_program.failure` calls it, or words.
    **params
        The values of the sentence; those that end in ``bytes`` or are named ``free`` are written with a unit.
    """
    text, hint = _TEXTS[code]
    shown = {
        name: words.memory(float(value)) if isinstance(value, int) and name in ("bytes", "free") else value
        for name, value in params.items()
    }
    reason = _WHY.get(why or "failed", why)
    return Outcome(
        kind,
        code,
        text.format(why=reason, **shown),
        hint,
        {**params, **({"why": why} if why else {})},
        phase,
        words.clean(said, 200),
        saved,
        took_s,
    )
