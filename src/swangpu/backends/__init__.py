"""One file per service that has GPUs.

Backends are found by the entry points of the group ``swangpu.backends``, so that a site adds its own service without a
change here; see ``docs/backends.md``. Nothing of a backend is imported before it is asked for, and when what it needs
is missing, the error says what to install.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import Misconfigured

__all__ = ["GROUP", "backend_names", "load_backend"]

GROUP = "swangpu.backends"

#: ours, also where the package is used without being installed
_BUILT_IN = {"local": "swangpu.backends.local:LocalBackend"}

#: what brings a missing module
_INSTALL = {
    "dask_gateway": "swangpu[dask]",
    "distributed": "swangpu[dask]",
    "kubernetes": "swangpu[kubernetes]",
    "pynvml": "nvidia-ml-py",
}


def _found() -> dict[str, EntryPoint]:
    built_in = {name: EntryPoint(name, value, GROUP) for name, value in _BUILT_IN.items()}
    return built_in | {point.name: point for point in entry_points(group=GROUP)}


def backend_names() -> tuple[str, ...]:
    """The names of all installed backends, sorted. Imports none of them."""
    return tuple(sorted(_found()))


def load_backend(name: str) -> Any:
    """The class (or factory) behind a name, imported now.

    Raises
    ------
    Misconfigured
        No backend has this name, or something that it needs is not installed; the hint says what to do.
    """
    points = _found()
    if name not in points:
        known = ", ".join(sorted(points))
        raise Misconfigured(
            f"There is no backend {name!r}.", hint=f"Installed: {known}.", code="unknown_backend", backend=name
        )
    module, _, attribute = points[name].value.partition(":")
    try:
        loaded: Any = import_module(module.strip())
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        package = _INSTALL.get(missing, missing)
        hint = f"pip install '{package}'" if package else "Install what it needs, or leave it out of the configuration."
        raise Misconfigured(
            f"The backend {name!r} needs {missing or 'something'} that is not installed.",
            hint=hint,
            code="backend_not_installed",
            backend=name,
        ) from error
    for part in attribute.split("[")[0].strip().split("."):
        loaded = getattr(loaded, part, None) if part else loaded
    if loaded is None:
        raise Misconfigured(
            f"The backend {name!r} is registered as {points[name].value!r}, which does not exist.",
            hint="Look at the entry points of the package that brings it.",
            code="unknown_backend",
            backend=name,
        )
    return loaded
