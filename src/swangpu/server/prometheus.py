"""The site's Prometheus, as it is set: checked at the start, and made into what reads it when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..ports import Clock

if TYPE_CHECKING:
    from ..telemetry.promql import PromQl
    from ..telemetry.remote import RemoteGpus

__all__ = ["HINTS", "PrometheusSettings", "check", "reader", "remote_gpus"]

#: for one question, in seconds: a page that shows other things too must not wait for it
TIMEOUT_S = 5.0
#: what helps, in the words of the settings
HINTS = {
    "prometheus_forbidden": "Whoever set up this server looks at SwanGpu.prometheus_token_file.",
    "prometheus_unreachable": "It may come back. Else whoever set up this server looks at SwanGpu.prometheus_url.",
    "prometheus_too_much": "It may be busy. SwanGpu.prometheus_match can choose fewer GPUs.",
    "prometheus_failed": "Whoever runs Prometheus can tell more.",
    "not_prometheus": "Whoever set up this server looks at SwanGpu.prometheus_url.",
    "bad_input": "Whoever set up this server looks at SwanGpu.prometheus_token_file.",
}


@dataclass(frozen=True)
class PrometheusSettings:
    """Where it is, the file with its token, and the labels that series must have."""

    url: str
    token_file: str | None = None
    match: Mapping[str, str] = field(default_factory=dict)


def check(*, url: str = "", token_file: str = "", match: Mapping[str, str] | None = None) -> None:
    """Whether what is given makes sense; nothing is asked.

    Raises
    ------
    BadInput
        In words that repeat neither a login nor a path.
    """
    from ..telemetry.dcgm_source import label_name
    from ..telemetry.promql import base_url, login_from

    if "@" in url.partition("://")[2].partition("/")[0]:
        raise BadInput("The URL holds a login, and others can read it.", hint="Set SwanGpu.prometheus_token_file.")
    if url:
        base_url(url)
    if token_file:
        login_from(token_file, None)
    for name in match or {}:
        label_name(name)


def reader(settings: PrometheusSettings) -> PromQl:
    """Asks it; its token is read anew for each question, so that it may change while we run."""
    from ..telemetry.promql import PromQl, login_from

    return PromQl(settings.url, lambda: login_from(settings.token_file, None), timeout_s=TIMEOUT_S)


def remote_gpus(settings: PrometheusSettings, clock: Clock, history: Path) -> RemoteGpus:
    """What reads it. Nothing is asked before somebody looks."""
    from ..telemetry.dcgm_source import DcgmSource
    from ..telemetry.history_files import HistoryFiles
    from ..telemetry.remote import RemoteGpus

    source = DcgmSource(reader(settings), only=settings.match, hints=HINTS, now=clock.now, monotonic=clock.monotonic)
    return RemoteGpus(source, clock, HistoryFiles(history, clock.now, bounded=True))
