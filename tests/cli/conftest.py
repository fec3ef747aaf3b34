from __future__ import annotations

from nvml.sim import nvml, nvml_library  # noqa: F401
from suspend.sim import cuda, cuda_library  # noqa: F401
