"""The extension: traits in, handlers out."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Callable, CFloat, Dict, Enum, Float, Int, List, TraitError, Unicode, Union, validate

from ..errors import Misconfigured, SwanGpuError, Unavailable
from ..kernels import registry
from ..kernels.provisioner import make_default
from ..tasks import within
from . import notice_events, notice_hook
from .files import RuntimeFile, neighbours_dir
from .kernels import tell_kernels
from .late import LateHandlers
from .paths import local_runtime_dir
from .person import owner_name

if TYPE_CHECKING:
    from .service import Service

__all__ = ["SwanGpu"]

PAUSE_METHODS = ("offload", "carry", "checkpoint")
MOST_WARNINGS = 8
#: the longest that ending may take, in seconds: a kernel that is being put aside is waited for
END_S = 100.0

log = logging.getLogger(__name__)


class SwanGpu(ExtensionApp):
    """GPUs of a site in a Jupyter server."""

    name = "swangpu"
    extension_url = "/lab"
    load_other_extensions = True

    simulated = Bool(False, help="Offer a simulated fleet; everything it shows says so.").tag(config=True)
    devices = List(Unicode(), help="UUIDs or indices of the devices to offer; all when empty.").tag(config=True)
    slices_per_model = Dict(
        value_trait=Int(),
        key_trait=Unicode(),
        help='Into how many slices a model is cut, such as {"T4": 4}; the key is part of the model\'s name.',
    ).tag(config=True)
    slice_kind = Enum(
        ["time_slice", "mps"], "time_slice", help="How a slice is kept to its part: by advice, or by CUDA's MPS."
    ).tag(config=True)
    whole_too = Bool(False, help="A device that is cut into slices can be had whole as well.").tag(config=True)
    default_lease_s = Float(7200.0, help="Length of a lease when none is named, in seconds.").tag(config=True)
    max_lease_s = Float(43200.0, help="Longest lease, extensions included, in seconds.").tag(config=True)
    claim_window_s = Float(600.0, help="How long shares are held for whose turn has come, in seconds.").tag(config=True)
    warn_s = List(
        # on the command line they are texts
        CFloat(),
        [600.0, 120.0],
        help="How long before the end of a lease its owner is warned, in seconds; none where the list is empty.",
    ).tag(config=True)
    undo_s = Float(10.0, help="How long a release can be undone, in seconds.").tag(config=True)
    reclaim = Enum(
        ["advise", "warn", "enforce"],
        "advise",
        help="What happens to a session on whose GPU nobody computes while somebody waits for it: only counted, told "
        "to its owner, or paused (where its variables can be kept) and else, after a warning, released.",
    ).tag(config=True)
    idle_pause_s = Float(3.0, help="Idle for so long it may be paused, in seconds.").tag(config=True)
    idle_release_s = Float(
        1800.0, help="Idle for so long its owner is warned, where it can't be paused, in seconds."
    ).tag(config=True)
    idle_grace_s = Float(300.0, help="From that warning until it is released, in seconds.").tag(config=True)
    pause_methods = List(
        Unicode(),
        ["offload", "checkpoint"],
        help="How what an idle kernel has on a GPU may be put aside, in the order in which it is tried: by the kernel "
        "itself (offload), by NVIDIA's cuda-checkpoint, or by carrying its variables to a file (carry).",
    ).tag(config=True)
    carry_dir = Unicode(
        "", help="Where the variables of paused kernels go with carry, on a disk; beside the ledger when empty."
    ).tag(config=True)
    resident = Bool(
        True,
        help="What a paused session has on its GPU stays there as long as that and what somebody else asked for fit "
        "there together, and is moved to host memory when the room is needed. Off: it is always moved.",
    ).tag(config=True)
    checkpoint_program = Unicode("", help="Where NVIDIA's cuda-checkpoint is; looked for in PATH when empty.").tag(
        config=True
    )
    paused_memory_bytes = Int(
        0,
        allow_none=True,
        help="How much host memory all paused sessions together may take for what they had on GPUs, in bytes. 0: no "
        "limit of swangpu's; a pause is refused then where the kernel's cgroup, or the machine, has no room for it.",
    ).tag(config=True)
    quota_notice_s = Float(
        900.0, help="How long what was lent is kept once it is wanted back, while it computes, in seconds."
    ).tag(config=True)
    half_life_s = Float(86400.0, help="GPU time held so long ago counts half in the queue, in seconds.").tag(
        config=True
    )
    groups = Dict(help="Groups with weight, members and quotas; see docs/configuration.md.").tag(config=True)
    user_quotas = Dict(help='What one person may hold, by flavor or pattern, such as {"a100-*": 2}.').tag(config=True)
    reservations: List[Any] = List(help="Shares set aside for a time; see docs/configuration.md.").tag(config=True)
    data_dir = Unicode("", help="Where the ledger is kept; Jupyter's data directory when empty.").tag(config=True)
    runtime_dir = Unicode("", help="Where locks and sockets are, on a local disk; chosen when empty.").tag(config=True)

    operators = List(
        Unicode(),
        help="Names of people who see which processes and pods of others use a GPU, where all others see how many, and "
        "all sessions that this server knows of.",
    ).tag(config=True)

    metrics_user_names = Bool(False, help="Count sessions and GPU time at /metrics by user's name as well.").tag(
        config=True
    )

    notice_hook = Union(
        [Unicode(), Callable()],
        default_value="",
        help='A function that is called with each notice, or its name such as "my_site.mail.tell": for people who are '
        "away. See docs/sharing.md.",
    ).tag(config=True)

    prometheus_url = Unicode(
        "", help="The Prometheus that scrapes the site's dcgm-exporter, to show its other GPUs; none when empty."
    ).tag(config=True)
    prometheus_token_file = Unicode(
        "", help="A file with a bearer token for that Prometheus; read again for each question."
    ).tag(config=True)
    prometheus_match = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help='Labels that its series must have to be shown, such as {"cluster": "gpu"}.',
    ).tag(config=True)

    @validate("prometheus_url", "prometheus_token_file", "prometheus_match")
    def _of_prometheus(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if value:
            from . import prometheus

            try:
                prometheus.check(**{name.removeprefix("prometheus_"): value})
            except SwanGpuError as error:
                raise TraitError(f"SwanGpu.{name}: {error.detail} {error.hint}".rstrip()) from None
        return value

    @validate(
        "default_lease_s",
        "max_lease_s",
        "claim_window_s",
        "undo_s",
        "idle_pause_s",
        "idle_release_s",
        "idle_grace_s",
        "quota_notice_s",
        "half_life_s",
    )
    def _positive(self, proposal: Any) -> float:
        value = float(proposal["value"])
        smallest = 0.0 if proposal["trait"].name in ("undo_s", "idle_pause_s") else 1.0
        if not math.isfinite(value) or value < smallest:
            raise TraitError(f"SwanGpu.{proposal['trait'].name} must be a number of seconds, at least {smallest:g}.")
        return value

    @validate("pause_methods")
    def _methods(self, proposal: Any) -> list[str]:
        value: list[str] = proposal["value"]
        for name in value:
            if name not in PAUSE_METHODS:
                raise TraitError(f"SwanGpu.pause_methods: {name!r} is none of {', '.join(PAUSE_METHODS)}.")
        return value

    @validate("paused_memory_bytes")
    def _memory(self, proposal: Any) -> int | None:
        value: int | None = proposal["value"]
        if value is not None and value < 0:
            raise TraitError("SwanGpu.paused_memory_bytes must be a number of bytes, or 0 for no limit.")
        return value

    @validate("warn_s")
    def _warnings(self, proposal: Any) -> list[float]:
        value: list[float] = proposal["value"]
        if len(value) > MOST_WARNINGS or not all(math.isfinite(one) and one >= 1.0 for one in value):
            raise TraitError(f"SwanGpu.warn_s must be up to {MOST_WARNINGS} numbers of seconds, at least 1.")
        return sorted(value, reverse=True)

    @validate("notice_hook")
    def _hook(self, proposal: Any) -> Any:
        if proposal["value"] != "":
            try:
                notice_hook.check(proposal["value"])
            except ValueError as error:
                raise TraitError(f"SwanGpu.notice_hook: {error}.") from None
        return proposal["value"]

    @validate("slices_per_model")
    def _slices(self, proposal: Any) -> dict[str, int]:
        value: dict[str, int] = proposal["value"]
        for model, count in value.items():
            if not 1 <= count <= 32:
                raise TraitError(f"SwanGpu.slices_per_model[{model!r}] must be from 1 to 32, not {count}.")
        return value

    @validate("groups", "user_quotas", "reservations")
    def _rules(self, proposal: Any) -> Any:
        from . import rules

        name, value = proposal["trait"].name, proposal["value"]
        try:
            rules.READ[name](name, value)
        except Misconfigured as error:
            raise TraitError(error.detail) from None
        return value

    def initialize_handlers(self) -> None:
        """Say where our address is; what answers there is loaded when somebody asks."""
        self.token = secrets.token_hex(24)
        self.owner = owner_name()
        self.service: Service | None = None
        self.hook = notice_hook.NoticeHook(self.notice_hook) if self.notice_hook else None
        self._files: list[RuntimeFile] = []
        self._making = asyncio.Lock()
        self._stopping = False
        for name in ("prometheus_token_file", "prometheus_match"):
            if getattr(self, name) and not self.prometheus_url:
                raise TraitError(f"SwanGpu.{name} is set, and SwanGpu.prometheus_url is not.")
        app: Any = self.serverapp
        base = str(app.web_app.settings["base_url"]).rstrip("/")

        def make() -> list[tuple[str, type]]:
            from .making import make_handlers

            return make_handlers(self, base)

        LateHandlers(app.web_app, make).mount(re.escape(base) + r"/swangpu/(?:api|internal)/.*")
        self.provisioner_finding = make_default()

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Say where we are; start what must not wait for a viewer: kernels that outlived the last server."""
        notice_events.register(serverapp.event_logger)
        if next(registry.records(self._published()), None) is not None:
            await (await self.made()).adopt_kernels()

    async def stop_extension(self) -> None:
        """Leave kernels on GPUs running: the next server finds them.

        Jupyter Server does not end when this raises, or never returns: what is not done is seen to at the next start.
        """
        self._stopping = True
        for file in self._files:
            file.remove()
        for part in (self.service, self.hook):
            if part is None:
                continue
            try:
                await within(part.close(), END_S)
            except asyncio.TimeoutError:
                log.warning("swangpu: %s did not end within %g s", type(part).__name__, END_S)
            except Exception:
                log.exception("swangpu: %s did not end as it should", type(part).__name__)

    async def made(self) -> Service:
        """The broker's part of this server, made when it is first needed.

        Raises
        ------
        Misconfigured
        Unavailable
            The server is shutting down.
        """
        async with self._making:
            if self.service is None:
                if self._stopping:
                    raise Unavailable("This server is shutting down.", code="shutting_down")
                from .making import make_service

                self._published()
                self.service = make_service(self)
            return self.service

    def person(self, handler: Any) -> str:
        """Whom somebody who was let in acts for: whose server it is."""
        return self.owner

    def _published(self) -> Path:
        """Say where we are, to kernels, tools and the user's other servers, if that was not done yet.

        Our local directory; without it there is no taking over of kernels, and so no broker.
        """
        app: Any = self.serverapp
        runtime_dir, url = self.local_dir(), str(app.connection_url)
        if not self._files:
            tell_kernels(runtime_dir, url, self.token)
            near = RuntimeFile(neighbours_dir(runtime_dir), url, self.token)
            near.clear()
            self._files = [RuntimeFile(Path(app.runtime_dir), url, self.token), near]
            for file in self._files:
                file.write()
        return runtime_dir

    def local_dir(self) -> Path:
        """Where locks and sockets are.

        Raises
        ------
        Misconfigured
        """
        return local_runtime_dir(self.runtime_dir)
