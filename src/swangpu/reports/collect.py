"""Reads dcgm-exporter's series out of Prometheus, chunk by chunk, and hands them to a `Tally`.

The server counts and adds up the samples of each step (``count_over_time``, ``sum_over_time``): every scrape counts,
and what was scraped last is never taken for what was scraped now. A chunk that is too large for the server or for us is
halved.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from ..errors import BadInput, NotFound
from ..telemetry.dcgm import FB_USED, GPU_UTIL, GR_ENGINE, holder_of, subject_of
from ..telemetry.promql import MAX_POINTS, PromQl, Series, TooMuch
from .cells import Reading, merge
from .figures import Report
from .idle import Tally

__all__ = ["STEPS_S", "collect", "readings_of", "step_for"]

#: steps that cut an hour evenly, in seconds
STEPS_S = (60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600)
DEFAULT_STEP_S = 300
#: a step has at least so many samples: fewer do not tell pods after each other from pods at the same time
MIN_SAMPLES = 4
#: points in an answer that a chunk aims at
POINTS = 150_000
#: points of all answers, before the default step is made longer
MANY_POINTS = 12_000_000
#: series that are reckoned with where they could not be counted
MANY_SERIES = 500

_ANY = f'__name__=~"{GPU_UTIL}|{GR_ENGINE}|{FB_USED}"'
_SAME = "on(UUID, gpu, GPU_I_ID, Hostname, hostname)"


def collect(
    prometheus: PromQl,
    make: Callable[[float], Tally],
    start: float,
    end: float,
    step_s: int | None = None,
    progress: Callable[[float], None] = lambda part: None,
) -> Report:
    """Read everything between two times and add it up.

    Parameters
    ----------
    make : callable
        Makes the tally for a step in seconds.
    start, end : float
        Unix seconds; made to lie on whole steps.
    step_s : int, optional
        Seconds; by default as short as is sensible.
    progress : callable
        Told the part that is done, from 0 to 1.

    Raises
    ------
    NotFound
        There are no such series in this time.
    BadInput
        The step does not suit.
    SwanGpuError
        Prometheus does not answer, or refuses.
    """
    found = _look(prometheus, start, end)
    if not found.series:
        raise NotFound(
            "This Prometheus has no metrics of dcgm-exporter in this time.",
            hint=f"It is asked for {GPU_UTIL}, {GR_ENGINE} and {FB_USED}; is the exporter scraped by this one?",
            code="no_gpu_metrics",
        )
    longest = max(found.intervals.values(), default=60.0)
    step_s = step_for(step_s, longest, found.series, end - start)
    tally = make(step_s)
    first, last = int(start // step_s), int(end // step_s)
    size = max(1, min(MAX_POINTS - 1, POINTS // found.series, last - first))
    seen: set[float] = set()
    at = first
    while at < last:
        until = min(last, at + size)
        try:
            readings = _chunk(prometheus, at, until, step_s, found)
        except TooMuch:
            if size == 1:
                raise
            size = max(1, size // 2)
            continue
        seen.update(r.interval_s for r in readings)
        tally.add(merge(readings, step_s))
        at = until
        progress((at - first) / max(1, last - first))
    return tally.report(first * step_s, last * step_s, (min(seen), max(seen)) if seen else None)


class _Found:
    """What was looked up before: how many series there are, how often they are scraped, and which jobs rename."""

    def __init__(self, series: int, intervals: dict[str, float], renaming_jobs: frozenset[str]) -> None:
        self.series = series
        self.intervals = intervals
        self.renaming_jobs = renaming_jobs


def _look(prometheus: PromQl, start: float, end: float) -> _Found:
    renaming = frozenset(prometheus.label_values("job", f'{{{_ANY},exported_pod!=""}}', start, end))
    intervals: dict[str, float] = {}
    series = 0
    # now and then in all the time: pods come and go, and Prometheus may not have kept all of it
    for part in (1.0, 0.75, 0.5, 0.25, 0.0):
        at = start + part * (end - start)
        counts = prometheus.at(f"count(last_over_time({{{_ANY}}}[1h]))", at)
        series = max([series, *(int(float(one.value[1])) for one in counts if one.value is not None)])
        intervals = {**_intervals(prometheus, at), **intervals}
    if not series and prometheus.label_values("__name__", f"{{{_ANY}}}", start, end):
        series = MANY_SERIES  # scraped for a shorter time than lies between these looks
    return _Found(series, intervals, renaming)


def step_for(asked_s: int | None, interval_s: float, series: int, span_s: float) -> int:
    """The step in seconds: the one that was asked for, if it suits, or one that does.

    Raises
    ------
    BadInput
    """
    least = MIN_SAMPLES * interval_s * 0.99
    fitting = [step for step in STEPS_S if step >= least]
    if not fitting:
        raise BadInput(f"The GPUs are scraped every {interval_s:.0f} s; every 15 min at least is needed.")
    if asked_s is not None:
        if asked_s not in STEPS_S:
            raise BadInput("A step cuts an hour evenly.", hint="Such as 1m, 5m, 10m, 30m or 1h.")
        if asked_s not in fitting:
            raise BadInput(
                f"The GPUs are scraped every {interval_s:.0f} s, and a step needs {MIN_SAMPLES} samples.",
                hint=f"Give --step {fitting[0] // 60}m or longer.",
            )
        return asked_s
    usual = [step for step in fitting if step >= DEFAULT_STEP_S]
    return next((step for step in usual if series * span_s / step <= MANY_POINTS), STEPS_S[-1])


def _chunk(prometheus: PromQl, at: int, until: int, step_s: int, found: _Found) -> Sequence[Reading]:
    start, end = (at + 1) * step_s, until * step_s
    intervals = {**found.intervals, **_intervals(prometheus, (start + end) / 2)}
    # one millisecond less than a step: a sample on the border belongs to one step only, in every version
    window = f"[{step_s * 1000 - 1}ms]"
    util, engine, memory = (f"count_over_time({name}{window})" for name in (GPU_UTIL, GR_ENGINE, FB_USED))

    def engines(function: str) -> str:
        # of whole GPUs only where the usual metric is missing
        whole = f'{function}({GR_ENGINE}{{GPU_I_ID=""}}{window}) unless {_SAME} {util}'
        return f'{function}({GR_ENGINE}{{GPU_I_ID!=""}}{window}) or ({whole})'

    def ask(query: str) -> Sequence[Series]:
        return prometheus.over(query, start, end, step_s)

    readings: list[Reading] = []
    readings += readings_of(
        GPU_UTIL, ask(util), ask(f"sum_over_time({GPU_UTIL}{window})"), 100.0, step_s, intervals, found.renaming_jobs
    )
    readings += readings_of(
        GR_ENGINE,
        ask(engines("count_over_time")),
        ask(engines("sum_over_time")),
        1.0,
        step_s,
        intervals,
        found.renaming_jobs,
    )
    alone = f"{memory} unless {_SAME} {util} unless {_SAME} {engine}"
    return [*readings, *readings_of(FB_USED, ask(alone), (), 1.0, step_s, intervals, found.renaming_jobs)]


def readings_of(
    metric: str,
    counts: Iterable[Series],
    sums: Iterable[Series],
    full: float,
    step_s: int,
    intervals: Mapping[str, float],
    renaming_jobs: frozenset[str],
) -> list[Reading]:
    """One reading for each series: its samples in each step, and their sum where ``full`` counts as 1."""
    added = {_key(one.metric): one for one in sums}
    usual = statistics.median(intervals.values()) if intervals else None
    out = []
    for one in counts:
        subject = subject_of(one.metric)
        if subject is None:
            continue
        samples = {_step(time, step_s): round(float(value)) for time, value in one.values}
        total = added.get(_key(one.metric))
        busy = None
        if total is not None:
            # NaN is no number of anything
            busy = {_step(t, step_s): v / full for t, v in ((t, float(v)) for t, v in total.values) if v == v}
        interval_s = intervals.get(one.metric.get("job", ""), usual) or step_s / max(1, *samples.values())
        holder = holder_of(one.metric, renaming_jobs)
        out.append(Reading(subject, holder, metric, interval_s, samples, busy))
    return out


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def _step(time: float, step_s: int) -> int:
    """The step that ends at this time."""
    return round(time / step_s) - 1


def _intervals(prometheus: PromQl, at: float) -> dict[str, float]:
    """How often each job scrapes, around this time: the median of the times between samples, in seconds."""
    for window in ("15m", "2h"):
        apart: dict[str, list[float]] = defaultdict(list)
        for one in prometheus.at(f"{{{_ANY}}}[{window}]", at):
            apart[one.metric.get("job", "")] += [b[0] - a[0] for a, b in pairwise(one.values)]
        if apart and all(apart.values()):
            return {job: statistics.median(gaps) for job, gaps in apart.items()}
    return {job: statistics.median(gaps) for job, gaps in apart.items() if gaps}
