"""The common random number generators of this process: their states, as JSON, and back.

A generator of the person's own is a variable like others.
"""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any

__all__ = ["give_back", "states"]

States = dict[str, Any]


def states() -> States:
    """Of what is loaded here; None for what can't be read."""
    found: States = {"random": random.getstate()}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    for name, module, read in (("numpy", numpy, _numpy), ("torch", torch, _torch)):
        try:
            if module is not None:
                found[name] = read(module)
        except Exception:
            # a version that does it otherwise, or half-imported: it begins anew, and is named when the others come back
            found[name] = None
    return found


def give_back(found: States) -> list[str]:
    """Set them as they were; the names of those that begin anew."""
    anew = []
    for name, state in found.items():
        try:
            _SET[name](state)
        except Exception:
            anew.append(name)
    return anew


def _numpy(numpy: Any) -> Any:
    kind, key, place, has_normal, normal = numpy.random.get_state()
    return [kind, key.tolist(), place, has_normal, normal]


def _torch(torch: Any) -> Any:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state().tolist(), [one.tolist() for one in devices]]


def _set_random(state: Any) -> None:
    version, numbers, normal = state
    random.setstate((version, tuple(numbers), normal))


def _set_numpy(state: Any) -> None:
    numpy: Any = importlib.import_module("numpy")
    kind, key, place, has_normal, normal = state
    numpy.random.set_state((kind, numpy.array(key, dtype="uint32"), place, has_normal, normal))


def _set_torch(state: Any) -> None:
    torch: Any = importlib.import_module("torch")
    common, devices = state
    torch.set_rng_state(torch.tensor(common, dtype=torch.uint8))
    for number, one in enumerate(devices[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(torch.tensor(one, dtype=torch.uint8), number)


_SET = {"random": _set_random, "numpy": _set_numpy, "torch": _set_torch}
