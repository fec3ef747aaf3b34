"""What dcgm-exporter's labels say: which GPU or MIG instance, and which pod holds it. Pure.

Two traps are handled here, for everybody who reads such series:

* Prometheus may rename the exporter's own ``pod`` and ``namespace`` to ``exported_pod`` and ``exported_namespace``.
  ``pod`` is then the pod of the *exporter*, also on a GPU that nobody holds.
* A time-sliced GPU has one series for each of its pods, each with the value of the whole device; and a GPU that is
  scraped twice has each series twice. Such copies are never added up.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

__all__ = ["FB_USED", "GPU_UTIL", "GR_ENGINE", "Holder", "Subject", "device_part", "holder_of", "subject_of"]

#: percent of time in which at least one kernel ran
GPU_UTIL = "DCGM_FI_DEV_GPU_UTIL"
#: part of time (0 to 1) in which the graphics or compute engine was active; also on MIG instances
GR_ENGINE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
#: device memory in use, in MiB
FB_USED = "DCGM_FI_DEV_FB_USED"

_EXPORTER = re.compile(r"dcgm-?exporter", re.IGNORECASE)
_COMPUTE_SLICES = re.compile(r"^(\d+)g\.")


@dataclass(frozen=True)
class Subject:
    """A GPU, or one MIG instance of it.

    Attributes
    ----------
    device : str
        The GPU's UUID; ``host/index`` where the series have none.
    instance, profile : str or None
        The MIG instance's number on its GPU (``GPU_I_ID``) and its profile, such as ``1g.5gb``.
    model, host, index : str
        As in the labels, and empty where they are missing. They do not tell subjects apart.
    """

    device: str
    instance: str | None = None
    profile: str | None = None
    model: str = field(default="", compare=False)
    host: str = field(default="", compare=False)
    index: str = field(default="", compare=False)


@dataclass(frozen=True, order=True)
class Holder:
    """The pod that holds a GPU."""

    namespace: str
    pod: str


def subject_of(labels: Mapping[str, str]) -> Subject | None:
    """Which GPU or MIG instance a series is about; None when it does not say."""
    host = labels.get("Hostname") or labels.get("hostname") or labels.get("instance", "")
    index = labels.get("gpu", "")
    device = labels.get("UUID") or labels.get("uuid")
    if not device:
        if not (host and index):
            return None
        device = f"{host}/{index}"
    instance = labels.get("GPU_I_ID") or None
    profile = labels.get("GPU_I_PROFILE") or None if instance else None
    return Subject(device, instance, profile, labels.get("modelName", ""), host, index)


def holder_of(labels: Mapping[str, str], renaming_jobs: Container[str] = ()) -> Holder | None:
    """Which pod holds the GPU of a series; None when no pod does.

    Parameters
    ----------
    renaming_jobs : container of str
        The scrape jobs of which some series has ``exported_pod``. In these, ``pod`` is the exporter's own.
    """
    pod = labels.get("exported_pod")
    if pod:
        return Holder(labels.get("exported_namespace") or "", pod)
    if labels.get("job", "") in renaming_jobs:
        return None
    pod = labels.get("pod") or labels.get("pod_name")
    # a target's own labels, in a scrape job in which no GPU is held: an exporter holds none itself
    if not pod or _EXPORTER.search(pod):
        return None
    return Holder(labels.get("namespace") or labels.get("pod_namespace") or "", pod)


def device_part(model: str, profile: str | None) -> float:
    """What part of a GPU's compute a MIG profile has: 3/7 for ``3g.20gb``, of an A30 1/4 for ``1g.6gb``; else 1."""
    found = _COMPUTE_SLICES.match(profile or "")
    if not found:
        return 1.0
    slices = 4 if re.search(r"\bA30\b", model) else 7
    return min(1.0, int(found[1]) / slices)
