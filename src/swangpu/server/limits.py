"""What beside its lease ends a session: the idle limits that a site sets for servers and kernels. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..domain.sessions import EndCause, Session
from ..ports import KernelInfo

__all__ = ["other_ends"]


def other_ends(session: Session, kernels: Sequence[KernelInfo], server_limit_s: float) -> list[tuple[float, EndCause]]:
    """Times and causes, of those that are known to come if nothing happens.

    Parameters
    ----------
    kernels : sequence of KernelInfo
        All that are known; each with the limit of the server that it runs on.
    server_limit_s : float
        After which a server without kernels and activity ends; 0 where there is none.
    """
    if session.busy or session.idle_since is None:
        return []
    if not session.kernel_ids:
        return [(session.idle_since + server_limit_s, "server_idle_limit")] if server_limit_s > 0 else []
    limits = {k.kernel_id: k.idle_limit_s for k in kernels if k.kernel_id in session.kernel_ids}
    if len(limits) < len(session.kernel_ids):
        return []
    # The session stays as long as one of its kernels does.
    latest_s = max(float("inf") if limit is None else limit for limit in limits.values())
    return [] if latest_s == float("inf") else [(session.idle_since + latest_s, "kernel_idle_limit")]
