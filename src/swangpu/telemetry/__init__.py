"""One reader of the driver, and everything that is made of what it reads.

``nvml`` is NVIDIA's driver behind `swangpu.ports.GpuDriver`; ``sampler`` reads a driver on a thread of its own while
somebody looks; ``history`` keeps what was read; ``prometheus`` shows it at ``/metrics``.
"""

from __future__ import annotations

__all__: list[str] = []
