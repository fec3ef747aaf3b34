"""What frameworks say of their memory: each as it counts, none woken up, and several never less than they needed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from swangpu.kernel_side import allocators
from swangpu.kernel_side.profile import Cell, line


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a module there that says what the real one would."""

    def put(name: str, **content: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    for name in ("torch", "tensorflow", "jax", "cupy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return put


class Counter:
    """torch.cuda, as far as it is asked."""

    def __init__(self) -> None:
        self.ready, self.now, self.peak = False, 0, 0

    def is_initialized(self) -> bool:
        return self.ready

    def device_count(self) -> int:
        assert self.ready, "asked before it was used"
        return 2

    def max_memory_allocated(self, device: int) -> int:
        return self.peak if device == 0 else 5

    def reset_peak_memory_stats(self, device: int) -> None:
        self.peak = self.now if device == 0 else self.peak

    def take(self, size: int) -> None:
        self.ready, self.now = True, self.now + size
        self.peak = max(self.peak, self.now)


def test_a_peak_is_the_cells_own_and_the_runs_is_not_forgotten(framework: Any) -> None:
    cuda = Counter()
    framework("torch", cuda=cuda)
    run: dict[str, int] = {}
    first = allocators.begin(run)
    assert first.end() == [], "imported and not used"
    second = allocators.begin(run)
    cuda.take(1000)
    cuda.take(-900)
    assert second.end() == [allocators.Peak("torch", 1005, 1005, True)]
    cuda.take(5000)  # in a cell that was not profiled
    cuda.take(-5000)
    third = allocators.begin(run)
    cuda.take(10)
    assert third.end() == [allocators.Peak("torch", 115, 5105, True)]


def test_a_counter_that_cannot_be_set_back_says_at_most(framework: Any) -> None:
    stats = {"peak_bytes_in_use": 70}
    framework("jax", local_devices=lambda: [SimpleNamespace(platform="gpu", memory_stats=lambda: stats)])
    framework("jax._src.xla_bridge", backends_are_initialized=lambda: True)
    quiet = allocators.begin({})
    assert quiet.end() == [allocators.Peak("jax", 70, 70, False)]
    higher = allocators.begin({})
    stats["peak_bytes_in_use"] = 90
    assert higher.end() == [allocators.Peak("jax", 90, 90, True)]


def test_tensorflow_is_asked_only_when_it_has_devices_open(framework: Any) -> None:
    def never(*args: object) -> Any:
        raise AssertionError("this would take the whole device")

    settings = SimpleNamespace(get_memory_info=lambda device: {"peak": 40}, reset_memory_stats=lambda device: None)
    framework("tensorflow", config=SimpleNamespace(experimental=settings, list_logical_devices=never))
    assert allocators.begin({}).end() == []
    framework("tensorflow.python.eager.context", _context=SimpleNamespace(_initialized=False))
    assert allocators.begin({}).end() == []
    sys.modules["tensorflow.python.eager.context"]._context._initialized = True  # type: ignore[attr-defined]
    sys.modules["tensorflow"].config.list_logical_devices = lambda kind: [SimpleNamespace(name="GPU:0")]  # type: ignore[attr-defined]
    assert allocators.begin({}).end() == [allocators.Peak("tensorflow", 40, 40, True)]


def test_two_frameworks_needed_at_most_their_sum_and_a_broken_one_is_passed_over(framework: Any) -> None:
    cuda = Counter()
    cuda.take(1_000_000)
    framework("torch", cuda=cuda)
    framework("cupy", get_default_memory_pool=lambda: SimpleNamespace(total_bytes=lambda: 2_000_000))
    framework("tensorflow")
    cell = Cell("s", False, allocators.begin({}))
    cell.end("r")
    assert cell.profile["memory_source"] == "allocator_at_most"
    assert "peak at most 3.0 MB (torch and cupy's own count)" in line(cell.profile)


def test_a_line_says_what_is_known_and_why_the_rest_is_not() -> None:
    profile = {
        "wall_s": 12.34,
        "busy_percent": 37.6,
        "busy_percent_min": 30.2,
        "busy_percent_max": 44.9,
        "memory_peak_bytes": 3_100_000_000,
        "memory_source": "device",
        "allocators": [],
        "energy_mj": None,
        "missing": {"energy_mj": "shared"},
        "verdict": None,
        "simulated": True,
    }
    assert line(profile) == (
        "12.3 s · GPU (simulated) 38 % busy (surely 30 to 45 %) · memory peak 3.1 GB (the device's readings) · "
        "energy: others share this GPU."
    )
    own = line({**profile, "busy_percent_min": None, "memory_source": "processes", "shared": True})
    assert "38 % busy with this · memory peak 3.1 GB (the readings of its processes)" in own
    verdict = {
        "code": "cell_idle",
        "params": {"percent": 94},
        "text": "The GPU was idle for at least 94 % of this cell.",
    }
    known = {**profile, "busy_percent": 1, "busy_percent_min": 0, "busy_percent_max": 4.5, "energy_mj": 1_234_567}
    known |= {"missing": {}, "verdict": verdict, "memory_source": "allocator", "allocators": ["torch"]}
    assert line(known) == (
        "12.3 s · GPU (simulated) 1 % busy · memory peak 3.1 GB (torch's own count) · energy 1.2 kJ · The GPU was idle "
        "for at least 94 % of this cell."
    )
    unknown = {
        "wall_s": 0.002,
        "missing": dict.fromkeys(("energy_mj", "busy_percent", "memory_peak_bytes"), "too_short"),
    }
    assert line(unknown) == "2 ms · busy, memory, energy: the cell is shorter than a reading."
