"""The memory that torch, tensorflow, jax and cupy say they needed: they reserve more, and that is what a device sees.

Nothing is imported and no device is touched: only what the person has loaded and used is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Peak", "Peaks", "begin"]


@dataclass(frozen=True)
class Peak:
    """What one framework needed.

    Attributes
    ----------
    cell_bytes, run_bytes : int
        Its highest since the cell began, and since the process did.
    exact : bool
        Of the cell; else it needed no more than that.
    """

    name: str
    cell_bytes: int
    run_bytes: int
    exact: bool


class Peaks:
    """What the frameworks say of one cell, from `begin` to `end`.

    Parameters
    ----------
    run_bytes : dict of str to int
        Highest so far by framework; kept up to date, since counters are set back at the start of a cell.
    """

    def __init__(self, run_bytes: dict[str, int]) -> None:
        self._run_bytes = run_bytes
        self._before = {name: _safely(start, run_bytes) for name, (start, _) in _FRAMEWORKS.items()}

    def end(self) -> list[Peak]:
        """Of each framework that has used a device; none of one that can't say."""
        out = []
        for name, (_, stop) in _FRAMEWORKS.items():
            found = _safely(stop, self._before[name])
            if found is None or not found[0]:
                continue
            cell_bytes, exact = found
            self._run_bytes[name] = max(self._run_bytes.get(name, 0), cell_bytes)
            out.append(Peak(name, cell_bytes, self._run_bytes[name], exact))
        return out


def begin(run_bytes: dict[str, int]) -> Peaks:
    """A cell begins: frameworks that count a peak begin to count anew."""
    return Peaks(run_bytes)


def _safely(ask: Callable[[Any], Any], given: Any) -> Any:
    """A framework that is half imported, or of a version that we do not know, says nothing."""
    try:
        return ask(given)
    except Exception:
        return None


def _torch() -> Any:
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _torch_peak(cuda: Any) -> int:
    return sum(int(cuda.max_memory_allocated(n)) for n in range(cuda.device_count()))


def _torch_begins(run_bytes: dict[str, int]) -> None:
    cuda = _torch()
    if cuda is not None:
        run_bytes["torch"] = max(run_bytes.get("torch", 0), _torch_peak(cuda))
        for n in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(n)


def _torch_ends(before: Any) -> tuple[int, bool] | None:
    cuda = _torch()
    return None if cuda is None else (_torch_peak(cuda), True)


def _tensorflow() -> tuple[Any, list[str]]:
    """Its settings, and its devices if it has been initialised: asking it otherwise would take the whole device."""
    tensorflow: Any = sys.modules.get("tensorflow")
    context: Any = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    if tensorflow is None or context is None or not context._initialized:
        return None, []
    return tensorflow.config.experimental, [one.name for one in tensorflow.config.list_logical_devices("GPU")]


def _tensorflow_begins(run_bytes: dict[str, int]) -> None:
    settings, devices = _tensorflow()
    if devices:
        peak = sum(int(settings.get_memory_info(device)["peak"]) for device in devices)
        run_bytes["tensorflow"] = max(run_bytes.get("tensorflow", 0), peak)
        for device in devices:
            settings.reset_memory_stats(device)


def _tensorflow_ends(before: Any) -> tuple[int, bool] | None:
    settings, devices = _tensorflow()
    return (sum(int(settings.get_memory_info(one)["peak"]) for one in devices), True) if devices else None


def _jax_peak() -> int | None:
    """Its highest since the process began, which can't be set back; None while it has used no device."""
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    jax: Any = sys.modules.get("jax")
    if jax is None or bridge is None or not bridge.backends_are_initialized():
        return None
    found = [one.memory_stats() for one in jax.local_devices() if one.platform in ("gpu", "cuda", "rocm")]
    peaks = [int(stats["peak_bytes_in_use"]) for stats in found if stats]
    return sum(peaks) if peaks else None


def _jax_ends(before: Any) -> tuple[int, bool] | None:
    peak = _jax_peak()
    return None if peak is None else (peak, before is None or peak > before)


def _cupy_ends(before: Any) -> tuple[int, bool] | None:
    """It counts no peak: what its pool holds is the most that it can have been."""
    cupy: Any = sys.modules.get("cupy")
    return None if cupy is None else (int(cupy.get_default_memory_pool().total_bytes()), False)


_FRAMEWORKS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "torch": (_torch_begins, _torch_ends),
    "tensorflow": (_tensorflow_begins, _tensorflow_ends),
    "jax": (lambda run_bytes: _jax_peak(), _jax_ends),
    "cupy": (lambda run_bytes: None, _cupy_ends),
}
