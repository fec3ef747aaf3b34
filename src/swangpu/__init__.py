"""The GPUs of your whole site, from inside a Jupyter notebook.

::

    for offer in swangpu.offers(memory="10GB"):
        print(offer.title, offer.pool, offer.free)

    with swangpu.session(memory="10GB", duration="2h"):
        train()

    swangpu.Monitor()

Everything is loaded when it is used: importing swangpu costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .monitor import Monitor
    from .python_api import last_profile, offers, session

__all__ = [
    "Monitor",
    "__version__",
    "last_profile",
    "load_ipython_extension",
    "offers",
    "session",
    "unload_ipython_extension",
]


def load_ipython_extension(ip: Any) -> None:
    """``%load_ext swangpu``: make ``%gpu`` known in this kernel."""
    from .kernel_side.magics import load_ipython_extension as load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """``%unload_ext swangpu``."""
    from .kernel_side.magics import unload_ipython_extension as unload

    unload(ip)


def __getattr__(name: str) -> Any:
    if name in ("last_profile", "offers", "session"):
        from . import python_api

        return getattr(python_api, name)
    if name == "Monitor":
        from . import monitor

        return monitor.Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
