"""Which kernel somebody means."""

from __future__ import annotations

from ..ports import KernelHost, KernelInfo

__all__ = ["look_for"]


async def look_for(kernels: KernelHost, kernel_id: str | None, path: str | None) -> KernelInfo | None:
    """The kernel that somebody names, None where there is none.

    Parameters
    ----------
    kernels : KernelHost
    kernel_id : str or None
    path : str or None
        Its notebook's, where no id is given.
    """
    # one that was started a moment ago may be at another server, which has not said so yet
    for patient in (False, True):
        await kernels.refresh(patient=patient)
        wanted = kernels.find(path) if kernel_id is None and path is not None else kernel_id
        found = next((k for k in kernels.kernels() if k.kernel_id == wanted), None)
        if found is not None:
            return found
    return None
