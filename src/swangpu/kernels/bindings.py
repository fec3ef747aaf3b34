"""Which kernel of this process is on which session: read by the provisioner, written by the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BINDINGS", "Adoption", "Binding", "Bindings"]


@dataclass(frozen=True)
class Binding:
    """A kernel's session, and the environment of its shares; None unsets a variable."""

    session_id: str
    env: Mapping[str, str | None]


@dataclass(frozen=True)
class Adoption:
    """A living agent of an earlier server, and its record."""

    record: dict[str, Any]
    path: Path


@dataclass
class Bindings:
    """By kernel id. One for each process: jupyter_client makes provisioners itself and hands them nothing.

    Attributes
    ----------
    kernel_env : callable
        What every kernel is told, from its id: where our API is, and how to find ``%gpu``.
    gone : callable
        Called with a kernel's id when it has ended for good.
    """

    of_kernel: dict[str, Binding] = field(default_factory=dict)
    kernel_env: Callable[[str], Mapping[str, str]] = lambda kernel_id: {}
    gone: Callable[[str], None] = lambda kernel_id: None
    #: where agents and their records go; None: kernels run without an agent
    runtime_dir: Path | None = None
    #: kernels that the next launch takes over instead of starting
    adoptions: dict[str, Adoption] = field(default_factory=dict)
    #: kernels that wait behind their gate: what was theirs may be somebody else's, so a restart does not open it
    gated: set[str] = field(default_factory=set)
    #: kernels whose variables are in a file, and what is remembered of it: see `carried.Kept`
    carried: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: the notebook session of a kernel (id, path, name, type), to be made again by the next server
    notebook: Callable[[str], Mapping[str, str] | None] = lambda kernel_id: None


BINDINGS = Bindings()
