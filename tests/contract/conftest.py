from __future__ import annotations

from nvml.sim import nvml, nvml_library  # noqa: F401
