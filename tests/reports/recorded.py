"""A month of a site's GPUs with a known truth, as dcgm-exporter and Prometheus would have recorded it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

DAY_S, HOUR_S = 86400, 3600
SCRAPE_S = 180
#: scrapes of node-1 lie somewhere between round times, and those of node-2 on them
PHASE_S = 37
DAYS = 29

UTIL, ENGINE, MEMORY = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_FB_USED"


@dataclass(frozen=True)
class Segment:
    """From ``begin`` to ``end`` these pods (namespace, pod) held it, ``busy`` (0 to 1) of the time."""

    begin: float
    end: float
    pods: tuple[tuple[str, str], ...]
    busy: float


@dataclass
class Gpu:
    """One GPU or MIG instance, and its whole history."""

    flavor: str
    weight: float
    labels: dict[str, str]
    metric: str = UTIL
    renamed: bool = False
    jobs: tuple[str, ...] = ("dcgm",)
    segments: list[Segment] = field(default_factory=list)


@dataclass
class Truth:
    held_h: float = 0.0
    used_h: float = 0.0
    unknown_h: float = 0.0
    shared_h: float = 0.0

    @property
    def idle_h(self) -> float:
        return self.held_h - self.used_h - self.unknown_h


class Month:
    """A site from ``begin`` on.

    ``gap``: from when to when nothing of node-1 was scraped.
    """

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.end = begin + DAYS * DAY_S
        self.gap = (begin + 10 * DAY_S + 5000, begin + 10 * DAY_S + 47000)
        self.random = random.Random(20)
        model = "NVIDIA A100-PCIE-40GB"
        self.nights: list[tuple[str, float, float]] = []
        self.gpus = [
            self._notebook(Gpu("a100-40gb", 1, _labels("GPU-a", "0", model), jobs=("dcgm", "dcgm-again"))),
            Gpu("a100-40gb", 1, _labels("GPU-b", "1", model), segments=[Segment(self.begin, self.end, (), 0.0)]),
            self._random(Gpu("a100-40gb/1g.5gb", 1 / 7, _slice("7", "1g.5gb", model), ENGINE), "swan", 0.6),
            self._random(Gpu("a100-40gb/1g.5gb", 1 / 7, _slice("8", "1g.5gb", model), ENGINE), "batch", 1.0),
            self._random(Gpu("a100-40gb/2g.10gb", 2 / 7, _slice("3", "2g.10gb", model), MEMORY), "swan", 0.5),
            self._shared(Gpu("t4", 1, _labels("GPU-c", "0", "Tesla T4", "node-2"), renamed=True, jobs=("renamed",))),
            # an exporter that is told to give the other metric only
            self._random(
                Gpu(
                    "h100-80gb",
                    1,
                    _labels("GPU-d", "1", "NVIDIA H100 80GB HBM3", "node-2"),
                    ENGINE,
                    renamed=True,
                    jobs=("renamed",),
                ),
                "batch",
                0.8,
            ),
        ]

    # -- what happened ----------------------------------------------------------------------------

    def _notebook(self, gpu: Gpu) -> Gpu:
        """Each day another pod from 9 h to 8 h; it computes until 18 h, and holds the GPU idle overnight."""
        for day in range(DAYS):
            start = self.begin + day * DAY_S + 9 * HOUR_S + 11
            pods = (("swan", f"jupyter-alice-{day}"),)
            at, stop, computes = float(start), start + 9 * HOUR_S - 600, True
            while at < stop:
                until = min(stop, at + self.random.uniform(200, 2400))
                gpu.segments.append(Segment(at, until, pods, 0.9 if computes else 0.0))
                at, computes = until, not computes
            dusk, dawn = stop + 600, min(self.end, start + 23 * HOUR_S)
            gpu.segments.append(Segment(stop, dusk, pods, 1.0))
            gpu.segments.append(Segment(dusk, dawn, pods, 0.0))
            self.nights.append((pods[0][1], dusk, dawn))
            gpu.segments.append(Segment(dawn, self.begin + (day + 1) * DAY_S + 9 * HOUR_S + 11, (), 0.0))
        gpu.segments.insert(0, Segment(self.begin, self.begin + 9 * HOUR_S + 11, (), 0.0))
        gpu.segments = [s for s in gpu.segments if s.begin < s.end]
        return gpu

    def _random(self, gpu: Gpu, namespace: str, chance: float) -> Gpu:
        at, number = float(self.begin), 0
        while at < self.end:
            until = min(self.end, at + self.random.uniform(HOUR_S, 20 * HOUR_S))
            held = self.random.random() < chance
            number += 1
            pods = ((namespace, f"job-{gpu.labels.get('GPU_I_ID', 'x')}-{number}"),) if held else ()
            while at < until:
                change = min(until, at + self.random.uniform(100, 3 * HOUR_S))
                gpu.segments.append(Segment(at, change, pods, self.random.choice([0.0, 0.3, 1.0]) if held else 0.0))
                at = change
        return gpu

    def _shared(self, gpu: Gpu) -> Gpu:
        pods = tuple(("course", f"student-{n}") for n in range(3))
        at, computes = float(self.begin), False
        while at < self.end:
            until = min(self.end, at + self.random.uniform(600, 5 * HOUR_S))
            gpu.segments.append(Segment(at, until, pods, 0.5 if computes else 0.0))
            at, computes = until, not computes
        return gpu

    # -- what was recorded ------------------------------------------------------------------------

    def openmetrics(self) -> Iterator[str]:
        """Lines of the file that promtool makes blocks of."""
        for metric in (UTIL, ENGINE, MEMORY):
            yield f"# TYPE {metric} gauge\n"
            for gpu in self.gpus:
                if metric == MEMORY or metric == gpu.metric:
                    for job in gpu.jobs:
                        yield from self._lines(metric, gpu, job)
        yield "# EOF\n"

    def _lines(self, metric: str, gpu: Gpu, job: str) -> Iterator[str]:
        lines: dict[tuple[str, str] | None, list[str]] = defaultdict(list)
        texts: dict[tuple[str, str] | None, str] = {}
        segments = iter(gpu.segments)
        now = next(segments)
        on_time = "Hostname" not in gpu.labels
        for time in range(self.begin + (0 if on_time else PHASE_S), self.end, SCRAPE_S):
            while time >= now.end:
                now = next(segments)
            if gpu.labels.get("Hostname") == "node-1" and self.gap[0] <= time < self.gap[1]:
                continue
            value = {UTIL: f"{100 * now.busy:.0f}", ENGINE: f"{now.busy:.3f}", MEMORY: "412"}[metric]
            for pod in now.pods or (None,):
                if pod not in texts:
                    texts[pod] = _text(gpu, job, pod)
                lines[pod].append(f"{metric}{texts[pod]} {value} {time}\n")
        for some in lines.values():
            yield from some

    # -- what is true -----------------------------------------------------------------------------

    def truth(self) -> dict[tuple[str, object], Truth]:
        """Of covered time, by ``("total", "")``, ``("flavor", …)``, ``("namespace", …)`` and ``("hour", 0 to 23)``."""
        out: dict[tuple[str, object], Truth] = defaultdict(Truth)
        for gpu in self.gpus:
            for segment in gpu.segments:
                for begin, end in self._covered(gpu, segment):
                    hours = (end - begin) / HOUR_S * gpu.weight if segment.pods else 0.0
                    keys: list[tuple[str, object]] = [("total", ""), ("flavor", gpu.flavor)]
                    keys.append(("hour", int(begin // HOUR_S % 24)))
                    if segment.pods:
                        keys.append(("namespace", segment.pods[0][0]))
                    for key in keys:
                        truth = out[key]
                        truth.held_h += hours
                        truth.shared_h += hours if len(segment.pods) > 1 else 0.0
                        if gpu.metric == MEMORY:
                            truth.unknown_h += hours
                        else:
                            truth.used_h += hours * segment.busy
        return out

    def _covered(self, gpu: Gpu, segment: Segment) -> Iterator[tuple[float, float]]:
        parts = [(segment.begin, segment.end)]
        if gpu.labels.get("Hostname") == "node-1":
            parts = [(segment.begin, min(segment.end, self.gap[0])), (max(segment.begin, self.gap[1]), segment.end)]
        for begin, end in parts:
            while begin < end:
                until = min(end, (begin // HOUR_S + 1) * HOUR_S)
                yield begin, until
                begin = until


def _labels(uuid: str, index: str, model: str, host: str = "node-1") -> dict[str, str]:
    name = "Hostname" if host == "node-1" else "hostname"
    return {"gpu": index, "UUID": uuid, "modelName": model, name: host}


def _slice(instance: str, profile: str, model: str) -> dict[str, str]:
    return {**_labels("GPU-m", "2", model), "GPU_I_ID": instance, "GPU_I_PROFILE": profile}


def _text(gpu: Gpu, job: str, pod: tuple[str, str] | None) -> str:
    labels = {**gpu.labels, "job": job, "instance": f"{job}:9400"}
    if gpu.renamed:
        labels.update(namespace="monitoring", pod="exporter-x7k2p")
    if pod is not None:
        prefix = "exported_" if gpu.renamed else ""
        labels.update({f"{prefix}namespace": pod[0], f"{prefix}pod": pod[1], f"{prefix}container": "main"})
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
