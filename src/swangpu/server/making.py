"""Makes what a server needs once somebody asks or a kernel is on a share, from the traits.

Nothing of this is loaded before: a server without a GPU spends neither the time nor the memory.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from jupyter_core.paths import jupyter_data_dir
from jupyter_server.base.handlers import APIHandler

from .._version import __version__
from ..api.context import ApiContext
from ..api.handlers import handlers_for
from ..api.stream import notice_view
from ..backends.flavors import LocalPoolConfig
from ..broker.policy import Policy, Reclaim, ReclaimMode
from ..domain.sessions import EndCause, Session
from ..kernels.host import JupyterKernelHost
from ..runtime import StoredNotice
from . import internal, notice_events, rules
from .limits import other_ends
from .paths import carried_path
from .person import hub_user
from .prometheus import PrometheusSettings
from .service import Service, Settings
from .suspending import make_suspender

if TYPE_CHECKING:
    from .extension import SwanGpu

__all__ = ["make_handlers", "make_service", "reclaim_of"]


def make_service(extension: SwanGpu) -> Service:
    """The broker's part of this server, not yet started."""
    app: Any = extension.serverapp
    settings = _settings(extension)
    host = JupyterKernelHost(app.kernel_manager, app.session_manager)

    def told(stored: StoredNotice) -> None:
        """Somebody is told something: others may want to hear it too."""
        notice = notice_view(stored)
        if extension.hook is not None:
            extension.hook.put({**msgspec.to_builtins(notice), "user": stored.notify.user})
        notice_events.emit(app.event_logger, notice)

    service = Service(settings, host, told)
    carry_dir = Path(extension.carry_dir) if extension.carry_dir else settings.data_dir
    sampler = None if extension.simulated else service.sampler
    folder = carried_path(carry_dir, socket.gethostname())
    host.suspender = make_suspender(sampler, extension.checkpoint_program, folder)
    return service


def make_handlers(extension: SwanGpu, prefix: str) -> list[tuple[str, type]]:
    """Tornado's ``(pattern, class)`` pairs: the API, and what the servers of one user ask of each other.

    Parameters
    ----------
    extension : SwanGpu
    prefix : str
        The server's base URL, without the slash at its end.
    """

    async def place() -> Any:
        return await (await extension.made()).place()

    async def kernel_at(path: str) -> str | None:
        return await (await extension.made()).kernel_at(path)

    def ends(session: Session) -> list[tuple[float, EndCause]]:
        """The idle limits of this server and of its kernels, where they are set and would come."""
        service = extension.service
        kernels = service.kernels.kernels() if service is not None else ()
        return other_ends(session, kernels, getattr(extension.serverapp, "shutdown_no_activity_timeout", 0) or 0)

    def is_operator(handler: Any) -> bool:
        """Whom the site named: by the hub's name for who asks; without a hub all who are let in are one person."""
        named = getattr(handler.current_user, "username", None) if hub_user() else extension.owner
        return named in extension.operators

    context = ApiContext(
        place=place,
        owner=extension.person,
        is_operator=is_operator,
        token=extension.token,
        token_owner=extension.owner,
        other_ends=ends,
        warnings=lambda runtime: extension.service.warnings() if extension.service is not None else {},
        version=__version__,
        kernel_at=kernel_at,
    )
    return handlers_for(APIHandler, context, prefix) + internal.handlers_for(extension.token, extension.made, prefix)


def reclaim_of(extension: SwanGpu) -> Reclaim:
    """What happens to idle sessions."""
    return Reclaim(
        ReclaimMode(extension.reclaim),
        idle_pause_s=extension.idle_pause_s,
        idle_release_s=extension.idle_release_s,
        grace_s=extension.idle_grace_s,
        residency_s=min(Reclaim.residency_s, extension.idle_pause_s),
        methods=tuple(extension.pause_methods),
        resident=extension.resident,
    )


def _settings(extension: SwanGpu) -> Settings:
    app: Any = extension.serverapp
    return Settings(
        owner=extension.owner,
        url=str(app.connection_url),
        token=extension.token,
        data_dir=Path(extension.data_dir) if extension.data_dir else Path(jupyter_data_dir()) / "swangpu",
        runtime_dir=extension.local_dir(),
        simulated=extension.simulated,
        policy=Policy(
            default_lease_s=min(extension.default_lease_s, extension.max_lease_s),
            max_lease_s=extension.max_lease_s,
            claim_window_s=extension.claim_window_s,
            undo_s=extension.undo_s,
            warn_s=tuple(extension.warn_s),
            quota_notice_s=extension.quota_notice_s,
            paused_memory_bytes=extension.paused_memory_bytes or None,
            half_life_s=extension.half_life_s,
            groups=rules.groups_of("groups", extension.groups),
            user_quotas=rules.quotas_of("user_quotas", extension.user_quotas),
            reservations=rules.reservations_of("reservations", extension.reservations),
            reclaim=(("*", reclaim_of(extension)),),
        ),
        pool=LocalPoolConfig(
            devices=tuple(extension.devices),
            slices_per_model=extension.slices_per_model or ({"T4": 4} if extension.simulated else {}),
            slice_kind=extension.slice_kind,
            whole_too=extension.whole_too,
        ),
        metrics_user_names=extension.metrics_user_names,
        prometheus=_prometheus(extension),
    )


def _prometheus(extension: SwanGpu) -> PrometheusSettings | None:
    if not extension.prometheus_url:
        return None
    return PrometheusSettings(
        extension.prometheus_url, extension.prometheus_token_file or None, dict(extension.prometheus_match)
    )
